"""Five classes of CIFAR-10 from a network that knows the other five: what to train.

Data      folder:<directory> with train/<class>/* and test/<class>/* of frog, horse, dog, ship and truck: 5,000 of the
          25,000 training images, all 5,000 test images. The other half is in a folder of its own:
          for split in train test; do
              mkdir -p first/$split second/$split
              ln -s $PWD/cifar10/$split/{airplane,automobile,bird,cat,deer} first/$split
              ln -s $PWD/cifar10/$split/{dog,frog,horse,ship,truck} second/$split
          done
Command   python -m tfeff.train --config=cifar10_resnet --workdir=runs/first_half \\
              --config.data.source=folder:first --config.training.epochs=30
          python tools/compare_variants.py --config=cifar10_halves_transfer --workdir=runs/second_half \\
              --out=runs/cifar10_halves_transfer --seeds=3 \\
              data.source=folder:second model.weights=runs/first_half/checkpoints/final.npz
Machine   1 CPU core whose neighbor was busy: 20 minutes for the first half, 0.5 to 5 minutes for each other training
Result    Accuracy on the 5,000 test images in color, mean of three seeds: 88.9 % from scratch, 91.7 % with layer-wise
          rates, 79.8 % with the classifier alone; docs/fine_tuning.md
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
    "from scratch": ("model.weights=none", "optimizer.learning_rate=0.003", "training.epochs=30"),
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
            augmentation=Augmentation(horizontal_flip=True, crop_padding=4),
            tta=TTA(mirrored=True),
        ),
        model=architecture(
            "resnet",
            width=12,
            stage_blocks=(2, 2, 2, 2),
            resolution=32,
            weights="runs/first_half/checkpoints/final.npz",
        ),
        data=Data(
            source="folder:data/cifar10_second",
            image_size=32,
            validation_fraction=0.0,
            train_examples=5000,
            seed=0,
        ),
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=0.05),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=15, batch_size=64, ema_decay=0.99, validation_epochs=30, precision="float32"),
    )
