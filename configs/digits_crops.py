"""The backbone of `digits_rcnn.py`: a classifier of digits and background, on crops of objects and proposals.

Data      crops of embedded:placed_digits, photographs of 128x128 pixels with one to six digits
Command   python -m tfeff.train --config=digits_crops --workdir=runs/digits_crops
"""

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Optimizer,
    Proposals,
    Schedule,
    Training,
    architecture,
)


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(augmentation=Augmentation(rotation=10.0, brightness=0.1, contrast=0.1)),
        model=architecture("resnet", width=12, stage_blocks=(1, 1, 1, 1), resolution=24),
        data=Data(
            source="crops:embedded:placed_digits",
            proposals=Proposals(max_proposals=300, directory="runs/digits_proposals"),
            image_size=24,
            train_examples=700,
            test_split=None,
            normalization="dataset",
            class_balanced=True,
        ),
        optimizer=Optimizer(learning_rate=0.1, weight_decay=5e-3),
        schedule=Schedule(warmup_epochs=1),
        training=Training(epochs=6, batch_size=128, ema_decay=0.99),
    )
