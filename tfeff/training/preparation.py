"""Prepares a run: its images, its network, and the state in which it starts or resumes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfeff import config, tasks
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources.source import Source
from tfeff.errors import UserError
from tfeff.tasks.task import BatchPredictor
from tfeff.training import build, distribution, precision, selection
from tfeff.training.assembly import AssemblyCache, assemble
from tfeff.training.freezing import frozen_params
from tfeff.training.interruption import Interruption
from tfeff.training.progress import Reporter
from tfeff.training.resumption import restore, resume
from tfeff.training.state import State
from tfeff.training.step import Step
from tfeff.training.stopping import EarlyStopping
from tfeff.training.workdir import Workdir


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the loop needs.

    Attributes:
        state: as at the start of training, or restored.
        step: the compiled steps.
        training: the training batches.
        validation: the validation batches, if any.
        scoring: computes the task's `scores` of the network on all validation images.
    """

    state: State
    step: Step
    training: Batches
    validation: Batches | None
    scoring: Callable[[], Mapping[str, float]]


def prepare(
    settings: config.Experiment,
    workdir: Workdir,
    strategy: tf.distribute.Strategy,
    *,
    until_epoch: int | None,
    source: Callable[[], Source] | None,
    caches: selection.SplitCaches | None,
    assemblies: AssemblyCache | None,
    reporter: Reporter,
    interruption: Interruption,
) -> Prepared | None:
    """Loads the images, builds the network, and restores the last checkpoint or loads the initial weights.

    Args:
        settings: the experiment, with `model.family` resolved.
        workdir: claimed for the experiment.
        strategy: of the run.
        until_epoch: see `train`.
        source: see `train`.
        caches: see `train`.
        assemblies: see `train`.
        reporter: reports progress.
        interruption: checked while images are read.

    Returns:
        None if nothing is left to train.

    Raises:
        UserError: for invalid images or settings.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    training = settings.training
    unfinished, saved = resume(
        workdir,
        epochs=training.epochs,
        patience=training.early_stopping_epochs,
        until_epoch=until_epoch,
        report=reporter.say,
    )
    if not unfinished:
        return None
    build.check(settings, strategy.num_replicas_in_sync, afresh=saved is None)
    images = _images(settings, source, caches, reporter, interruption)
    if saved is None:
        options, notes = build.measured(settings, images.train.dataset)
        record = images.record() | {"options": options}
        for note in notes:
            reporter.say(note)
        policy = precision.select_policy(settings, record, reporter, interruption)
    else:
        record, policy = _recorded(workdir, images, settings.data.source), saved.record["precision"]
    keras.mixed_precision.set_dtype_policy(policy)

    assembly = (assemblies.assemble if assemblies else assemble)(settings, record, strategy)
    model = assembly.model
    if saved is None:
        with strategy.scope():
            loaded = build.initial_weights(settings, model)
        if loaded is not None:
            if assembly.average is not None:
                assembly.average.restart()
            reporter.say(f"{settings.model.weights}: {loaded}")
        if distribution.is_chief():
            workdir.write_dataset(record | build.preprocessing(model))
    worker = distribution.worker_index(), distribution.worker_count()
    pipeline = build.training_pipeline(settings, images.train, model.size, worker)
    validation = None
    if images.validation is not None:
        validation = build.evaluation_pipeline(settings, images.validation, model.size, worker)
    state = State(
        model=model,
        optimizer=assembly.optimizer,
        average=assembly.average,
        schedule=build.schedule(settings, pipeline.steps_per_epoch),
        stopping=EarlyStopping(training.early_stopping_epochs, training.minimum_change),
        precision=policy,
        sums=assembly.step.task.zero_sums(),
    )
    if saved is not None:
        restore(state, saved, reporter.say)
    height, width = model.size
    reporter.say(
        f"{settings.model.name} at {width}x{height}: {model.count_params():,} parameters, "
        f"{policy}, {len(images.train):,} training images, {pipeline.steps_per_epoch:,} steps per epoch"
    )
    if settings.optimizer.frozen:
        reporter.say(f"{frozen_params(model, settings.optimizer.frozen):,} parameters are frozen")
    return Prepared(state, assembly.step, pipeline, validation, _scoring(settings, model, images.validation))


def _scoring(
    settings: config.Experiment, model: keras.Model, validation: ImageCache | None
) -> Callable[[], Mapping[str, float]]:
    """Computes the task's `scores` on all validation images, in each worker."""
    task = tasks.create(settings.task)
    if validation is None or not task.scores:
        return dict
    predictor = BatchPredictor(task.predictor(model), task)
    pipeline = build.evaluation_pipeline(settings, validation, model.size, (0, 1))
    return lambda: task.score(predictor(pipeline), pipeline)


def _images(
    settings: config.Experiment,
    source: Callable[[], Source] | None,
    caches: selection.SplitCaches | None,
    reporter: Reporter,
    interruption: Interruption,
) -> selection.TrainingData:
    """The images to train and validate on, decoded unless `caches` holds them."""

    def reading(name: str, done: int, total: int) -> None:
        interruption.check("training had not started")
        reporter.reading(name, done, total)

    if caches is None:
        opened = source() if source else selection.open_source(settings)
        selection.check(settings, opened)
        caches = selection.read(settings, reading, source=opened)
    images = selection.choose(settings, caches)
    for note in images.notes:
        reporter.say(note)
    if images.skipped:
        reporter.say(f"skipped {len(images.skipped)} corrupt images, the first is {images.skipped[0]}")
    return images


def _recorded(workdir: Workdir, images: selection.TrainingData, source: str) -> dict[str, Any]:
    """The record that the run wrote when it began.

    Raises:
        UserError: the images have changed since then.
    """
    record = workdir.dataset()
    if not selection.unchanged(images.fingerprint, record["fingerprint"]):
        raise UserError(
            f"the images of {source} have changed since this run began; restore them, or use another --workdir"
        )
    return record
