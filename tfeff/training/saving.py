"""The files from which a run resumes, and its final weights."""

import copy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from tfeff.checked import warn
from tfeff.training import checkpoint
from tfeff.training.loop import TIMES, Hook, Loop, Row
from tfeff.training.workdir import TRAINED_STEPS


class Saving(Hook):
    """Hook that writes metrics, checkpoints, the best and the final weights to the workdir. Only for the first worker.

    Hooks that change the state or the row of an epoch must come before it.

    Checkpoints are written in the background, in order. An error while one is written ends the run at the next one, or
    when the call ends.

    Args:
        keep_best: the final weights are those of the best epoch, not of the last one.
    """

    def __init__(self, *, keep_best: bool) -> None:
        self._keep_best = keep_best
        self._writer = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def start(self, loop: Loop) -> None:
        """Drops the metrics of epochs after the checkpoint from which the run resumes."""
        rows = loop.workdir.rewind(loop.state.step - loop.state.pending)  # of a pending epoch, the row is still to come
        kept = rows[-1]["epoch"] if rows else 0
        done = loop.state.step // loop.pipeline.steps_per_epoch - loop.state.pending
        if kept < done:
            warn(f"{loop.workdir.path / 'metrics.jsonl'}: the metrics of epochs {kept + 1} to {done} are lost")

    def save(self, loop: Loop) -> None:
        """Writes a checkpoint.

        Raises:
            UserError: a variable is not finite. The last update can make weights infinite although its loss, computed
                before the update, is finite.
            OSError: the previous checkpoint could not be written.
        """
        arrays, step = loop.state.arrays(), loop.state.step
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise loop.divergence(f"{name} is not finite")
        record = copy.deepcopy(loop.state.record())
        self._write(loop, lambda: loop.workdir.checkpoints.save(step, arrays, record))

    def best(self, loop: Loop, row: Row) -> None:
        """Keeps the weights, with their metrics."""
        if self._keep_best:
            weights, record = loop.state.weights(), _without_times(row)
            self._write(loop, lambda: loop.workdir.checkpoints.save_best(weights, record))

    def _write(self, loop: Loop, write: Callable[[], None]) -> None:
        """Calls a function in the background, once what came before has been written."""
        self.settle(loop)
        self._pending = self._writer.submit(write)

    def settle(self, loop: Loop) -> None:
        """Waits until everything has been written.

        Raises:
            OSError: it could not be.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def epoch(self, loop: Loop, row: Row) -> None:
        """Appends the metrics and writes a checkpoint."""
        loop.workdir.append_row(row)
        self.save(loop)

    def finish(self, loop: Loop) -> None:
        """Writes the weights to evaluate; removes the exports and the result of earlier ones."""
        self.settle(loop)
        workdir, state = loop.workdir, loop.state
        if self._keep_best:
            arrays, record = checkpoint.load(workdir.checkpoints.best)
        else:
            epoch = state.step // loop.pipeline.steps_per_epoch
            row = next((row for row in workdir.rows() if row["epoch"] == epoch), {"epoch": epoch})
            arrays, record = state.weights(), _without_times(row)
        workdir.remove_results()  # before, so that a kill leaves no export beside other weights
        checkpoint.save(workdir.final, arrays, record | {TRAINED_STEPS: state.step})

    def close(self, loop: Loop) -> None:
        """Waits for the last checkpoint.

        Raises:
            OSError: it could not be written.
        """
        try:
            self.settle(loop)
        finally:
            self._writer.shutdown()


def _without_times(row: Row) -> Row:
    """Returns the metrics of an epoch that equal runs have in common."""
    return {key: value for key, value in row.items() if key not in TIMES}
