"""Recipes for a user's own images: network and training depend on their number and size.

A classifier for images with labels, a detector for images with boxes.
"""

from dataclasses import replace
from pathlib import Path

from tfeff import config
from tfeff.config import (
    TTA,
    Augmentation,
    BudgetSearch,
    Candidates,
    Choice,
    Choices,
    ClassificationSettings,
    Data,
    EmbeddingSettings,
    Experiment,
    Optimizer,
    RCNNSettings,
    Recipe,
    Schedule,
    TaskSettings,
    Training,
    architecture,
)
from tfeff.errors import UserError
from tfeff.networks import Architecture
from tfeff.recipes import rules
from tfeff.recipes.image_set import LabeledImages, annotated_images, labeled_images
from tfeff.recipes.rules import WarmStart, warm_start


def images(source: str) -> Recipe[Experiment]:
    """Trains a classifier on the images of a source with labels, or an embedder (`task.name=embedding`).

    `docs/own_images.md` has the rules.
    """
    return Recipe(
        Experiment(
            task=ClassificationSettings(
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
            model=architecture(rules.NETWORK, weights="imagenet"),
            data=Data(source=source, validation_fraction=0.0),
            schedule=Schedule(name="cosine", warmup_epochs=0.5),
            training=Training(ema_decay=0.98, validation_epochs=5),
        ),
        choose_for_images,
    )


def choose_for_images(settings: Experiment) -> Choices:
    """The values that depend on the images; those that are set with --config.KEY=VALUE are kept."""
    counted = labeled_images(settings.data, settings.seed)
    model, start = settings.model, warm_start(settings.model)
    if settings.optimizer.transfer is not None and start.kind == "scratch":
        raise UserError(f"optimizer.transfer=auto needs pretrained weights: {start.why}")
    resolution = rules.resolution(model, start, counted.count, counted.side)
    return {
        **{f"model.{key}": choice for key, choice in rules.network(model, start).items()},
        "model.resolution": resolution,
        "data.image_size": Choice(resolution.value, "images are loaded at the network's resolution"),
        "data.cache": rules.cache(counted.count, resolution.value, settings.data.channels),
        **training_for_images(counted, start, settings.task, settings.optimizer),
    }


def training_for_images(counted: LabeledImages, start: WarmStart, task: TaskSettings, optimizer: Optimizer) -> Choices:
    """How a network is trained on these images, by dotted key."""
    count = counted.count
    batch_size = rules.batch_size(count)
    return {
        "data.class_balanced": rules.class_balanced(counted.imbalance),
        "training.batch_size": batch_size,
        "training.epochs": rules.epochs(count, batch_size.value, start),
        "training.precision": rules.precision(count),
        **{f"optimizer.{key}": choice for key, choice in rules.optimizer(start).items()},
        **(layers(count, start, task) if optimizer.transfer is None else {}),
    }


def layers(count: int, start: WarmStart, task: TaskSettings) -> Choices:
    """Which layers learn, and how fast; with optimizer.transfer=auto, the features of the images decide instead."""
    embeds = isinstance(task, EmbeddingSettings)
    return {
        "optimizer.frozen": rules.frozen(count, start),
        "optimizer.learning_rate_factors": rules.learning_rate_factors(start, embeds=embeds),
    }


def budget(source: str) -> BudgetSearch:
    """Searches for the best classifier of the images of a source within a budget."""
    return BudgetSearch(experiment=images(source).base, candidates=Candidates(training="rules"))


def trained_for_images(base: Experiment, model: Architecture, counted: LabeledImages) -> Experiment:
    """The experiment with another network, trained as `images` would train it.

    Args:
        base: the experiment; values that differ from those of `images` are kept.
        model: the network.
        counted: the training images of one training.
    """
    values, usual = (config.flatten(each) for each in (base, images(base.data.source).base))
    choices = {
        key: choice.value
        for key, choice in training_for_images(counted, warm_start(model), base.task, base.optimizer).items()
        if values[key] == usual.get(key)
    }
    return config.replaced(replace(base, model=model), choices)


def boxes(source: str) -> Recipe[Experiment]:
    """Trains an R-CNN on the images of a source with boxes; its backbone is frozen."""
    return Recipe(
        Experiment(
            task=RCNNSettings(),
            # weights=WORKDIR of a run on crops:SOURCE is a backbone that has learned your objects.
            model=architecture(rules.NETWORK, weights="imagenet"),
            data=Data(source=source, validation_fraction=0.15),
            optimizer=Optimizer(learning_rate=1e-2, momentum=0.9, nesterov=False),
            schedule=Schedule(name="constant"),
            training=Training(epochs=60, batch_size=128, early_stopping_epochs=5, keep="best", precision="float32"),
        ),
        choose_for_boxes,
    )


def choose_for_boxes(settings: Experiment) -> Choices:
    """The values that depend on the images; those that are set with --config.KEY=VALUE are kept."""
    counted = annotated_images(settings.data, settings.seed)
    return {
        "task.proposals.max_proposals": rules.max_proposals(counted.objects / counted.count),
        "task.vote_overlap": rules.vote_overlap(counted.objects / counted.count),
        **{f"model.{key}": choice for key, choice in _network(settings).items()},
    }


def _network(settings: Experiment) -> Choices:
    """The backbone, by key of the section `model`: that of the run whose weights it starts from, if it is a run."""
    weights = settings.model.weights
    if weights not in (None, "imagenet") and (Path(weights) / "config.json").is_file():
        network = config.resolve_member(config.saved(Path(weights), Experiment)).model
        values, defaults = (config.flatten(Experiment(model=each)) for each in (network, architecture(network.name)))
        return {
            key.removeprefix("model."): Choice(value, f"the network of {weights}")
            for key, value in values.items()
            if key in ("model.name", "model.resolution")
            or (key.startswith("model.") and key != "model.weights" and value != defaults[key])
        }
    start = warm_start(settings.model)
    return {**rules.network(settings.model, start), "resolution": rules.region_resolution(settings.model, start)}
