"""A trace of some training steps for TensorBoard's profiler."""

from pathlib import Path

import tensorflow as tf

FIRST, COUNT = 10, 10
"""Steps of this process: the first ones trace and warm up, and would hide what comes after."""


class Profiler:
    """Traces steps FIRST to FIRST + COUNT of this process.

    Args:
        directory: of the event files.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._steps = 0
        self._running = False

    @property
    def traced(self) -> bool:
        """Whether there is a trace, or will be."""
        return self._steps > FIRST

    def step(self) -> None:
        """Called before each step."""
        if self._steps == FIRST:
            tf.profiler.experimental.start(str(self._directory))
            self._running = True
        elif self._steps == FIRST + COUNT:
            self.close()
        self._steps += 1

    def close(self) -> None:
        """Ends the trace and writes it, if one is running."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
