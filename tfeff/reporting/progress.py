"""Progress of long tasks: a live bar on a terminal, occasional lines in logs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from tfeff.errors import printable
from tfeff.reporting.tables import shortened
from tfeff.reporting.terminal import WHOLE, column, say_on

TITLE_SHARE = 0.4
"""Largest share of the terminal's width for the title of a bar."""
LINE_SECONDS = 30.0
"""Time between lines if the output is not a terminal."""


@contextmanager
def counting(title: str, unit: str, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number of items done, of unknown total; it shows nothing unless `shown`."""
    if not shown:
        yield lambda done: None
        return
    with Bar(title, None, unit) as bar:
        yield bar.show


class Bar:
    """Progress of a task, with its speed and the remaining time.

    Args:
        total: number of items, or an estimate; None if unknown.
        unit: plural name of the items.
        console: where to write; default: standard error.
    """

    def __init__(self, title: str, total: int | None, unit: str, console: Console | None = None) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        self._began = self._last = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                column("description"),
                BarColumn(),
                MofNCompleteColumn(table_column=WHOLE),
                TimeRemainingColumn(table_column=WHOLE),
                column("fields[speed]"),
                console=self._console,
            )
            self._bar.start()
            title = shortened(printable(self._title), int(TITLE_SHARE * self._console.width))
            self._task = self._bar.add_task(title, total=self._total, speed="")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, processed: int | None = None) -> None:
        """Shows the number of items done.

        Args:
            done: items done, including those that were skipped or cached.
            processed: items to compute the speed from; default: all.
        """
        now = time.monotonic()
        speed = (done if processed is None else processed) / max(1e-9, now - self._began)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, speed=f"{speed:,.1f} {self._unit}/s")
        elif now - self._last > LINE_SECONDS or done == self._total:
            self._last = now
            of, left = "", ""
            if self._total is not None:
                of = f" of {self._total:,}"
                rest = max(0, self._total - done)
                left = f", {timedelta(seconds=round(rest / speed))} left" if speed else ""
            say_on(self._console, f"{self._title}: {done:,}{of} {self._unit}, {speed:,.1f}/s{left}")
