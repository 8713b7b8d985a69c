"""R-CNN on 200 photographs of raccoons; its backbone is fine-tuned from a CIFAR-10 network by `raccoon_crops.py`.

Data      voc:<directory> of datitran/raccoon_dataset, split by seed: 160 training, 20 validation and 20 test images
Command   python -m tfeff.train --config=raccoon_crops --workdir=runs/raccoon_crops \\
              --config.data.source=crops:voc:<directory> \\
              --config.model.weights=runs/cifar10   # from configs/cifar10_resnet.py
          python -m tfeff.train --config=raccoon_rcnn --workdir=runs/raccoon_rcnn \\
              --config.data.source=voc:<directory> --config.model.weights=runs/raccoon_crops
Variants  heads that share proposals and features: --config.task.network.head=classic or =sliding_window
Machine   2 CPU cores (AMD EPYC), busy with other work: 18 minutes in total, with all heads
Result    20 test images, 21 objects, proposal recall 100 %:
          joint           mAP@.5 0.734 (95 % interval 0.568 to 0.892), COCO AP 0.247
          classic         mAP@.5 0.636 (0.458 to 0.853), COCO AP 0.155
          sliding window  mAP@.5 0.411 (0.257 to 0.662), COCO AP 0.092
"""

from tfeff.config import (
    Classic,
    Data,
    Experiment,
    Optimizer,
    RCNNSettings,
    RegionFeatures,
    RegionProposals,
    Schedule,
    Training,
    architecture,
)


def get_config() -> Experiment:
    return Experiment(
        task=RCNNSettings(
            proposals=RegionProposals(max_proposals=1000, directory="runs/raccoon_proposals"),
            features=RegionFeatures(directory="runs/raccoon_features"),
            classic=Classic(positive_weight=5.0, box_overlap=0.4),
        ),
        model=architecture("resnet", width=12, stage_blocks=(2, 2, 2, 2), resolution=48),
        data=Data(source="voc:data/raccoon", validation_split="validation"),
        optimizer=Optimizer(learning_rate=1e-2, momentum=0.9, nesterov=False),
        schedule=Schedule(name="constant"),
        training=Training(epochs=60, batch_size=128, early_stopping_epochs=5, keep="best", precision="float32"),
    )
