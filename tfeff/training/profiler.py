"""Profiles a few training steps for TensorBoard."""

from pathlib import Path

import tensorflow as tf

FIRST, COUNT = 10, 10
"""First step to profile, counted in this process, and number of steps. Earlier steps include graph tracing and
warm-up."""


class Profiler:
    """Profiles steps FIRST to FIRST + COUNT of this process.

    Args:
        directory: directory of the event files.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._steps = 0
        self._running = False

    @property
    def traced(self) -> bool:
        """Whether profiling has started."""
        return self._steps > FIRST

    def step(self) -> None:
        """Call this before each step."""
        if self._steps == FIRST:
            tf.profiler.experimental.start(str(self._directory))
            self._running = True
        elif self._steps == FIRST + COUNT:
            self.close()
        self._steps += 1

    def close(self) -> None:
        """Stops profiling and writes the trace, if it is running."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
