"""Where a run resumes, and whether anything is left to do."""

from collections.abc import Callable, Mapping
from typing import Any

from tfeff.training import checkpoint
from tfeff.training.checkpoint import Saved
from tfeff.training.state import State
from tfeff.training.stopping import EarlyStopping
from tfeff.training.workdir import Workdir


def resume(
    workdir: Workdir,
    *,
    epochs: int,
    patience: int | None,
    until_epoch: int | None,
    report: Callable[[str], None],
) -> tuple[bool, Saved | None]:
    """Returns whether training must continue, and the checkpoint to resume from (None: from the beginning).

    Args:
        workdir: the run's workdir.
        epochs: number of epochs of the whole run.
        patience: `training.early_stopping_epochs`.
        until_epoch: epoch at which the current call ends; None: the last one.
        report: called with messages.

    Raises:
        UserError: all checkpoints are damaged.
    """
    finished, saved = workdir.is_finished(), None
    if not finished or max((row["epoch"] for row in workdir.rows()), default=0) < epochs:
        saved = workdir.checkpoints.load_latest(report)
    if finished and (saved is None or _has_stopped_early(saved.record, patience)):
        report(f"{workdir.path}: this run is already finished")
        return False, None
    if finished:
        report(f"{workdir.path}: continuing the finished run to epoch {epochs}")
    if saved is not None and until_epoch is not None:
        # A run that was killed after its last epoch still has to write its final weights.
        ends = until_epoch >= epochs or _has_stopped_early(saved.record, patience)
        if not ends and workdir.epochs(saved.record["step"]) >= until_epoch:
            report(f"{workdir.path}: epoch {until_epoch} is already finished")
            return False, saved
    return True, saved


def can_continue(workdir: Workdir, patience: int | None) -> bool:
    """Returns whether more epochs than before can be trained: the run has a checkpoint and has not stopped early.

    Args:
        workdir: the run's workdir.
        patience: `training.early_stopping_epochs`.
    """
    latest = workdir.checkpoints.latest()
    if latest is None:
        return not workdir.final.is_file()
    try:
        record = checkpoint.load_record(latest)
    except checkpoint.DamagedError:
        return True  # an earlier one may do
    return not _has_stopped_early(record, patience)


def restore(state: State, saved: Saved, report: Callable[[str], None], *, fresh_optimizer: bool = False) -> None:
    """Restores the state of a checkpoint and reports it.

    Args:
        state: the run's state, which is overwritten.
        saved: the checkpoint.
        report: called with a message.
        fresh_optimizer: the optimizer starts again, because other variables are trained from here on.

    Raises:
        UserError: the checkpoint belongs to another network or optimizer.
    """
    state.restore(saved.arrays, saved.record, fresh_optimizer=fresh_optimizer)
    if fresh_optimizer:
        report(f"training more layers from step {state.step:,} on ({saved.path})")
    else:
        report(f"resuming from step {state.step:,} ({saved.path})")


def _has_stopped_early(record: Mapping[str, Any], patience: int | None) -> bool:
    stopping = EarlyStopping(patience)
    stopping.restore(record["stopping"])
    return stopping.exhausted
