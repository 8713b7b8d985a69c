"""Training of an experiment's network: what the loop is given, and the order of its hooks."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from tfeff import config, selection
from tfeff.data.sources.source import Source
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.tasks.task import ImageTask
from tfeff.training import distribution, provenance
from tfeff.training.agreement import Agreement, noticing_lost_workers
from tfeff.training.assembly import AssemblyCache
from tfeff.training.interruption import Interruption
from tfeff.training.loop import Hook, Loop
from tfeff.training.plan import Plan
from tfeff.training.preparation import Preparation, Prepared
from tfeff.training.process import as_before
from tfeff.training.profiler import Profiler
from tfeff.training.progress import Progress, Reporter
from tfeff.training.resumption import can_continue
from tfeff.training.saving import Saving
from tfeff.training.stored import FeatureCache
from tfeff.training.swa import WeightAveraging
from tfeff.training.tensorboard import Events
from tfeff.training.tracking.mirror import Tracking
from tfeff.training.tracking.trackers import RECORD
from tfeff.training.validation import Validation
from tfeff.training.workdir import Workdir


def objectives(task: ImageTask) -> tuple[str, ...]:
    """Returns the columns of metrics.jsonl by which trainings of a task can be compared: no settings, and nothing that
    only explains others."""
    names = tuple(task.means(task.zero_sums()))
    scores = [name for name in task.scores if name not in (*task.tuned, *task.unwatched)]
    return (
        *("images_per_second", "seconds", *(f"train_{name}" for name in names)),
        *(f"validation_{name}" for name in (*names, *scores)),
    )


def train(
    settings: config.Experiment,
    directory: str | Path,
    *,
    until_epoch: int | None = None,
    source: Callable[[], Source] | None = None,
    caches: selection.SplitCaches | None = None,
    assemblies: AssemblyCache | None = None,
    features: FeatureCache | None = None,
    reporter: Reporter | None = None,
    tensorboard: bool = True,
    histograms: int = 0,
    profile: bool = False,
    trackers: Sequence[str] = (),
    choices: config.Choices | None = None,
) -> Workdir:
    """Trains the network of an experiment; resumes from the last checkpoint if there is one.

    Args:
        settings: the experiment.
        directory: the workdir; `tfeff.training.workdir` lists its files.
        until_epoch: stop this call after this epoch, which is validated. A later call resumes as if the run had not
            been stopped: schedules, early stopping and the choice of the best epoch refer to the whole run.
        source: opens the experiment's source; a caller that needs it again passes a function that opens it once.
        caches: the experiment's decoded images (`selection.read`), which several runs can share. Default: decode them.
        assemblies: cache of compiled networks for several runs in this process. Default: build a new one.
        features: cache of the features of `training.feature_variants` for several runs in this process.
        reporter: reports progress. Default: on the console, in the first worker only.
        tensorboard: write event files.
        histograms: epochs between histograms of weights and gradients in them, with the graph of the network; 0: none.
        profile: profile a few steps for TensorBoard.
        trackers: copy the metrics to these, see `tfeff.training.tracking.mirror`.
        choices: what a recipe chose for the images, and why; recorded with the command, versions and machine. None:
            nothing is recorded.

    Returns:
        The workdir. When the run is finished (after the last epoch or early stopping), `checkpoints/final.npz` holds
        the weights to evaluate.

    Raises:
        UserError: for invalid images or settings, a workdir of another experiment, or if training diverges.
        ValueError: if the images were read with other settings, or `until_epoch` is below 1.
        Interrupted: after Ctrl-C or SIGTERM; the state is saved.
        WorkerLostError: if another worker of a distributed run is lost.
    """
    settings = config.resolve_member(settings)
    training, workdir, chief = settings.training, Workdir(directory), workers.is_chief()
    strategy = distribution.strategy(training.strategy)
    agreement = Agreement(strategy)
    reporter = reporter or Reporter(quiet=not chief)
    features = features or FeatureCache()
    if histograms and workers.worker_count() > 1:
        raise UserError("--histograms: only a run with one worker writes them; remove it")
    if until_epoch is not None and until_epoch < 1:
        raise ValueError(f"until_epoch is {until_epoch}; epochs count from 1")

    # Raising the epochs would average later weights, which earlier runs did not keep.
    longer = training.swa_epochs is None and can_continue(workdir, training.early_stopping_epochs)
    raised = ("training.epochs",) if longer else ()
    claimed = config.claimed(workdir.path, settings, raised) if chief else nullcontext()
    settings = dataclasses.replace(settings, task=settings.task.located(workdir.path))
    if settings.task.fitted:
        one = dataclasses.replace(training, epochs=1, keep="last", early_stopping_epochs=None)
        schedule = dataclasses.replace(settings.schedule, name="constant", warmup_epochs=0.0)
        training = one
        settings = dataclasses.replace(settings, training=one, schedule=schedule)
    with as_before(deterministic=training.deterministic), claimed, Interruption() as interruption, reporter.bars():
        preparation = Preparation(
            plan=Plan.of(settings, workdir),
            workdir=workdir,
            strategy=strategy,
            until_epoch=until_epoch,
            source=source,
            caches=caches,
            assemblies=assemblies,
            features=features,
            reporter=reporter,
            interruption=interruption,
            agreement=agreement,
        )
        last = min(until_epoch or training.epochs, training.epochs)
        # Phases, if optimizer.unfreeze divides the run.
        while True:
            with noticing_lost_workers():
                prepared = preparation.prepare()
            if prepared is None:
                break
            if chief and choices is not None:
                workdir.add_call(provenance.call(), choices, preparation.images.fingerprint.digest)
                choices = None
            loop = _loop(
                prepared,
                workdir,
                reporter,
                interruption,
                agreement,
                events=tensorboard,
                histograms=histograms,
                profile=profile,
                trackers=trackers,
            )
            loop.run(prepared.until)
            if prepared.state.stopping.exhausted or prepared.until == last:
                break
        if chief and (last == training.epochs or (prepared is not None and prepared.state.stopping.exhausted)):
            workdir.remove_stored_teachers()
    return workdir


def _loop(
    prepared: Prepared,
    workdir: Workdir,
    reporter: Reporter,
    interruption: Interruption,
    agreement: Agreement,
    *,
    events: bool,
    histograms: int,
    profile: bool,
    trackers: Sequence[str],
) -> Loop:
    """Returns the loop of a run, or of one phase of it, with its hooks."""
    settings, chief = prepared.plan.settings, workers.is_chief()
    training, hooks = settings.training, list[Hook]()
    if chief and profile:
        hooks.append(Profiler(workdir.tensorboard, reporter.say))
    if training.swa_epochs is not None:
        hooks.append(WeightAveraging(training.swa_epochs))
    if prepared.validation is not None:
        validation = Validation(
            prepared.validation.evaluation_batches(),
            prepared.scoring,
            batch_size=prepared.validation.batch_size,
            monitor=training.monitor,
            every=training.validation_epochs,
            sampled=settings.task.CUTS_REGIONS,
        )
        hooks.append(validation)
    if chief and events:
        hooks.append(Events(workdir.tensorboard, prepared.state.step, config.flatten(settings), histograms))
    if chief:
        hooks.append(Saving(keep_best=training.keep == "best" or training.early_stopping_epochs is not None))
    if chief and (trackers or (workdir.path / RECORD).is_file()):
        hooks.append(Tracking(trackers))
    hooks.append(Progress(reporter, every=None if prepared.validation is None else training.validation_epochs))
    return Loop(
        state=prepared.state,
        step=prepared.step,
        pipeline=prepared.training,
        hooks=hooks,
        workdir=workdir,
        interruption=interruption,
        agreement=agreement,
        epochs=training.epochs,
        checkpoint_seconds=training.checkpoint_seconds,
        advice=(
            f"Train in a new --workdir with a lower optimizer.learning_rate (now "
            f"{settings.optimizer.learning_rate:g}), warm-up (schedule.warmup_epochs) or gradient clipping "
            "(optimizer.clip_norm)"
        ),
        chief=chief,
    )
