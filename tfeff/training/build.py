"""Creates the objects that a config describes: data, network, optimizer, schedule, task, training step."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, models
from tfeff.data import folds, splits
from tfeff.data.dataset import Source
from tfeff.data.images.cache import Store
from tfeff.data.images.statistics import channel_statistics
from tfeff.data.input.pipeline import Pipeline
from tfeff.data.sources import catalog
from tfeff.data.splits import FRACTIONS
from tfeff.errors import UserError, nearest
from tfeff.training import checkpoint, optimizers, schedules
from tfeff.training.averaging import Average
from tfeff.training.classification import Classification
from tfeff.training.localization import Localization
from tfeff.training.step import Step
from tfeff.training.task import Task
from tfeff.training.workdir import Workdir

Progress = Callable[[str, int, int], None]
"""Called with the name of the dataset, the number of images read so far, and their total number."""


@dataclass(frozen=True)
class Stores:
    """The images that an experiment's source has, read and decoded: what `dataset` takes a run's images from.

    Reading is what takes long, so that runs which differ in network, training, seed or fold can share them.

    Attributes:
        train: the whole training split.
        validation: the whole validation split of the source, where it validates.
        settings: what decided how they were read, by dotted key.
        fingerprint: of everything that the sources list: other images, another fingerprint.
        given: whether other sources took the place of the experiment's.
    """

    train: Store
    validation: Store | None
    settings: Mapping[str, Any]
    fingerprint: str
    given: bool = False


@dataclass(frozen=True)
class Dataset:
    """The images of a run, decoded to one size, and what the network must know of them."""

    train: Store
    validation: Store | None
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    """That of the stores."""
    given: bool
    """That of the stores."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """The corrupt images that were left out, in training and validation split."""
        held_out = self.validation.skipped if self.validation is not None else ()
        return tuple(dict.fromkeys(image.id for image in (*self.train.skipped, *held_out)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how the images were chosen, a line each."""
        held_out = self.validation.source.notes if self.validation is not None else ()
        return tuple(dict.fromkeys((*self.train.source.notes, *held_out)))

    def record(self) -> dict[str, Any]:
        """For the workdir: what evaluation and export need without the images."""
        return {
            "class_names": list(self.class_names),
            "image_size": list(self.image_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "fingerprint": self.fingerprint,
            "given": self.given,
            "train_examples": len(self.train),
            "validation_examples": len(self.validation) if self.validation is not None else 0,
            "train_class_counts": np.bincount(self.train.source.labels, minlength=len(self.class_names)).tolist(),
            "skipped_images": list(self.skipped),
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def check(settings: config.Experiment, replicas: int, *, afresh: bool) -> None:
    """Finds mistakes that would otherwise surface only after all images are read, or after training.

    Args:
        settings: the experiment.
        replicas: number of devices that share a batch, over all workers.
        afresh: whether this is a new run; resumed runs do not need the initial weights.

    Raises:
        UserError: for an invalid network, missing weights, a test-time shift beyond the image, a batch that cannot be
            divided among the devices, or a test split that is missing or has other classes than the training split.
    """
    section, data, training = settings.model, settings.data, settings.training
    architecture = models.architecture(section.name, resolution=section.resolution, **settings.model.options())
    if settings.tta.shift >= architecture.resolution:
        raise UserError(
            f"config: tta.shift is {settings.tta.shift}; it should be below the resolution, {architecture.resolution}"
        )
    if afresh and section.weights not in (None, "imagenet") and not Path(section.weights).is_file():
        raise UserError(f"config: model.weights: no file {section.weights}")
    parts = replicas * training.accumulation_steps
    if training.batch_size % parts:
        raise UserError(
            f"config: training.batch_size is {training.batch_size}; it should be a multiple of {parts} "
            f"({replicas} devices x training.accumulation_steps)"
        )
    if training.xla and replicas > 1:
        raise UserError("config: training.xla supports a single device only; turn it off to use several")
    known = split_names(settings)
    if data.test_split is not None and splits.canonical_name(data.test_split) not in known:
        if data.test_split != config.Data.test_split:
            raise UserError(
                f'config: data.test_split: {data.source} has no split "{data.test_split}"; '
                f"{nearest(data.test_split, known)}"
            )
    elif data.test_split is not None and data.source.startswith("folder:"):  # a listing; others would read all images
        _same_classes(open_source(settings, data.train_split), open_source(settings, data.test_split), data.test_split)


def stores(settings: config.Experiment, progress: Progress, given: tuple[Source, Source] | None = None) -> Stores:
    """Reads all images that the experiment trains and validates on.

    Args:
        settings: the experiment.
        progress: told how far it is.
        given: take the place of the source's training and validation split.

    Raises:
        UserError: for a source that is not there, or corrupt images.
    """
    source = given[0] if given else open_source(settings, settings.data.train_split)
    size = image_size(settings, source)
    train = store(settings, source, size, progress)
    fingerprints = [source.fingerprint]
    validation: Store | None = None
    own_validation = validation_split(settings)
    if own_validation is not None:
        held_out = given[1] if given else open_source(settings, own_validation)
        _same_classes(source, held_out, own_validation)
        fingerprints.append(held_out.fingerprint)
        validation = store(settings, held_out, size, progress)
    return Stores(train, validation, _reading(settings, source), " ".join(fingerprints), given is not None)


def dataset(settings: config.Experiment, stores: Stores) -> Dataset:
    """The training and validation images of an experiment: its subset, fold or hold-out of what the stores have.

    Raises:
        UserError: for folds or subsets that cannot be drawn, or that lack a class; for fewer images than a batch.
        ValueError: for stores that were read under other settings.
    """
    data = settings.data
    wanted = _reading(settings, stores.train.source)
    odd = [
        f"{key}: {stores.settings[key]!r} there, {wanted[key]!r} now"
        for key in wanted
        if stores.settings[key] != wanted[key]
    ]
    if odd:
        raise ValueError(f"the stores were read under other settings ({'; '.join(odd)}); read them anew")
    part = selection(settings, stores.train.source)
    train, validation = stores.train, stores.validation
    if part is not None:
        train = stores.train.take(part.train)
        validation = stores.train.take(part.validation) if len(part.validation) else stores.validation
    if len(train) < settings.training.batch_size:
        raise UserError(
            f"config: training.batch_size: {train.source.name}: {len(train)} images to train on are less than one "
            f"batch of {settings.training.batch_size}; use at most {len(train)}"
        )
    mean, std = data.mean or (), data.std or ()
    if data.mean is None and data.normalization == "dataset":
        mean, std = (tuple(map(float, values)) for values in channel_statistics(train))
    return Dataset(
        train=train,
        validation=validation,
        class_names=train.source.class_names,
        image_size=train.image_size,
        mean=mean,
        std=std,
        fingerprint=stores.fingerprint,
        given=stores.given,
    )


def selection(settings: config.Experiment, source: Source) -> folds.Fold | None:
    """Which of a source's images to train on, and which of them to validate on, if any; None: all of them train.

    Raises:
        UserError: for folds or subsets that cannot be drawn, or that lack a class.
    """
    wanted, labels = settings.data.train_examples, source.labels
    if wanted is None:
        return _fold(settings, source, labels)
    drawn = folds.subset(labels, wanted, data_seed(settings))
    what = f"config: data.train_examples: the subset of {source.name}"
    folds.require_every_class(labels, drawn, what, "draw more", source.class_names)
    part = _fold(settings, source, labels[drawn])
    if part is None:
        return folds.Fold(train=drawn, validation=drawn[:0])
    return folds.Fold(train=drawn[part.train], validation=drawn[part.validation])


def _fold(settings: config.Experiment, source: Source, labels: np.ndarray) -> folds.Fold | None:
    """Which of the images of these labels to train on and which to validate on; None: all of them train."""
    data, names, seed = settings.data, source.class_names, data_seed(settings)
    if data.folds is not None:
        key = "data.folds" if data.fold_examples is None else "data.fold_examples"
        try:
            if data.fold_examples is None:
                return folds.k_folds(labels, data.folds, seed, names)[data.fold]
            held_out = round(data.fold_examples * data.validation_fraction)
            return folds.independent_folds(labels, data.folds, data.fold_examples, held_out, seed, names)[data.fold]
        except UserError as error:
            raise UserError(f"config: {key}: {source.name}: {error}") from None
    if data.validation_fraction == 0 or validation_split(settings) is not None:
        return None
    try:
        return folds.holdout(labels, data.validation_fraction, seed, names)
    except UserError as error:
        raise UserError(f"config: data.validation_fraction: {source.name}: {error}") from None


def _reading(settings: config.Experiment, source: Source) -> dict[str, Any]:
    """What decides how a source is read, by dotted key."""
    data = settings.data
    # A folder without splits of its own is divided by the seed, and so are its likes with boxes.
    seed = data_seed(settings) if data.source.startswith(("folder:", "voc:", "yolo:")) else None
    return {
        "task.name": settings.task.name,
        "data.source": data.source,
        "data.directory": data.directory,
        "data.channels": data.channels,
        "data.image_size": image_size(settings, source),
        "data.train_split": data.train_split,
        "data.validation_split": validation_split(settings),
        "data.corrupt_images": data.corrupt_images,
        "data.crop_context": data.crop_context,
        "data.seed": seed,
    }


def data_seed(settings: config.Experiment) -> int:
    """The seed of what is drawn from the images."""
    return settings.seed if settings.data.seed is None else settings.data.seed


def validation_split(settings: config.Experiment) -> str | None:
    """The split of the source that validates, or None where a part of the training split does, or nothing."""
    data = settings.data
    if data.validation_split is not None or data.folds is not None or data.validation_fraction == 0:
        return data.validation_split
    return "validation" if "validation" in split_names(settings) else None


def split(settings: config.Experiment, name: str, record: dict[str, Any], progress: Progress) -> Store:
    """The images of one split of a finished run's source; `validation` is the run's own, however it was held out.

    Args:
        record: the workdir's `dataset.json`.

    Raises:
        UserError: for an unknown split, one whose classes are not the network's, or one that is drawn by the seed from
            images which have changed since the run: it may hold images that the network was trained on.
    """
    if splits.canonical_name(name) == "validation":
        name = validation_split(settings) or name
    if splits.canonical_name(name) == "validation" and validation_split(settings) is None:
        read = stores(settings, progress)
        _require_unchanged(settings, read.fingerprint, record["fingerprint"])
        held_out = dataset(settings, read).validation
        if held_out is None:
            raise UserError("--split=validation: this run held no images out (data.validation_fraction is 0)")
        return held_out
    if is_divided_by_seed(settings) and not record.get("given"):  # those that were given lie divided elsewhere
        now = open_source(settings, settings.data.train_split).fingerprint
        _require_unchanged(settings, now, record["fingerprint"].partition(" ")[0])
    source = open_source(settings, name)
    if list(source.class_names) != record["class_names"]:
        raise UserError(f"--split={name}: its classes are not those that the network was trained on")
    height, width = record["image_size"]
    return store(settings, source, (height, width), progress)


def open_source(settings: config.Experiment, name: str) -> Source:
    """The images of one split of the experiment's source."""
    data = settings.data
    common: dict[str, Any] = {
        "channels": data.channels,
        "seed": data_seed(settings),
        "data_dir": data.directory,
        "download": data.download,
    }
    if settings.task.name == "localization":
        return catalog.load_single_objects(data.source, name, **common)
    return catalog.load(data.source, name, crop_context=data.crop_context, **common)


def split_names(settings: config.Experiment, fractions: Mapping[str, float] = FRACTIONS) -> tuple[str, ...]:
    """The splits that the experiment's source has; those of `fractions` where it has none of its own."""
    names = catalog.annotated_splits if settings.task.name == "localization" else catalog.splits
    data = settings.data
    return names(data.source, fractions=fractions, data_dir=data.directory, download=data.download)


def is_divided_by_seed(settings: config.Experiment) -> bool:
    """Whether the experiment's source has no splits of its own."""
    return "asked" in split_names(settings, {"asked": 1.0})


def image_size(settings: config.Experiment, source: Source) -> tuple[int, int]:
    """(height, width) to which the loader brings each image."""
    if settings.data.image_size is not None:
        return settings.data.image_size, settings.data.image_size
    if source.size is not None:
        return source.size
    resolution = settings.model.resolution or models.architecture(settings.model.name).resolution
    return resolution, resolution


def store(settings: config.Experiment, source: Source, size: tuple[int, int], progress: Progress) -> Store:
    """The decoded images of a source."""
    return Store.open(
        source,
        size,
        cache=settings.data.cache,
        directory=settings.data.cache_directory,
        corrupt_images=settings.data.corrupt_images,
        progress=lambda done, total: progress(source.name, done, total),
    )


def model(settings: config.Experiment, record: dict[str, Any]) -> keras.Model:
    """Builds the randomly initialized network of an experiment, under the current dtype policy and strategy.

    Args:
        record: the workdir's `dataset.json`; its `mean` and `std`, if any, normalize the network's input.
    """
    options = settings.model.options()
    if record["mean"]:
        options |= {"mean": record["mean"], "std": record["std"]}
    # Keras draws the seeds of initializers and dropout from Python's generator. keras.utils.set_random_seed would also
    # seed TensorFlow's generator, which is not used here, and cause all functions to be compiled again.
    random.seed(settings.seed)
    section, localizes, num_classes = settings.task, settings.task.name == "localization", len(record["class_names"])
    network = models.build(
        settings.model.name,
        num_classes=num_classes,
        resolution=settings.model.resolution,
        channels=settings.data.channels,
        include_top=not localizes,
        synchronized=settings.training.synchronized_batch_norm,
        **options,
    )
    if not localizes:
        return network
    dropout = models.architecture(settings.model.name, **settings.model.options()).dropout
    return models.localizer(network, num_classes=num_classes, dropout=dropout, grid=section.grid, hidden=section.hidden)


def initial_weights(settings: config.Experiment, network: keras.Model) -> models.LoadReport | None:
    """Loads the initial weights of the config, if any; reports what was loaded and what did not fit.

    Raises:
        UserError: for a missing file, a file in which nothing fits, or a failed download.
    """
    source = settings.model.weights
    if source is None:
        return None
    if source == "imagenet":
        return models.load_imagenet(network, settings.model.name)
    return models.load_weights(network, source)


def preprocessing(network: keras.Model) -> dict[str, Any]:
    """The network's per-channel `mean` and `std`, for `dataset.json`."""
    mean, std = models.preprocessing.statistics(network.get_layer(models.preprocessing.STANDARDISATION))
    return {"mean": list(mean), "std": list(std)}


def training_pipeline(settings: config.Experiment, images: Store, resolution: int, worker: tuple[int, int]) -> Pipeline:
    """Shuffled and augmented batches; `worker` is (index, count)."""
    plain = settings.data.plain_epochs
    return Pipeline(
        images,
        batch_size=settings.training.batch_size,
        resolution=resolution,
        seed=settings.seed,
        augmentation=settings.data.augmentation,
        box_augmentation=settings.data.box_augmentation,
        plain_from=settings.training.epochs - plain if plain else None,
        class_balanced=settings.data.class_balanced,
        shard=worker,
    )


def evaluation_pipeline(
    settings: config.Experiment, images: Store, resolution: int, worker: tuple[int, int]
) -> Pipeline:
    """All images once, in order."""
    return Pipeline(images, batch_size=settings.training.batch_size, resolution=resolution, shuffle=False, shard=worker)


def schedule(settings: config.Experiment, steps_per_epoch: int) -> schedules.Schedule:
    """Creates the learning-rate schedule."""
    section, peak = settings.schedule, settings.optimizer.learning_rate
    warm_up = round(section.warmup_epochs * steps_per_epoch)
    total = settings.training.epochs * steps_per_epoch
    after: schedules.Schedule
    match section.name:
        case "constant":
            after = schedules.Constant(peak)
        case "cosine":
            after = schedules.Cosine(peak, max(1, total - warm_up))
        case "exponential":
            after = schedules.Exponential(peak, section.decay_rate, section.decay_epochs * steps_per_epoch)
        case "step":
            boundaries = tuple(epoch * steps_per_epoch - warm_up for epoch in section.boundaries)
            after = schedules.Step(peak, section.decay_rate, boundaries)
        case "plateau":
            after = schedules.Plateau(peak, section.decay_rate, section.patience_epochs)
    return schedules.WarmUp(after, warm_up) if warm_up else after


def optimizer(settings: config.Experiment, network: keras.Model, replicas: int) -> keras.optimizers.Optimizer:
    """Creates the optimizer, under the current dtype policy and strategy."""
    section = settings.optimizer
    return optimizers.build(
        section.name,
        network,
        momentum=section.momentum,
        nesterov=section.nesterov,
        decay=section.decay,
        beta_2=section.beta_2,
        epsilon=section.epsilon,
        weight_decay=section.weight_decay,
        clip_norm=section.clip_norm,
        replicas=replicas,
        loss_scaling=keras.mixed_precision.dtype_policy().name == "mixed_float16",
    )


def task(settings: config.Experiment) -> Task:
    """Creates the task."""
    section, smoothing = settings.task, settings.training.label_smoothing
    if section.name == "localization":
        return Localization(section.class_weight, section.box_weight, smoothing)
    return Classification(smoothing)


def step(
    settings: config.Experiment,
    network: keras.Model,
    strategy: tf.distribute.Strategy,
    update: keras.optimizers.Optimizer,
    average: Average | None = None,
) -> Step:
    """Creates the compiled training and evaluation steps."""
    training = settings.training
    return Step(
        network,
        update,
        strategy,
        task=task(settings),
        batch_size=training.batch_size,
        accumulation_steps=training.accumulation_steps,
        average=average,
        xla=training.xla,
    )


def trained_model(workdir: Workdir, precision: str = "float32") -> keras.Model:
    """Builds the network of a finished run with its final weights.

    Args:
        workdir: the workdir of the run.
        precision: dtype policy to set, independent of the policy in training.

    Raises:
        UserError: if the run is not finished.
    """
    if not workdir.final.is_file():
        raise UserError(f"--workdir={workdir.path}: the run is not finished; rerun its tfeff.train command")
    try:
        arrays, _ = checkpoint.load(workdir.final)
    except UserError as error:
        raise UserError(f"{error}; delete it and rerun tfeff.train to restore it from the last checkpoint") from None
    keras.mixed_precision.set_dtype_policy(precision)
    network = model(workdir.config(), workdir.dataset())
    loaded = models.load_weights(network, {name.removeprefix("model/"): array for name, array in arrays.items()})
    if loaded.skipped:
        raise UserError(f"{workdir.final} does not fit the network of config.json: {loaded.skipped[0]}")
    return network


def predictor(experiment: config.Experiment, network: keras.Model) -> keras.Model:
    """Wraps the trained network for test-time augmentation, if the config enables it."""
    section = experiment.tta
    if not (section.mirrored or section.shift):
        return network
    return models.averaged(network, mirrored=section.mirrored, shift=section.shift)


def _require_unchanged(settings: config.Experiment, now: str, then: str) -> None:
    """Refuses to draw splits anew, by fingerprints of the training images now and at the run's start."""
    if now != then:
        raise UserError(
            f"the images of {settings.data.source} have changed since this run began (names, sizes or times of "
            "modification), and its splits are drawn from them by the seed: images that the network was trained on "
            "would be measured. Put them back, or train again in a new --workdir"
        )


def _same_classes(train: Source, other: Source, name: str) -> None:
    if train.class_names != other.class_names:
        odd = sorted(set(train.class_names) ^ set(other.class_names))
        raise UserError(f"{train.name}: the classes of {name} are not those of the training split; only in one: {odd}")
