"""Ctrl-C and SIGTERM, held back until the state is saved."""

import signal
import threading
from types import FrameType
from typing import Self

from tfeff.errors import Interrupted


class Interruption:
    """While active, notes SIGINT and SIGTERM instead of dying of them; a second one acts at once.

    Signals reach a process's main thread alone; in another one this does nothing.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self, state: str) -> None:
        """Raises Interrupted when a signal has come; `state` says for the message what is kept."""
        if self.signal_number is not None:
            raise Interrupted(self.signal_number, state)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        for held, handler in self._before.items():
            signal.signal(held, handler)
