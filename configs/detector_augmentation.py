"""Augmentations of YOLO on small sets, each added to flips, mild scaling and color.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset) and of github.com/datitran/raccoon_dataset, each in five folds
Command   pip install ".[imagenet]"
          python tools/split_voc.py --dataset=voc:<directory> --out=folds
          python tools/compare_variants.py --config=detector_augmentation --workdir=runs/raccoon_augmentation \\
              --seeds=3 --out=runs/raccoon_augmentation 'data.source=voc:folds/{seed}'
Variants  folds of BCCD, whose photographs have a common aspect ratio and more objects: task.max_objects=40
          task.network.aspect=1.3333 model.resolution=224 training.epochs=20
          "several resolutions" of them, which need multiples of 32: also model.resolution=256
Result    docs/dense_detection.md, docs/results/raccoon_augmentation.json, docs/results/bccd_augmentation.json
"""

from tfeff.config import BoxAugmentation, Data, Experiment, Optimizer, Schedule, Training, YoloSettings, architecture

VARIANTS = {
    "mild": (),
    "large-scale jitter": ("task.augmentation.scale_range=0.1,2",),
    "Mosaic": ("task.augmentation.mosaic=0.5",),
    "MixUp": ("task.augmentation.mixup=0.5",),
    "copy-paste": ("task.augmentation.copy_paste=0.5",),
    "AutoAugment v0": ("task.augmentation.autoaugment=v0",),
    "AutoAugment v3": ("task.augmentation.autoaugment=v3",),
    "several resolutions": ("training.resolution_factors=0.75,1,1.25",),
    "large-scale jitter, copy-paste": ("task.augmentation.scale_range=0.1,2", "task.augmentation.copy_paste=0.5"),
}
REFERENCE = "mild"


def get_config() -> Experiment:
    return Experiment(
        task=YoloSettings(
            plain_epochs=5,
            max_objects=20,
            augmentation=BoxAugmentation(
                horizontal_flip=True, scale_range=(0.6, 1.6), brightness=0.2, contrast=0.2, saturation=0.2
            ),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=192),
        data=Data(source="voc:folds/{seed}", validation_fraction=0.15),
        optimizer=Optimizer(
            name="adamw", learning_rate=1e-3, weight_decay=1e-2, clip_norm=10.0, frozen=("stem*", "stage[12]*")
        ),
        schedule=Schedule(warmup_epochs=1),
        training=Training(
            epochs=30, batch_size=4, ema_decay=0.99, validation_epochs=5, precision="float32", monitor="mean_ap"
        ),
    )
