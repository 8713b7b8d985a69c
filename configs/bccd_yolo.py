"""YOLO on the blood cells of BCCD, with a small ResNet from random weights.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   python -m tfeff.train --config=bccd_yolo --workdir=runs/bccd_yolo \\
              --config.data.source=voc:<directory>
Machine   one of two virtual CPU cores, shared with other work: 23 to 49 minutes
Result    mAP@.5 on the test photographs 0.912 (mean of three seeds, 95 % interval 0.886 to 0.938)
"""

from tfeff.config import (
    BoxAugmentation,
    Data,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    YoloSettings,
    architecture,
    detector,
)


def get_config() -> Experiment:
    return Experiment(
        task=YoloSettings(
            network=detector("yolo", aspect=4 / 3),
            max_objects=40,
            plain_epochs=10,
            augmentation=BoxAugmentation(
                horizontal_flip=True,
                vertical_flip=True,
                scale_range=(0.6, 1.5),
                brightness=0.1,
                contrast=0.1,
                saturation=0.1,
            ),
        ),
        model=architecture("resnet", width=12, stage_blocks=(1, 1, 1, 1), stem="7x7", resolution=320),
        data=Data(source="voc:data/BCCD", train_split="trainval", validation_fraction=0.15, normalization="dataset"),
        optimizer=Optimizer(name="adamw", learning_rate=2e-3, weight_decay=2e-2, clip_norm=10.0),
        schedule=Schedule(warmup_epochs=2),
        training=Training(
            epochs=80, batch_size=8, ema_decay=0.99, validation_epochs=20, precision="float32", monitor="mean_ap"
        ),
    )
