"""A scaled ResNet on scikit-learn's handwritten digits (1,797 images of 8x8 pixels), upsampled on the fly.

Command   python -m tfeff.train --config=digits_demo --workdir=runs/digits
Machine   2 CPU cores (AMD EPYC): half a minute
Result    accuracy 98.9 % on 359 test images (95 % interval 97.2 to 99.6)
"""

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    architecture,
)


def get_config() -> Experiment:
    return Experiment(
        # Compound scaling of a small baseline: depth 1.25, width 1.25, resolution 20 -> 24.
        task=ClassificationSettings(augmentation=Augmentation(rotation=10, shift=0.1, scale=0.1)),
        model=architecture(
            "resnet",
            width=8,
            stage_blocks=(1, 1, 1, 1),
            depth_coefficient=1.25,
            width_coefficient=1.25,
            resolution=24,
        ),
        data=Data(
            source="embedded:digits",
            channels=1,
            normalization="dataset",
        ),
        optimizer=Optimizer(name="sgd", learning_rate=0.1, weight_decay=5e-3),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=20, batch_size=64, ema_decay=0.99),
    )
