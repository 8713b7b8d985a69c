"""Prepares a run: its images, its network, and the state in which it starts or resumes."""

from collections.abc import Callable
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
from tfeff.training import build, distribution, phases, precision, selection, transfer
from tfeff.training.assembly import AssemblyCache, assemble
from tfeff.training.features import FeatureBatches, FeatureCache
from tfeff.training.freezing import frozen_params
from tfeff.training.interruption import Interruption
from tfeff.training.loop import Pipeline
from tfeff.training.progress import Reporter
from tfeff.training.resumption import restore, resume
from tfeff.training.state import State
from tfeff.training.step import Step
from tfeff.training.stopping import EarlyStopping
from tfeff.training.validation import Scoring
from tfeff.training.workdir import CHOSEN, Workdir


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the loop needs.

    Attributes:
        settings: the experiment, with what `model.transfer=auto` has chosen.
        state: as at the start of training, or restored.
        step: the compiled steps.
        training: the training batches.
        validation: the validation batches, if any.
        scoring: computes the task's `scores` on all validation images, if there are any.
        until: epoch at which the phase, or the call, ends.
    """

    settings: config.Experiment
    state: State
    step: Step
    training: Pipeline
    validation: Batches | FeatureBatches | None
    scoring: Scoring | None
    until: int


def prepare(
    settings: config.Experiment,
    workdir: Workdir,
    strategy: tf.distribute.Strategy,
    *,
    until_epoch: int | None,
    images: Callable[[], selection.TrainingData],
    assemblies: AssemblyCache | None,
    features: FeatureCache,
    reporter: Reporter,
    interruption: Interruption,
) -> Prepared | None:
    """Builds the network, and restores the last checkpoint or loads the initial weights.

    Args:
        settings: the experiment, with `model.family` resolved.
        workdir: claimed for the experiment.
        strategy: of the run.
        until_epoch: see `train`.
        images: returns `training_images`; called after the config has been checked.
        assemblies: see `train`.
        features: see `train`.
        reporter: reports progress.
        interruption: checked while features are computed and precisions are timed.

    Returns:
        None if nothing is left to train.

    Raises:
        UserError: for invalid images or settings.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    unfinished, saved = resume(
        workdir,
        epochs=settings.training.epochs,
        patience=settings.training.early_stopping_epochs,
        until_epoch=until_epoch,
        report=reporter.say,
    )
    if not unfinished:
        return None
    build.check(settings, strategy.num_replicas_in_sync, afresh=saved is None)
    selected = images()
    if saved is None:
        options, notes = build.measured(settings, selected.train.dataset)
        record = selected.record() | {"options": options}
        for note in notes:
            reporter.say(note)
        if settings.model.transfer is not None:
            record |= transfer.choose(settings, selected, features, reporter, interruption)
    else:
        record = _recorded(workdir, selected, settings.data.source)
    settings = config.replaced(settings, record.get(CHOSEN, {}))
    if saved is None:
        policy = precision.select_policy(settings, record, reporter, interruption)
    else:
        policy = saved.record["precision"]
    keras.mixed_precision.set_dtype_policy(policy)

    training = settings.training
    steps_per_epoch = len(selected.train) // training.batch_size
    done = saved.record["step"] // max(steps_per_epoch, 1) if saved is not None else 0
    start, until = phases.span(settings, done, until_epoch)
    phase = phases.at(settings, start)
    assembly = (assemblies.assemble if assemblies else assemble)(phase, record, strategy)
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
    pipeline = build.training_pipeline(settings, selected.train, model.size, worker)
    validation = None
    if selected.validation is not None:
        validation = build.evaluation_pipeline(settings, selected.validation, model.size, worker)
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
        begins = 0 < start * steps_per_epoch == saved.record["step"]
        restore(state, saved, reporter.say, fresh_optimizer=begins)
    height, width = model.size
    reporter.say(
        f"{settings.model.name} at {width}x{height}: {model.count_params():,} parameters, "
        f"{policy}, {len(selected.train):,} training images, {pipeline.steps_per_epoch:,} steps per epoch"
    )
    if settings.optimizer.frozen:
        freed = [pattern for _, pattern in phase.optimizer.unfreezing()]
        reporter.say(f"{frozen_params(model, settings.optimizer.frozen, freed):,} parameters are frozen")
    scoring = _scoring(settings, model, selected.validation)
    if assembly.features is None or training.feature_variants is None:
        return Prepared(settings, state, assembly.step, pipeline, validation, scoring, until)

    frozen = assembly.features

    def stored(batches: Batches, variants: int) -> FeatureBatches:
        return FeatureBatches(batches, frozen, variants, features, reporter)

    validated = None if validation is None else stored(validation, 1)
    trained = stored(pipeline, training.feature_variants)
    return Prepared(settings, state, assembly.step, trained, validated, scoring, until)


def _scoring(settings: config.Experiment, model: keras.Model, validation: ImageCache | None) -> Scoring | None:
    """Computes the task's `scores` on all validation images, in each worker."""
    task = tasks.create(settings.task)
    if validation is None or not task.scores:
        return None
    pipeline = build.evaluation_pipeline(settings, validation, model.size, (0, 1))
    predictor = BatchPredictor(model, task)
    return lambda predicted: task.score(predictor(pipeline) if predicted is None else predicted, pipeline)


def training_images(
    settings: config.Experiment,
    caches: selection.SplitCaches | None,
    source: Callable[[], Source] | None,
    reporter: Reporter,
    interruption: Interruption,
) -> selection.TrainingData:
    """The images to train and validate on; says what the user should know about them.

    Args:
        settings: the experiment.
        caches: see `train`.
        source: see `train`.
        reporter: reports progress.
        interruption: checked while images are read.
    """

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
