"""R-CNN with both kinds of heads on 200 photographs of raccoons; the backbone is fine-tuned from a CIFAR-10 network.

Data      voc:<directory> of datitran/raccoon_dataset, split by seed: 160 training, 20 validation and 20 test images
Command   python -m tfeff.train --config=configs/raccoon_rcnn.py --workdir=runs/raccoon_rcnn \\
              --config.data.source=voc:<directory> \\
              --config.backbone.model.weights=runs/cifar10/checkpoints/final.npz   # from configs/cifar10_resnet.py
Machine   2 CPU cores (AMD EPYC), busy with other work: 18 minutes in total
Result    20 test images, 21 objects, proposal recall 100 %:
          joint           mAP@.5 0.734 (95 % interval 0.568 to 0.892), COCO AP 0.247
          classic         mAP@.5 0.636 (0.458 to 0.853), COCO AP 0.155
          sliding window  mAP@.5 0.411 (0.257 to 0.662), COCO AP 0.092
"""

from tfeff.config import (
    RCNN,
    Augmentation,
    Classic,
    Classification,
    Data,
    DetectionData,
    Experiment,
    Joint,
    Model,
    Optimizer,
    RegionFeatures,
    Schedule,
    Training,
)


def get_config() -> RCNN:
    return RCNN(
        forms=("joint", "classic", "sliding_window"),
        data=DetectionData(source="voc:data/raccoon", validation_split="validation"),
        backbone=Experiment(
            task=Classification(
                augmentation=Augmentation(
                    horizontal_flip=True, rotation=10.0, brightness=0.2, contrast=0.2, saturation=0.2, crop_padding=4
                )
            ),
            model=Model(name="resnet", width=12, stage_blocks=(2, 2, 2, 2), resolution=48),
            data=Data(
                source="crops",
                image_size=48,
                validation_fraction=0.0,
                test_split=None,
                class_balanced=True,
            ),
            optimizer=Optimizer(learning_rate=0.02, weight_decay=5e-3),
            schedule=Schedule(warmup_epochs=1),
            training=Training(epochs=30, batch_size=32, ema_decay=0.99, precision="float32"),
        ),
        features=RegionFeatures(grid=3),
        joint=Joint(hidden=(256,), dropout=0.3),
        classic=Classic(positive_weight=5.0, box_overlap=0.4),
    )
