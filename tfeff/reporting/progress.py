"""How far a long piece of work is: a live bar on a terminal, a line now and then elsewhere."""

import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 30.0
"""Between lines where there is no terminal."""


class Bar:
    """Progress of n things, with their number a second and the time left.

    Args:
        title: what is done.
        total: n.
        unit: what the things are.
        console: where to write; standard error if not given.
    """

    def __init__(self, title: str, total: int, unit: str, console: Console | None = None) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        self._began = self._said = time.monotonic()
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[speed]}"), console=self._console)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, speed="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, worked: int | None = None) -> None:
        """So many are done, of which so many (all, if not given) took work: the speed is theirs."""
        now = time.monotonic()
        speed = (done if worked is None else worked) / max(1e-9, now - self._began)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, speed=f"{speed:,.1f} {self._unit}/s")
        elif now - self._said > LINE_SECONDS or done == self._total:
            self._said = now
            left = f", {timedelta(seconds=round((self._total - done) / speed))} left" if speed else ""
            self._console.print(
                f"{self._title}: {done:,} of {self._total:,} {self._unit}, {speed:,.1f} a second{left}",
                highlight=False,
                soft_wrap=True,
            )
