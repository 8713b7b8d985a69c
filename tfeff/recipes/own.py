"""Recipes for a user's own images: network and training depend on their number and size.

A classifier for images with labels, a detector for images with boxes.
"""

from collections.abc import Collection, Mapping, Set
from dataclasses import replace
from functools import partial
from typing import Any

from tfeff import config
from tfeff.config import (
    TTA,
    Augmentation,
    BoxAugmentation,
    BudgetSearch,
    Candidates,
    Choice,
    Choices,
    ClassificationSettings,
    Data,
    EmbeddingSettings,
    Experiment,
    FastRCNNSettings,
    ObjectDetectionSettings,
    Optimizer,
    RCNNSettings,
    Recipe,
    Schedule,
    TaskSettings,
    Training,
    YoloSettings,
    architecture,
)
from tfeff.config.budget import UNUSED, unused
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.networks import Architecture
from tfeff.recipes import dense, rules, starting
from tfeff.recipes.image_set import (
    AnnotatedImages,
    LabeledImages,
    annotated_images,
    has_trainval,
    labeled_images,
)
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
            # weights=None trains from scratch; weights=FILE starts from your own, with their network as the model.
            model=architecture(rules.NETWORK, weights="imagenet"),
            data=Data(source=source, validation_fraction=0.0, corrupt_images="skip"),
            schedule=Schedule(name="cosine", warmup_epochs=0.5),
            training=Training(ema_decay=0.98, validation_epochs=5),
        ),
        choose_for_images,
    )


def choose_for_images(settings: Experiment, kept: Set[str]) -> Choices:
    """Returns the values that depend on the images, and on what is set with --config.KEY=VALUE, which is kept."""
    counted = labeled_images(settings.data, settings.seed, further_classes=settings.task.OPEN_SET)
    given = {key: value for key, value in config.flatten(settings).items() if key in kept}
    model, start, run = settings.model, warm_start(settings.model), starting.run_of(settings.model.weights)
    if settings.optimizer.transfer is not None and start.kind == "scratch":
        raise UserError(f"optimizer.transfer=auto needs pretrained weights: {start.why}")
    if run is not None:
        network = starting.backbone(run.model, run.task, settings.task, settings.model.weights)
    else:
        resolution = rules.resolution(model, start, counted.count, counted.side)
        network = {**rules.network(model, start), "resolution": resolution}
    side = given.get("model.resolution", network["resolution"].value)
    size = Choice(side, "images are loaded at the network's resolution")
    if getattr(settings.task, "center_crop", None) is not None:
        size = Choice(None, "the network's resolution, with a margin for task.center_crop")
    loading = {**{f"model.{key}": choice for key, choice in network.items()}, "data.image_size": size}
    settled = config.chosen(settings, {key: choice.value for key, choice in loading.items()}, kept)
    channels = settings.data.channels
    chosen = training_for_images(counted, settled.model, start, settings.task, settings.optimizer, given, channels)
    return {
        **loading,
        "data.cache": cache(settled.task, settled.data, settled.description.size, counted),
        **chosen,
        **stored_features(chosen, settings.task, settings.optimizer, settings.training, settings.data, given),
    }


def cache(task: TaskSettings, data: Data, size: tuple[int, int], counted: LabeledImages | AnnotatedImages) -> Choice:
    """Returns whether images are kept in memory, at the size at which a run loads them.

    Args:
        size: (height, width) of the network's input, in pixels.
    """
    (height, width), side = size, data.image_size
    whole: float | None = getattr(task, "center_crop", None)
    if side is None and whole is None and counted.size is not None:  # as `selection.image_size`
        height, width = counted.size
        if getattr(task, "crop", False):
            height = width = min(counted.size)
    else:
        length = counted.side if side == "original" else side or max(height, width) / (whole or 1.0)
        scale = length / max(height, width)
        height, width = round(height * scale), round(width * scale)
    pixels = height * width
    if whole is not None and isinstance(counted, LabeledImages):
        pixels = round(pixels * counted.elongation)
    return rules.cache(counted.loaded, pixels, data.channels)


