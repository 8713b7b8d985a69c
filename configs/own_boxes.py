"""Your own images with boxes: R-CNN, with network, proposals and training chosen for their number, and printed.

Data      voc:<directory>, yolo:<directory> or coco:<directory>
Command   python -m tfeff.train --config=configs/own_boxes.py --workdir=runs/boxes \\
              --config.data.source=voc:<directory>
Machine   2 virtual CPU cores, shared with other work: about 12 minutes for 200 photographs
Result    raccoon (200 photographs, one class, five folds of 40 test images): mAP@.5 0.864, mean of the folds (0.828 to
          0.919; 95 % interval 0.819 to 0.908), with selective search as it was before commit e6abe7b
"""

from tfeff.config import (
    RCNN,
    Augmentation,
    Choice,
    Choices,
    Classification,
    Data,
    DetectionData,
    Experiment,
    Model,
    Recipe,
    Schedule,
    Training,
)
from tfeff.data.sources.crops import BACKGROUNDS, COPIES
from tfeff.recipes import annotated_images, rules, warm_start


def get_config() -> Recipe[RCNN]:
    return Recipe(
        RCNN(
            forms=("joint",),
            data=DetectionData(source="voc:data/images"),
            backbone=Experiment(
                task=Classification(
                    augmentation=Augmentation(
                        horizontal_flip=True, rotation=10.0, brightness=0.2, contrast=0.2, saturation=0.2
                    )
                ),
                model=Model(name=rules.NETWORK, weights="imagenet"),
                data=Data(
                    source="crops",
                    validation_fraction=0.0,
                    test_split=None,
                    class_balanced=True,
                ),
                schedule=Schedule(name="cosine", warmup_epochs=0.5),
                training=Training(ema_decay=0.98),
            ),
        ),
        choose,
    )


def choose(settings: RCNN) -> Choices:
    """The values that depend on the images; those that are set with --config.KEY=VALUE are kept."""
    images = annotated_images(settings.data, settings.seed)
    model, start = settings.backbone.model, warm_start(settings.backbone.model)
    # The backbone trains on crops: objects, boxes near them, and background.
    count = images.objects * (1 + COPIES + BACKGROUNDS)
    resolution = rules.region_resolution(model, start)
    batch_size = rules.batch_size(count)
    return {
        "proposals.max_proposals": rules.max_proposals(images.objects / images.count),
        "detection.vote_overlap": rules.vote_overlap(images.objects / images.count),
        **{f"backbone.model.{key}": choice for key, choice in rules.network(model, start).items()},
        "backbone.model.resolution": resolution,
        "backbone.data.image_size": Choice(resolution.value, "regions are cropped at the network's resolution"),
        "backbone.training.batch_size": batch_size,
        "backbone.training.epochs": rules.backbone_epochs(count, batch_size.value, start),
        "backbone.training.precision": rules.precision(count),
        **{f"backbone.optimizer.{key}": choice for key, choice in rules.optimizer(start).items()},
        "backbone.optimizer.frozen": rules.frozen(count, start),
        "backbone.optimizer.learning_rate_factors": rules.learning_rate_factors(start),
    }
