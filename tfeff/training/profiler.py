"""Profiles a few training steps for TensorBoard."""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfeff.tasks.task import Batch
from tfeff.training.loop import Hook, Loop

FIRST, COUNT = 10, 10
"""First step to profile, counted in this process, and number of steps. Earlier steps include graph tracing and
warm-up."""


class Profiler(Hook):
    """Profiles steps FIRST to FIRST + COUNT of this process.

    Args:
        directory: directory of the event files.
        report: called with a message if training ends before there is a profile.
    """

    def __init__(self, directory: Path, report: Callable[[str], None]):
        self._directory, self._report = directory, report
        self._steps = 0
        self._running = False

    def step(self, loop: Loop, batch: Batch) -> None:
        """Starts or stops profiling."""
        if self._steps == FIRST:
            tf.profiler.experimental.start(str(self._directory))
            self._running = True
        elif self._steps == FIRST + COUNT:
            self._stop()
        self._steps += 1

    def close(self, loop: Loop) -> None:
        """Stops profiling and writes the trace, if it is running."""
        self._stop()
        if self._steps <= FIRST:
            self._report(f"--profile: no profile, because profiling starts after {FIRST} steps")

    def _stop(self) -> None:
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