def training_for_images(
    counted: LabeledImages,
    model: Architecture,
    start: WarmStart,
    task: TaskSettings,
    optimizer: Optimizer,
    given: Mapping[str, Any],
    channels: int,
) -> Choices:
    """Returns how a network is trained on these images, by dotted key.

    Args:
        counted: the training images.
        model: the network.
        start: where the weights come from.
        task: what it is trained for.
        optimizer: section of the config.
        given: values that are set, by dotted key; others follow from them.
        channels: channels of the images.

    Raises:
        UserError: a batch needs more images than there are.
    """
    count, updates = counted.count, rules.UPDATES
    sized = partial(rules.batch_size, count, divisor=_divisor(task, given, count))
    if start.kind == "imagenet" and count >= rules.ALL_LAYERS:
        updates = {"imagenet": rules.ALL_UPDATES}
        sized = partial(sized, sizes=rules.ALL_BATCH_SIZES, updates=rules.ALL_UPDATES_PER_EPOCH)
    chosen = layers(count, start, task) if optimizer.transfer is None else {}
    patterns = given.get("optimizer.frozen", chosen["optimizer.frozen"].value if chosen else ())
    frozen = "stage*" in patterns and not optimizer.unfreeze
    image_bytes = rules.image_bytes(model, num_classes=len(counted.class_counts), channels=channels, frozen=frozen)
    batch_size = sized(image_bytes=image_bytes, parts=given.get("training.accumulation_steps", 1))
    size = given.get("training.batch_size", batch_size.value)
    usual = 0 if "training.batch_size" in given else sized().value
    epochs = rules.epochs(count, size, start, updates, usual=usual)
    normalization = rules.freeze_normalization(count, start, frozen=frozen)
    fixed = frozen or given.get("optimizer.freeze_normalization", normalization.value)
    return {
        **({} if fixed else _bn_momentum(model, count, size, given.get("training.epochs", epochs.value))),
        "data.class_balanced": rules.class_balanced(counted.imbalance, together=task.images_drawn_together),
        "training.batch_size": batch_size,
        "training.epochs": epochs,
        "training.precision": rules.precision(count),
        **{f"optimizer.{key}": choice for key, choice in rules.optimizer(start).items()},
        "optimizer.freeze_normalization": normalization,
        **chosen,
    }


