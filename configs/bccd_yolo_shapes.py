"""YOLOs with the multiply-adds of YOLOv8n (4.4 G at 640 pixels) in networks of other shapes, from scratch.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   python tools/compare_variants.py --config=bccd_yolo_shapes --workdir=runs/bccd_yolo_shapes \\
              --out=runs/bccd_yolo_shapes --seeds=3 data.source=voc:<directory>
Result    docs/benchmarks.md, docs/results/bccd_yolo_shapes.json
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
    "width 16, neck 80": (),
    "width 32, neck 64, ReLU": (
        "model.width=32",
        "model.stem=3x3_3x3",
        "model.stage_blocks=1,2,2,1",
        "task.network.neck=simplified_panet",
        "task.network.neck_channels=64",
        "task.network.head_repeats=1",
        "task.network.activation=relu",
    ),
}
REFERENCE = "width 16, neck 80"


def get_config() -> Experiment:
    return Experiment(
        task=YoloSettings(
            network=detector("yolo", aspect=4 / 3, neck_channels=80),
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
        model=architecture("resnet", width=16, stage_blocks=(1, 1, 1, 1), stem="7x7", resolution=224),
        data=Data(source="voc:data/BCCD", train_split="trainval", validation_fraction=0.15, normalization="dataset"),
        optimizer=Optimizer(name="adamw", learning_rate=2e-3, weight_decay=2e-2, clip_norm=10.0),
        schedule=Schedule(warmup_epochs=2),
        training=Training(
            epochs=30, batch_size=8, ema_decay=0.99, validation_epochs=30, precision="float32", monitor="mean_ap"
        ),
    )
