"""Ants and bees from weights of CIFAR-10: what to train. The counterpart of configs/hymenoptera_transfer.py.

Data      folder:<directory> with train/<class>/* and val/<class>/*: 243 and 153 photographs
Command   python -m tfeff.train --config=cifar10_resnet --workdir=runs/cifar10_short \\
              --config.data.source=folder:<directory of CIFAR-10> --config.training.epochs=12 \\
              --config.training.precision=mixed_bfloat16
          python tools/compare_variants.py --config=hymenoptera_from_cifar10 \\
              --workdir=runs/hymenoptera_from_cifar10 --out=runs/hymenoptera_from_cifar10 \\
              data.source=folder:<directory> model.weights=runs/cifar10_short/checkpoints/final.npz
Machine   2 virtual CPU cores, shared with other work: 0.1 to 1.4 minutes a training
Result    Accuracy on the test photographs in color, mean of five seeds: 74.5 % from scratch, 75.8 % after training
          everything, 66.4 % with the classifier alone; docs/fine_tuning.md
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
    "from scratch": ("model.weights=none", "optimizer.learning_rate=0.003"),
    "classifier alone": (
        "optimizer.frozen=stem*,stage*",
        "optimizer.learning_rate=0.01",
        "training.feature_variants=8",
    ),
    "last blocks": ("optimizer.frozen=stem*,stage[1-3]*", "optimizer.learning_rate=0.003"),
    "everything": (),
    "layer-wise rates": (
        "optimizer.learning_rate=0.003",
        "optimizer.learning_rate_factors=stem*=0.1,stage1*=0.1,stage2*=0.2,stage3*=0.4,stage4*=0.7,head_classifier*=1",
    ),
    "auto": ("optimizer.transfer=auto", "optimizer.learning_rate=0.003"),
}
COLORS = {
    "color": (),
    "gray": ("data.channels=1",),
}
STATISTICS = {
    "color": ("model.mean=125.3,122.9,113.9", "model.std=62.5,61.9,66.5"),
    "gray": ("model.mean=122.6", "model.std=60.9"),
}
"""Those of CIFAR-10, which trained networks bring with them."""
VARIANTS = {
    f"{form}, {color}": (*overrides, *of_color, *(STATISTICS[color] if form == "from scratch" else ()))
    for color, of_color in COLORS.items()
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
        model=architecture(
            "resnet",
            width=12,
            stage_blocks=(2, 2, 2, 2),
            resolution=64,
            weights="runs/cifar10_short/checkpoints/final.npz",
        ),
        data=Data(
            source="folder:data/hymenoptera",
            image_size=64,
            validation_fraction=0.0,
        ),
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=0.05),
        schedule=Schedule(name="cosine", warmup_epochs=2),
        training=Training(epochs=40, batch_size=16, ema_decay=0.98, validation_epochs=40, precision="float32"),
    )
