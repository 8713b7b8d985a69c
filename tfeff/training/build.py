"""Creates the objects that a config describes: data, network, optimizer, schedule, task, training step."""

import math
import random
from typing import Any

import keras
import tensorflow as tf

from tfeff import config, models, tasks
from tfeff.data.dataset import Dataset
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.order import ClassBalanced, Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.input.transform import Transform
from tfeff.errors import UserError, nearest
from tfeff.proposals import ProposalStore
from tfeff.proposals.lookup import indexed_lookup
from tfeff.training import checkpoint, distribution, optimizers, phases, schedules
from tfeff.training.averaging import Average
from tfeff.training.features import split
from tfeff.training.freezing import freeze
from tfeff.training.step import Step
from tfeff.training.workdir import Workdir


def check(settings: config.Experiment, replicas: int, *, afresh: bool) -> None:
    """Reports errors that would otherwise occur only after all images are read, or after training.

    Args:
        settings: the experiment.
        replicas: number of devices that share a batch, over all workers.
        afresh: whether this is a new run; resumed runs do not need the initial weights.

    Raises:
        UserError: an impossible network, missing weights, patterns of optimizer settings that match nothing or that
            `model.transfer` chooses, a shift beyond the image, or a batch that the devices cannot share.
    """
    section, training = settings.model, settings.training
    task = tasks.create(settings.task)
    task.check(description(settings).resolution)
    if afresh and section.weights not in (None, "imagenet") and not models.is_weights_file(section.weights):
        raise UserError(f"config: model.weights: no file {section.weights}")
    parts = replicas * training.accumulation_steps
    if training.batch_size % parts:
        raise UserError(
            f"config: training.batch_size is {training.batch_size}; it should be a multiple of {parts} "
            f"({replicas} devices x training.accumulation_steps)"
        )
    metrics = *task.means(task.zero_sums()), *(name for name in task.scores if name not in task.tuned)
    if training.monitor not in metrics:
        raise UserError(f"config: training.monitor is {training.monitor!r}; {nearest(training.monitor, metrics)}")
    if training.xla and replicas > 1:
        raise UserError("config: training.xla supports only a single device; set it to false")
    update = settings.optimizer
    if update.unfreeze and distribution.worker_count() > 1:
        raise UserError("config: optimizer.unfreeze: several workers are not supported; use one")
    if section.transfer is not None and update.frozen:
        raise UserError("config: model.transfer=auto chooses optimizer.frozen, which is set too; remove one of them")
    if section.transfer is not None and distribution.worker_count() > 1:
        raise UserError("config: model.transfer: several workers are not supported; set optimizer.frozen instead")
    if afresh and (update.frozen or update.unfreeze or update.learning_rate_factors or training.feature_variants):
        # The patterns refer to paths, which depend on neither classes nor statistics: those need the data.
        network = _frozen_network(settings, replicas)
        if update.unfreeze:
            _frozen_network(phases.at(settings, training.epochs), replicas)
        if training.feature_variants is not None and section.transfer is None and split(network) is None:
            raise UserError(
                "config: training.feature_variants: the first layers of the network are trained; freeze them with "
                "optimizer.frozen, such as stem*,stage*"
            )


def _frozen_network(settings: config.Experiment, replicas: int) -> keras.Model:
    """A network for any data, frozen as in the first phase of a run; its optimizer can be created."""
    network = model(settings, {"mean": None, "class_names": ["any"]})
    optimizer(settings, network, replicas)
    return network


def description(settings: config.Experiment) -> models.Architecture | models.Detector:
    """The description of an experiment's network, without what it takes from the training images."""
    section = settings.model
    return tasks.create(settings.task).describe(section.name, resolution=section.resolution, **section.options())


def measured(settings: config.Experiment, images: Dataset) -> tuple[dict[str, Any], tuple[str, ...]]:
    """See `ImageTask.measured`."""
    return tasks.create(settings.task).measured(images, description(settings))


def model(settings: config.Experiment, record: dict[str, Any]) -> keras.Model:
    """Builds the randomly initialized network of an experiment, under the current dtype policy and strategy.

    Args:
        record: the workdir's `dataset.json`; its `mean` and `std`, if any, normalize the network's input, and its
            `options` are those of `ImageTask.measured`.
    """
    options = settings.model.options() | record.get("options", {})
    if record["mean"]:
        options |= {"mean": record["mean"], "std": record["std"]}
    # Keras draws the seeds of initializers and dropout from Python's generator. keras.utils.set_random_seed would also
    # seed TensorFlow's generator, which is not used here, and cause all functions to be compiled again.
    random.seed(settings.seed)
    return tasks.create(settings.task).network(
        settings.model.name,
        num_classes=len(record["class_names"]),
        channels=settings.data.channels,
        resolution=settings.model.resolution,
        synchronized=settings.training.synchronized_batch_norm,
        **options,
    )


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
    mean, std = models.preprocessing.statistics(network.get_layer(models.preprocessing.STANDARDIZATION))
    return {"mean": list(mean), "std": list(std)}


