"""Your own images: network, resolution and training are chosen for their number and size, and printed.

Data      folder:<directory> with train/<class>/* and test/<class>/*, or just <class>/*; or any other source of labels
Command   python -m tfeff.train --config=configs/own_images.py --workdir=runs/mine \\
              --config.data.source=folder:<directory>
Machine   2 virtual CPU cores, shared with other work: 2 minutes for 243 photographs
Result    hymenoptera (243 training and 153 test photographs, two classes), EfficientNet-Lite0 trained on ImageNet:
          accuracy 94.9 % (mean of five seeds; 95 % interval over seeds 94.2 to 95.6, over test images 90 to 97);
          from scratch 73.6 %.
          How the settings were chosen: docs/own_images.md
"""

from tfeff.config import (
    TTA,
    Augmentation,
    Choice,
    Choices,
    Classification,
    Data,
    Experiment,
    Model,
    Recipe,
    Schedule,
    Training,
)
from tfeff.errors import UserError
from tfeff.recipes import WarmStart, labeled_images, rules, warm_start


def get_config() -> Recipe[Experiment]:
    return Recipe(
        Experiment(
            task=Classification(
                crop=True,
                augmentation=Augmentation(
                    horizontal_flip=True,
                    rotation=10.0,
                    shift=0.1,
                    scale=0.25,
                    brightness=0.2,
                    contrast=0.2,
                    saturation=0.2,
                ),
                tta=TTA(mirrored=True),
            ),
            # weights=None trains from scratch; weights=FILE, with the network in FILE, starts from your own.
            model=Model(name=rules.NETWORK, weights="imagenet"),
            data=Data(source="folder:data/images", validation_fraction=0.0),
            schedule=Schedule(name="cosine", warmup_epochs=0.5),
            training=Training(ema_decay=0.98, validation_epochs=5),
        ),
        choose,
    )


def choose(settings: Experiment) -> Choices:
    """The values that depend on the images; those that are set with --config.KEY=VALUE are kept."""
    images = labeled_images(settings.data, settings.seed)
    count, model, start = images.count, settings.model, warm_start(settings.model)
    if model.transfer is not None and start.kind == "scratch":
        raise UserError(f"model.transfer=auto needs pretrained weights: {start.why}")
    resolution = rules.resolution(model, start, count, images.side)
    batch_size = rules.batch_size(count)
    return {
        **{f"model.{key}": choice for key, choice in rules.network(model, start).items()},
        "model.resolution": resolution,
        "data.image_size": Choice(resolution.value, "images are loaded at the network's resolution"),
        "data.cache": rules.cache(count, resolution.value, settings.data.channels),
        "data.class_balanced": rules.class_balanced(images.imbalance),
        "training.batch_size": batch_size,
        "training.epochs": rules.epochs(count, batch_size.value, start),
        "training.precision": rules.precision(count),
        **{f"optimizer.{key}": choice for key, choice in rules.optimizer(start).items()},
        **(layers(count, start) if model.transfer is None else {}),
    }


def layers(count: int, start: WarmStart) -> Choices:
    """Which layers learn, and how fast; with model.transfer=auto, the features of the images decide instead."""
    return {
        "optimizer.frozen": rules.frozen(count, start),
        "optimizer.learning_rate_factors": rules.learning_rate_factors(start),
    }
