"""R-CNN on the blood cells of BCCD: a head on the features of a backbone that `bccd_crops.py` has trained.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   python -m tfeff.train --config=bccd_crops --workdir=runs/bccd_crops \\
              --config.data.source=crops:voc:<directory>
          python -m tfeff.train --config=bccd_rcnn --workdir=runs/bccd_rcnn \\
              --config.data.source=voc:<directory> --config.model.weights=runs/bccd_crops
Variants  heads that share proposals and features: --config.task.network.head=classic or =sliding_window
Machine   1 of 2 cores (AMD EPYC), both shared with other work: 26 minutes in total, with all heads
Result    72 test images, 945 objects, proposal recall 98.7 %; means of three seeds with 95 % t intervals:
          joint           mAP@.5 0.861 (0.858 to 0.863), COCO AP 0.501
          classic         mAP@.5 0.858 (0.845 to 0.871), COCO AP 0.470
          sliding window  mAP@.5 0.499 (0.432 to 0.565), COCO AP 0.168
          Class accuracy on the objects' own boxes 99.3 % (joint and classic), 0.6 % classified as background;
          background recall at the same region thresholds 89 % and 83 %
"""

from tfeff.config import (
    Classic,
    Data,
    Experiment,
    Joint,
    Optimizer,
    RCNNSettings,
    RegionFeatures,
    RegionProposals,
    Schedule,
    Suppression,
    Training,
    architecture,
)


def get_config() -> Experiment:
    return Experiment(
        task=RCNNSettings(
            proposals=RegionProposals(directory="runs/bccd_proposals"),
            features=RegionFeatures(directory="runs/bccd_features"),
            joint=Joint(positives=100),
            classic=Classic(positive_weight=10.0, box_overlap=0.4),
            suppression=Suppression(overlap=0.4, minimum_score=0.01, candidates=10_000),
        ),
        model=architecture("resnet", width=16, stage_blocks=(1, 1, 1, 1), resolution=48),
        data=Data(source="voc:data/BCCD", train_split="trainval", validation_fraction=0.15),
        optimizer=Optimizer(learning_rate=1e-2, momentum=0.9, nesterov=False),
        schedule=Schedule(name="constant"),
        training=Training(epochs=60, batch_size=128, early_stopping_epochs=5, keep="best", precision="float32"),
    )
