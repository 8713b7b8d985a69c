"""The backbone of `wildlife_rcnn.py`: a classifier of four animals and background, on crops of objects and proposals.

A ResNet scaled by the coefficients of a study on CIFAR-10 (`cifar10_family_report.py`; φ = 1: 115x115 pixels), with all
classes drawn equally often, and crops flipped, rotated and changed in color.

Data      yolo:<directory> of African Wildlife (Ultralytics): buffalo, elephant, rhino and zebra; 1,052 training, 225
          validation and 227 test photographs
Command   python -m tfeff.train --config=wildlife_crops --workdir=runs/wildlife_crops \\
              --config.data.source=crops:yolo:<directory>
Note      the first run computes the proposals by selective search and keeps them in data.proposals.directory
Machine   intended for a GPU: 349 million multiply-adds for each crop
Result    see wildlife_rcnn.py
"""

from pathlib import Path

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Member,
    Optimizer,
    Proposals,
    Schedule,
    Training,
)

FAMILY = Path(__file__).parent / "cifar10_report"


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(
            augmentation=Augmentation(
                horizontal_flip=True, rotation=15.0, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02
            )
        ),
        member=Member(family=str(FAMILY), phi=1.0),
        data=Data(
            source="crops:yolo:data/wildlife",
            proposals=Proposals(max_proposals=1000, directory="runs/wildlife_proposals"),
            image_size=128,
            test_split=None,
            normalization="dataset",
            class_balanced=True,
        ),
        optimizer=Optimizer(name="sgd", learning_rate=0.1, weight_decay=5e-3),
        schedule=Schedule(name="cosine", warmup_epochs=1),
        training=Training(epochs=20, batch_size=64, ema_decay=0.998),
    )
