"""Base of the comparison of necks and fusions on the blood cells of BCCD: YOLO with five levels, from scratch.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 205 training and 87 validation photographs
Command   python tools/compare_necks.py --config=bccd_necks --workdir=runs/bccd_necks \\
              --out=runs/bccd_necks data.source=voc:<directory>
Result    docs/dense_detection.md, docs/results/bccd_necks.json
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
            network=detector(
                "yolo",
                aspect=4 / 3,
                levels=("P3", "P4", "P5", "P6", "P7"),
                neck_channels=48,
                neck_repeats=2,
                head_repeats=1,
                separable=True,
            ),
            max_objects=40,
            plain_epochs=5,
            augmentation=BoxAugmentation(horizontal_flip=True, vertical_flip=True, scale_range=(0.6, 1.5)),
        ),
        model=architecture("resnet", width=12, stage_blocks=(1, 1, 1, 1), stem="7x7", resolution=224),
        data=Data(
            source="voc:data/BCCD",
            train_split="train",
            validation_split="val",
            test_split=None,
            normalization="dataset",
        ),
        optimizer=Optimizer(name="adamw", learning_rate=3e-3, weight_decay=2e-2, clip_norm=10.0),
        schedule=Schedule(warmup_epochs=2),
        training=Training(
            epochs=40, batch_size=8, ema_decay=0.99, validation_epochs=40, precision="float32", monitor="mean_ap"
        ),
    )
