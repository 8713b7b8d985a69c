"""Localization of raccoons in 200 photographs from the web (github.com/datitran/raccoon_dataset), one class.

Command   python -m tfeff.train --config=raccoon_localization --workdir=runs/raccoon_localization \\
              --config.data.source=voc:<directory of annotations/ and images/>
Machine   1 of 2 CPU cores (AMD EPYC): 137 images/s, 4 minutes
Result    20 test images: mean IoU 0.598 (95 % interval 0.522 to 0.667), IoU >= 0.5 for 80 % (58 to 92)
"""

from tfeff.config import (
    BoxAugmentation,
    Data,
    Experiment,
    LocalizationSettings,
    Optimizer,
    Schedule,
    Training,
    architecture,
)


def get_config() -> Experiment:
    return Experiment(
        # With a single class, only the box is learned.
        task=LocalizationSettings(
            box_weight=10.0,
            augmentation=BoxAugmentation(
                horizontal_flip=True, rotation=5, scale=0.3, aspect=0.3, brightness=0.3, contrast=0.3, saturation=0.3
            ),
        ),
        model=architecture("resnet", width=12, stage_blocks=(1, 1, 1, 1), resolution=96, dropout=0.2),
        data=Data(
            source="voc:data/raccoon",
            seed=0,
            image_size=128,
            normalization="dataset",
        ),
        optimizer=Optimizer(name="adamw", learning_rate=0.002, weight_decay=0.02),
        schedule=Schedule(name="cosine", warmup_epochs=5),
        training=Training(epochs=150, batch_size=32, ema_decay=0.98, validation_epochs=5, precision="float32"),
    )