def training_pipeline(
    settings: config.Experiment, images: ImageCache, size: tuple[int, int], worker: tuple[int, int]
) -> Batches:
    """Shuffled, augmented batches at the network's `size`; `worker` is (index, count)."""
    data, seed = settings.data, settings.seed
    return Batches(
        transform(settings, images, size),
        settings.training.batch_size,
        order=ClassBalanced(images.dataset.labels, seed) if data.class_balanced else Shuffled(len(images), seed),
        shard=worker,
    )


def evaluation_pipeline(
    settings: config.Experiment, images: ImageCache, size: tuple[int, int], worker: tuple[int, int]
) -> Batches:
    """Every image once, in order, at the network's `size`."""
    return Batches(transform(settings, images, size), settings.training.batch_size, shard=worker)


def transform(settings: config.Experiment, images: ImageCache, size: tuple[int, int]) -> Transform:
    """What happens to images on their way to the network."""
    plain = settings.task.plain_epochs
    plain_from = settings.training.epochs - plain if plain else None
    task, proposals = tasks.create(settings.task), None
    if task.proposals is not None:  # `selection.cache` stored them
        proposals = indexed_lookup(ProposalStore(task.proposals.store), images.dataset.ids)
    return task.transform(Reader(images, proposals), size, seed=settings.seed, plain_from=plain_from)


def averaging(settings: config.Experiment) -> tuple[bool, float | None]:
    """Whether weights are averaged, and the decay of a moving average over steps."""
    training = settings.training
    decay = training.ema_decay
    if training.ema_images is not None:
        decay = math.exp(-training.batch_size / training.ema_images)
    return decay is not None or training.swa_epochs is not None, decay


def schedule(settings: config.Experiment, steps_per_epoch: int) -> schedules.Schedule:
    """Creates the learning-rate schedule."""
    section, peak = settings.schedule, settings.optimizer.learning_rate
    warm_up = round(section.warmup_epochs * steps_per_epoch)
    total = settings.training.epochs * steps_per_epoch
    start = 0 if section.count_warmup else warm_up  # of the schedule that follows
    after: schedules.Schedule
    match section.name:
        case "constant":
            after = schedules.Constant(peak)
        case "cosine":
            after = schedules.Cosine(peak, max(1, total - start))
        case "exponential":
            after = schedules.Exponential(peak, section.decay_rate, section.decay_epochs * steps_per_epoch)
        case "step":
            boundaries = tuple(epoch * steps_per_epoch - start for epoch in section.boundaries)
            after = schedules.Step(peak, section.decay_rate, boundaries)
        case "plateau":
            after = schedules.Plateau(
                peak, section.decay_rate, section.patience_epochs, settings.training.minimum_change
            )
    return schedules.WarmUp(after, warm_up, start) if warm_up else after


def optimizer(settings: config.Experiment, network: keras.Model, replicas: int) -> keras.optimizers.Optimizer:
    """Freezes parts of the network, if the config says so, and creates the optimizer of the rest, under the current
    dtype policy and strategy."""
    section = settings.optimizer
    freeze(network, section.frozen, [pattern for epoch, pattern in section.unfreezing() if epoch == 0])
    return optimizers.build(
        section.name,
        network,
        momentum=section.momentum,
        nesterov=section.nesterov,
        decay=section.decay,
        beta_2=section.beta_2,
        epsilon=section.epsilon,
        initial_accumulator=section.initial_accumulator,
        weight_decay=section.weight_decay,
        decay_biases=section.weight_decay_biases,
        l2=section.weight_decay_kind == "l2",
        learning_rate_factors=section.factors(),
        clip_norm=section.clip_norm,
        replicas=replicas,
        loss_scaling=keras.mixed_precision.dtype_policy().name == "mixed_float16",
    )


def step(
    settings: config.Experiment,
    network: keras.Model,
    strategy: tf.distribute.Strategy,
    update: keras.optimizers.Optimizer,
    average: Average | None = None,
    rest: keras.Model | None = None,
) -> Step:
    """Creates the compiled training and evaluation steps; with `rest`, on features of the frozen part."""
    training = settings.training
    return Step(
        network,
        update,
        strategy,
        task=tasks.create(settings.task),
        batch_size=training.batch_size,
        accumulation_steps=training.accumulation_steps,
        rematerialize=training.rematerialize,
        average=average,
        xla=training.xla,
        rest=rest,
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
    task = tasks.create(workdir.config().task)
    task.calibrate(network, workdir.validated(task.scores))
    return network
