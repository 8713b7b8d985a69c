"""Ctrl-C and SIGTERM, delayed until the state is saved."""

import signal
import threading
from types import FrameType
from typing import Self

from tfeff.errors import Interrupted


class Interruption:
    """Context manager that records SIGINT and SIGTERM; a second signal takes effect immediately.

    Python handles signals only in the main thread; in other threads this does nothing.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._before = {number: signal.signal(number, self._record) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self, state: str) -> None:
        """Raises Interrupted if a signal was received; `state` describes for the message what is saved."""
        if self.signal_number is not None:
            raise Interrupted(self.signal_number, state)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        for other, handler in self._before.items():
            signal.signal(other, handler)