def _bn_momentum(model: Architecture, count: int, batch_size: int, epochs: int) -> Choices:
    """Returns the momentum of batch normalization, by dotted key, if that of the network does not suffice."""
    updates = epochs * max(1, count // batch_size)
    return {f"model.{key}": choice for key, choice in rules.bn_momentum(model, updates).items()}


def stored_features(
    chosen: Choices, task: TaskSettings, optimizer: Optimizer, training: Training, data: Data, given: Mapping[str, Any]
) -> Choices:
    """Returns whether layers that the rules freeze compute the features of images once.

    Args:
        chosen: `training_for_images`.
        task, optimizer, training, data: sections of the config.
        given: values that are set, by dotted key.
    """
    if "optimizer.frozen" in given or "optimizer.frozen" not in chosen or not chosen["optimizer.frozen"].value:
        return {}
    epochs = given.get("training.epochs", chosen["training.epochs"].value)
    return {"training.feature_variants": rules.feature_variants(task, optimizer, training, data, epochs)}


def layers(count: int, start: WarmStart, task: TaskSettings) -> Choices:
    """Returns which layers learn, and how fast; with optimizer.transfer=auto, the images' features decide instead."""
    embeds = isinstance(task, EmbeddingSettings)
    return {
        "optimizer.frozen": rules.frozen(count, start, embeds=embeds),
        "optimizer.learning_rate_factors": rules.learning_rate_factors(start, embeds=embeds),
    }


def budget(source: str) -> Recipe[BudgetSearch]:
    """Searches for the best classifier within a budget for images, or the best detector if they have boxes."""
    # The mirror image would double the latency; a network of twice the cost gains more.
    experiment = config.replaced(images(source).base, {"task.tta.mirrored": False})
    return Recipe(BudgetSearch(experiment=experiment, candidates=Candidates(training="rules")), choose_for_budget)


def choose_for_budget(settings: BudgetSearch, kept: Set[str]) -> Choices:
    """Returns which values the rules keep and, if the images have boxes, those of a search for a detector."""
    base = settings.experiment
    data = base.data
    for key in UNUSED:
        if f"experiment.model.{key}" in kept:
            raise unused(key)
    if "candidates.kept" in kept:
        raise UserError("config: candidates.kept: omit it: the keys that you set are kept")
    set_by_user = sorted(key.removeprefix("experiment.") for key in kept if key.startswith(RULED))
    keeping = {"candidates.kept": Choice(tuple(set_by_user), "set by you")} if set_by_user else {}
    if base.task.IS_CLASSIFIER:
        if "experiment.task.name" in kept:
            return keeping
        without = catalog.why_without_objects(data.source, data.options(base.seed, further_classes=False))
        if without:
            return {**keeping, "experiment.task.name": Choice(base.task.name, without)}
    splits = _trainval(data, base.seed, {key.removeprefix("experiment.") for key in kept})
    if splits and "experiment.data.validation_fraction" not in kept:
        splits["data.validation_fraction"] = Choice(HELD_OUT, "the score threshold is chosen on these images")
    data = config.replaced(base, {key: choice.value for key, choice in splits.items()}).data
    counted, why = annotated_images(data, base.seed), "the images have boxes"
    plain = config.replaced(images(data.source).base, {"task.name": "yolo"})
    choices = {
        "task.name": Choice("yolo", why),
        **splits,
        **{key: Choice(value, why) for key, _, value in config.differences(plain, detectors(data.source))},
        "task.network.aspect": dense.aspect(counted.aspects),
        "task.max_objects": dense.max_objects(counted.most, base.task),
        **dense.detections(counted.most, base.task),
    }
    return {
        **keeping,
        **{f"experiment.{key}": choice for key, choice in choices.items()},
        "candidates.resolutions": Choice(RESOLUTIONS, "small objects need large inputs"),
        "objective.metric": Choice("validation_mean_ap", why),
    }


RULED = tuple(
    f"experiment.{key}"
    for key in (
        *("data.cache", "data.class_balanced", "data.validation_fraction"),
        *("optimizer.", "schedule.", "task.network.", "task.plain_epochs", "task.sampled_regions", "task.suppression."),
        *("task.teacher.", "task.training_proposals", "training."),
    )
)
"""Beginnings of the keys that `trained_for_images`, `rules.taught` and budget searches choose."""
RESOLUTIONS = (2.0, 1.6, 1.25, 1.0, 0.8, 0.6, 0.5)
"""Resolutions to try for detectors, relative to the published detector's."""


def detectors(source: str) -> Experiment:
    """Returns what all trainings of one-stage detectors on the images of a source have in common."""
    return Experiment(
        task=YoloSettings(
            augmentation=BoxAugmentation(
                horizontal_flip=True, scale_range=(0.6, 1.6), brightness=0.2, contrast=0.2, saturation=0.2
            )
        ),
        model=architecture(rules.NETWORK, weights="imagenet", resolution=320),
        data=Data(source=source, validation_fraction=0.0, corrupt_images="skip"),
        optimizer=Optimizer(clip_norm=10.0),
        training=Training(ema_decay=0.99),
    )


def set_values(values: Mapping[str, Any], kept: Collection[str], *, detects: bool) -> dict[str, Any]:
    """Returns the values of an experiment that the rules leave as they are.

    Args:
        values: all values, by dotted key.
        kept: keys of values that are kept even if they are those of `images` or `detectors`.
        detects: whether the network is a detector.
    """
    source = values["data.source"]
    defaults = config.flatten(detectors(source) if detects else images(source).base)
    return {key: value for key, value in values.items() if key in kept or value != defaults.get(key)}


def trained_for_images(
    base: Experiment,
    task: TaskSettings,
    model: Architecture,
    counted: LabeledImages | AnnotatedImages,
    *,
    kept: Collection[str] = (),
    by_rules: bool = True,
    pace: float = 1.0,
) -> Experiment:
    """Returns the experiment with another network, trained as the rules choose for the images.

    Args:
        base: the experiment; values that differ from those of `images` or `detectors` are kept.
        task: the section of the network's task.
        model: the network, of a detector the backbone.
        counted: the training images of one training.
        kept: keys of other values that are kept.
        by_rules: False: it is trained as the experiment says.
        pace: share of the epochs that it is trained for; batch normalization keeps the momentum for all of them.
    """
    given = set_values(config.flatten(base), kept, detects=isinstance(counted, AnnotatedImages))

    def unset(choices: Choices) -> dict[str, Any]:
        return {key: choice.value for key, choice in choices.items() if key not in given}

    chosen = dict[str, Any]()
    if by_rules and isinstance(counted, LabeledImages):
        start, channels = warm_start(model), base.data.channels
        choices = training_for_images(counted, model, start, task, base.optimizer, given, channels)
        stored = stored_features(choices, task, base.optimizer, base.training, base.data, given)
        chosen = unset({**choices, **stored})
    elif by_rules and isinstance(counted, AnnotatedImages):
        chosen = unset(training_for_boxes(counted, model, task, given, base.data.channels, base.needs_validation))
    whole = chosen.get("training.epochs", base.training.epochs)
    epochs = max(1, round(pace * whole))
    if epochs != whole:
        shorter = lengths(task, base.optimizer, base.schedule, base.training, epochs / whole)
        if by_rules and isinstance(counted, AnnotatedImages):
            shorter |= unset(dense.length(epochs, task, needs_validation=base.needs_validation))
        chosen |= shorter | {"training.epochs": epochs}
    return config.replaced(replace(base, task=task, model=model), chosen)


def lengths(
    task: TaskSettings, optimizer: Optimizer, schedule: Schedule, training: Training, share: float
) -> dict[str, Any]:
    """Returns what these sections give in epochs, for a share of the epochs of the training."""
    values: dict[str, Any] = {
        "schedule.warmup_epochs": share * schedule.warmup_epochs,
        "task.plain_epochs": round(share * task.plain_epochs),
        "optimizer.unfreeze": tuple(f"{int(share * epoch)}={pattern}" for epoch, pattern in optimizer.unfreezing()),
        **decays(schedule, share),
    }
    if training.swa_epochs is not None:
        values["training.swa_epochs"] = max(1, round(share * training.swa_epochs))
    return values


def decays(schedule: Schedule, share: float) -> dict[str, Any]:
    """Returns when the learning rate decays, by dotted key, if the training has a share of its epochs."""
    match schedule.name:
        case "step":
            return {"schedule.boundaries": tuple(share * epoch for epoch in schedule.boundaries)}
        case "exponential":
            return {"schedule.decay_epochs": share * schedule.decay_epochs}
        case "plateau":
            return {"schedule.patience_epochs": max(1, round(share * schedule.patience_epochs))}
    return {}  # which follow the number of epochs


def _divisor(task: TaskSettings, given: Mapping[str, Any], count: int) -> int:
    """Returns what the number of images in a batch has to be a multiple of.

    Raises:
        UserError: there are fewer training images, and no batch size is set.
    """
    parts: int = given.get("training.accumulation_steps", 1)
    together = task.images_drawn_together or 1
    if parts * together > count and "training.batch_size" not in given:
        key = "training.accumulation_steps" if parts > 1 else "task.images_per_class"
        raise UserError(
            f"config: {key} is too large: a batch has at least {parts * together} images, more than the {count:,} to "
            "train on"
        )
    return parts * together


def training_for_boxes(
    counted: AnnotatedImages,
    model: Architecture,
    task: TaskSettings,
    given: Mapping[str, Any],
    channels: int,
    needs_validation: bool,
) -> Choices:
    """Returns how a detector of whole images is trained on these, by dotted key.

    Args:
        counted, task, given: as for `training_for_images`.
        model: the backbone.
        channels: channels of the images.
        needs_validation: see `Experiment.needs_validation`.
    """
    start, num_classes = warm_start(model), len(counted.class_images)
    image_bytes = dense.image_bytes(task, model, num_classes=num_classes, channels=channels)
    # Of images without objects, at most as many as of others count for the epochs: from most, little is learned.
    count = min(counted.count, 2 * counted.shown)
    batch_size = dense.batch_size(counted.count, image_bytes, _divisor(task, given, counted.count))
    size = given.get("training.batch_size", batch_size.value)
    epochs = dense.epochs(count, size, start, counted.count)
    whole = given.get("training.epochs", epochs.value)
    length = dense.length(whole, task, needs_validation=needs_validation)
    fixed = given.get("optimizer.freeze_normalization", False)
    return {
        **({} if fixed else _bn_momentum(model, counted.count, size, whole)),
        "training.batch_size": batch_size,
        **length,
        "training.epochs": epochs,
        "training.precision": rules.precision(counted.count),
        **{f"optimizer.{key}": choice for key, choice in dense.optimizer(count, start, counted.count).items()},
    }


HELD_OUT = 0.15
"""Share of the training images on which a detector's threshold is chosen."""


def boxes(source: str) -> Recipe[Experiment]:
    """Trains a detector on the images of a source with boxes: YOLO, that of the run it starts from, or what `task.name`
    asks for.

    All one-stage detectors and Faster R-CNN are trained by the same rules, R-CNN as `regions` says.
    """
    return Recipe(config.replaced(detectors(source), {"data.validation_fraction": HELD_OUT}), choose_for_boxes)


def regions(source: str) -> Experiment:
    """Returns what all R-CNNs on the images of a source have in common; their backbone is frozen."""
    return Experiment(
        task=RCNNSettings(),
        # weights=WORKDIR of a run on crops:SOURCE is a backbone that has learned your objects.
        model=architecture(rules.NETWORK, weights="imagenet"),
        data=Data(source=source, validation_fraction=HELD_OUT, corrupt_images="skip"),
        optimizer=Optimizer(learning_rate=1e-2, momentum=0.9, nesterov=False),
        schedule=Schedule(name="constant"),
        training=Training(epochs=60, batch_size=128, early_stopping_epochs=5, keep="best", precision="float32"),
    )


def choose_for_boxes(settings: Experiment, kept: Set[str]) -> Choices:
    """Returns the values that depend on the images, and on what is set with --config.KEY=VALUE, which is kept."""
    model, run = settings.model, starting.run_of(settings.model.weights)
    # A run to start from, also a backbone of crops, may have been trained on images that would be held out.
    splits = dict[str, Choice]()
    if run is None and not isinstance(settings.task, RCNNSettings):
        splits = _trainval(settings.data, settings.seed, kept)
    settings = config.replaced(settings, {key: choice.value for key, choice in splits.items()})
    counted = annotated_images(settings.data, settings.seed)
    if held_out := _held_out(settings.data, counted.divided, kept):
        splits |= held_out
        settings = config.replaced(settings, {key: choice.value for key, choice in held_out.items()})
        counted = annotated_images(settings.data, settings.seed)
    cuts = kept.isdisjoint({"data.tile", "data.tile_overlap", "data.unlabeled"}) and not settings.data.reduced_decoding
    if cuts and settings.task.TILES:
        cut, side = dict[str, Choice](), model.resolution if "model.resolution" in kept else dense.MOST_PIXELS
        if run is not None and isinstance(run.task, ObjectDetectionSettings):
            cut, side = dict(starting.tile(run.data)), run.model.resolution
        shape = counted.extent, counted.extents[1], counted.side, counted.aspects[1]
        if cut := cut or dict(dense.tile(*shape, side)):
            splits |= cut
            settings = config.replaced(settings, {key: choice.value for key, choice in cut.items()})
            counted = annotated_images(settings.data, settings.seed)
    given = {key: value for key, value in config.flatten(settings).items() if key in kept}
    published = starting.published(settings.task) if model.weights == "coco" else {}
    if isinstance(settings.task, RCNNSettings):
        return splits | _for_regions(settings, counted, run, kept)
    start, detector = warm_start(model), dict[str, Choice]()
    if "task.name" not in kept:
        detector["task.name"] = dense.DETECTOR
        if (
            run is not None
            and isinstance(run.task, ObjectDetectionSettings)
            and not isinstance(run.task, FastRCNNSettings)
            and not any(key.startswith("task.") for key in kept)
        ):
            detector["task.name"] = Choice(run.task.name, f"the detector of {model.weights}")
        settings = config.chosen(settings, {key: choice.value for key, choice in detector.items()}, kept)
    network = {
        **rules.network(model, start),
        "resolution": dense.resolution(model.resolution, counted.extent, counted.extents[0], counted.side),
        **published,
    }
    if start.kind == "scratch" and model.name == rules.NETWORK and "model.name" not in kept:
        why = "without ImageNet weights, a small network learns more from few images"
        network |= starting.differing(dense.SMALL, why)
    if run is not None:
        resolution = network["resolution"]
        network = dict(starting.backbone(run.model, run.task, settings.task, settings.model.weights))
        if not isinstance(run.task, ObjectDetectionSettings):  # it saw images or regions with one object
            network["resolution"] = resolution
    described = {
        **detector,
        **{f"model.{key}": choice for key, choice in network.items()},
        **({} if run is None else starting.layers(run.task, settings.task, settings.model.weights, kept)),
        "task.network.aspect": dense.aspect(counted.aspects),
        "task.max_objects": dense.max_objects(counted.most, settings.task),
    }
    trained = None if run is None else run.task.name
    fixed = starting.may_be_whole(model.weights, start, trained, settings.task.name)
    if not fixed and "task.network.name" not in kept:
        side = config.chosen(settings, {key: each.value for key, each in described.items()}, kept).model.resolution
        described |= dense.small(settings.task, side, counted.extents, counted.objects, counted.most)
    described |= dense.detections(counted.most, settings.task)
    settled = config.chosen(settings, {key: choice.value for key, choice in described.items()}, kept)
    whole = settled.description
    if isinstance(whole, dense.Anchored) and not fixed:
        size = dense.anchor_size(whole, counted.extents)
        why = size.why + dense.misshaped(whole, counted.elongation)
        described["task.network.anchor_size"] = replace(size, why=why)
    size = dense.image_size(settled.model.resolution, counted.longest, settled.task)
    settled = config.chosen(settled, {"data.image_size": size.value}, kept)
    return {
        **splits,
        **described,
        "data.image_size": size,
        "data.cache": cache(settled.task, settled.data, settled.description.size, counted),
        **training_for_boxes(
            counted, settled.model, settled.task, given, settings.data.channels, settings.needs_validation
        ),
    }


def _trainval(data: Data, seed: int, kept: Set[str]) -> dict[str, Choice]:
    """Returns the training split, by dotted key, if the source has one of the images to train and to validate on.

    Args:
        data, seed: as for `annotated_images`.
        kept: dotted keys of an experiment that are set.
    """
    if not kept.isdisjoint({"data.train_split", "data.validation_split"}) or not has_trainval(data, seed):
        return {}
    why = "images to train and to validate on; data.validation_fraction of them is held out"
    return {"data.train_split": Choice("trainval", why)}


def _held_out(data: Data, count: int, kept: Set[str]) -> dict[str, Choice]:
    """Returns the share that is held out of so few images that `HELD_OUT` would be none of them, by dotted key.

    Args:
        data: section of the config.
        count: number of images that are divided; 0: none are.
        kept: dotted keys of an experiment that are set.

    Raises:
        UserError: there is a single image.
    """
    if count == 0 or round(HELD_OUT * count) > 0 or "data.validation_fraction" in kept:
        return {}
    if count == 1:
        raise UserError(
            f"{data.source}: there is a single image to train on; add some, because a detector's score threshold is "
            "chosen on others, or set data.validation_fraction=0"
        )
    return {"data.validation_fraction": Choice(round(1 / count, 2), f"one of {count} images")}


def _for_regions(
    settings: Experiment, counted: AnnotatedImages, run: Experiment | None, kept: Set[str]
) -> dict[str, Choice]:
    """Returns the choices for an R-CNN."""
    source, why = settings.data.source, "R-CNN trains a classifier of regions"
    plain = config.replaced(boxes(source).base, {"task.name": settings.task.name})
    model, start = settings.model, warm_start(settings.model)
    if model.resolution == dense.RESOLUTION:  # not set, but that of the other detectors
        model = replace(model, resolution=architecture(model.name).resolution)
    network = dict(rules.network(model, start))
    chosen = network["name"].value if "name" in network and "model.name" not in kept else model.name
    network["resolution"] = rules.region_resolution(model, chosen)
    if run is not None:
        network = dict(starting.backbone(run.model, run.task, settings.task, settings.model.weights))
    return {
        **{key: Choice(value, why) for key, _, value in config.differences(plain, regions(source))},
        "task.proposals.max_proposals": rules.max_proposals(counted.objects),
        "task.vote_overlap": rules.vote_overlap(counted.objects),
        **dense.detections(counted.most, settings.task),
        **({} if run is None else starting.layers(run.task, settings.task, settings.model.weights, kept)),
        **{f"model.{key}": choice for key, choice in network.items()},
    }
