"""YOLO on raccoons with half of its backbone: inherited weights against random ones, and against the whole backbone.

Data      voc:<directory of annotations/ and images/> of github.com/datitran/raccoon_dataset, in five folds
Command   pip install ".[imagenet]"
          python tools/split_voc.py --dataset=voc:<directory> --out=folds
          python tools/compare_variants.py --config=raccoon_half --workdir=runs/raccoon_half --seeds=5 \\
              --out=runs/raccoon_half 'data.source=voc:folds/{seed}'
Machine   one of two virtual CPU cores, shared with other work: 5 to 7 minutes from inherited weights, 18 to 24 from
          random ones
Result    mAP@.5 on five folds of 40 test images: half, inherited 0.905 (0.759 to 0.967), random 0.825 (0.749 to 0.882);
          COCO AP 0.528 against 0.349, paired difference 17.9 points (9.5 to 26.3), commit 5f51dd2. The whole backbone
          was not run
"""

from tfeff.config import BoxAugmentation, Data, Experiment, Optimizer, Schedule, Training, YoloSettings, architecture

HALF = ("model.width_coefficient=0.65", "model.depth_coefficient=0.75")
"""Half of the multiply-adds of EfficientNet-Lite0's features."""
VARIANTS = {
    "whole, ImageNet": (),
    "half, inherited": HALF,
    "half, random": (
        *HALF,
        "model.weights=none",
        "optimizer.frozen=",
        "optimizer.learning_rate=0.002",
        "optimizer.weight_decay=0.02",
        "schedule.warmup_epochs=3",
        "task.plain_epochs=12",
        "training.epochs=90",
        "training.validation_epochs=15",
    ),
}
REFERENCE = "half, inherited"


def get_config() -> Experiment:
    return Experiment(
        task=YoloSettings(
            plain_epochs=5,
            max_objects=10,
            augmentation=BoxAugmentation(
                horizontal_flip=True,
                scale_range=(0.6, 1.6),
                rotation=5,
                brightness=0.2,
                contrast=0.2,
                saturation=0.2,
            ),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=224),
        data=Data(source="voc:folds/{seed}", validation_fraction=0.15),
        optimizer=Optimizer(
            name="adamw", learning_rate=1e-3, weight_decay=1e-2, clip_norm=10.0, frozen=("stem*", "stage[12]*")
        ),
        schedule=Schedule(warmup_epochs=1),
        training=Training(
            epochs=30, batch_size=4, ema_decay=0.99, validation_epochs=5, precision="float32", monitor="mean_ap"
        ),
    )
