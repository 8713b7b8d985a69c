"""Faster R-CNN on 200 photographs of raccoons from the web (github.com/datitran/raccoon_dataset), one class.

Data      voc:<directory of annotations/ and images/>, or a fold of tools/split_voc.py, whose test list is evaluated
Command   pip install ".[imagenet]"
          python tools/split_voc.py --dataset=voc:<directory> --out=folds
          for fold in 0 1 2 3 4; do
              python -m tfeff.train --config=raccoon_faster_rcnn --workdir=runs/raccoon_faster_rcnn/$fold \\
                  --config.data.source=voc:folds/$fold
          done
Machine   one of two virtual CPU cores, shared with other work: 11 to 15 minutes per fold
Result    mAP@.5 0.958, mean of five folds (95 % interval 0.911 to 1); COCO AP 0.586
"""

from tfeff.config import (
    BoxAugmentation,
    Data,
    Experiment,
    FasterRCNNSettings,
    Optimizer,
    Schedule,
    Suppression,
    Training,
    architecture,
    detector,
)


def get_config() -> Experiment:
    return Experiment(
        task=FasterRCNNSettings(
            network=detector(
                "faster-rcnn", aspect=1.0, levels=("P3", "P4", "P5"), neck_channels=96, hidden=(256,), regions=200
            ),
            training_proposals=300,
            sampled_regions=64,
            suppression=Suppression(minimum_score=0.01),
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
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=320),
        data=Data(source="voc:data/raccoon", validation_fraction=0.15),
        optimizer=Optimizer(
            name="adamw", learning_rate=5e-4, weight_decay=1e-2, clip_norm=10.0, frozen=("stem*", "stage[12]*")
        ),
        schedule=Schedule(warmup_epochs=1),
        training=Training(
            epochs=20, batch_size=4, ema_decay=0.99, validation_epochs=5, precision="float32", monitor="mean_ap"
        ),
    )
