"""The backbone of `raccoon_rcnn.py`: a classifier of raccoons and background, on crops of objects and proposals.

Data      voc:<directory> of datitran/raccoon_dataset, split by seed: 160 training, 20 validation and 20 test images
Command   python -m tfeff.train --config=raccoon_crops --workdir=runs/raccoon_crops \\
              --config.data.source=crops:voc:<directory> \\
              --config.model.weights=runs/cifar10   # from configs/cifar10_resnet.py
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
                horizontal_flip=True, rotation=10.0, brightness=0.2, contrast=0.2, saturation=0.2, crop_padding=4
            )
        ),
        model=architecture("resnet", width=12, stage_blocks=(2, 2, 2, 2), resolution=48),
        data=Data(
            source="crops:voc:data/raccoon",
            proposals=Proposals(max_proposals=1000, directory="runs/raccoon_proposals"),
            image_size=48,
            test_split=None,
            class_balanced=True,
        ),
        optimizer=Optimizer(learning_rate=0.02, weight_decay=5e-3),
        schedule=Schedule(warmup_epochs=1),
        training=Training(epochs=30, batch_size=32, ema_decay=0.99, precision="float32"),
    )
