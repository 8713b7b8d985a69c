"""The backbone of `bccd_rcnn.py`: a classifier of blood cells and background, on crops of objects and proposals.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   python -m tfeff.train --config=bccd_crops --workdir=runs/bccd_crops \\
              --config.data.source=crops:voc:<directory>
Note      the first run computes the proposals by selective search and keeps them in data.proposals.directory
"""

from tfeff.config import (
    Augmentation,
    ClassificationSettings,
    Data,
    Experiment,
    Optimizer,
    Proposals,
    Schedule,
    Training,
    architecture,
)


def get_config() -> Experiment:
    return Experiment(
        task=ClassificationSettings(
            augmentation=Augmentation(
                horizontal_flip=True,
                vertical_flip=True,
                rotation=20.0,
                brightness=0.1,
                contrast=0.1,
                saturation=0.1,
            )
        ),
        model=architecture("resnet", width=16, stage_blocks=(1, 1, 1, 1), resolution=48),
        data=Data(
            source="crops:voc:data/BCCD",
            proposals=Proposals(mode="fast", max_proposals=2000, directory="runs/bccd_proposals"),
            image_size=48,
            train_split="trainval",
            validation_fraction=0.15,
            test_split=None,
            normalization="dataset",
            class_balanced=True,
        ),
        optimizer=Optimizer(learning_rate=0.1, weight_decay=5e-3),
        schedule=Schedule(warmup_epochs=1),
        training=Training(epochs=8, batch_size=128, ema_decay=0.99, precision="float32"),
    )
