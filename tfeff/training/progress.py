"""Progress of a run: live bars on a terminal; otherwise one line per epoch."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from tfeff.data import contents
from tfeff.data.contents import Contents
from tfeff.errors import printable
from tfeff.reporting.tables import GAP, UNDEFINED, in_words
from tfeff.reporting.terminal import WHOLE, column, say_on
from tfeff.training.loop import Hook, Loop, Row

MIN_COLUMN_WIDTH = 7
"""Characters, in the table of epochs."""
NAME_SHARE = 0.2
"""Share of the terminal's width for the name of a dataset beside a bar; of longer ones, the end is shown."""
BAR_WIDTH = 20
"""Characters; bars are narrower if the terminal is."""


class Reporter:
    """Reporter of progress on the console.

    Args:
        console: the console to write to; if it is not a terminal, bars become plain lines.
        quiet: write nothing (for all workers but the first).
    """

    def __init__(self, console: Console | None = None, quiet: bool = False):
        self.console = console or Console(quiet=quiet)
        self._bar: Bars | None = None
        self._reading: dict[str, Any] = {}
        self._last_line = time.monotonic()
        self._notes, self._found = set[str](), list[Contents]()

    @contextmanager
    def bars(self) -> Iterator[None]:
        """Shows progress bars while active, if the console is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        columns = (
            column("description"),
            BarColumn(BAR_WIDTH),
            MofNCompleteColumn(table_column=WHOLE),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=WHOLE),
            column("fields[note]"),
        )
        try:
            with Bars(*columns, console=self.console) as self._bar:
                yield
        finally:
            self._bar, self._reading = None, {}

    def say(self, text: str) -> None:
        """Writes a line, above the bars."""
        say_on(self.console, text)

    def note(self, text: str) -> None:
        """Writes a line on the images, unless it has been written."""
        if text not in self._notes:
            self._notes.add(text)
            self.say(text)

    def found(self, found: Mapping[str, Contents]) -> None:
        """Writes what splits hold, by role, and what is wrong in them, unless that has been written."""
        unsaid = {role: each for role, each in found.items() if each not in self._found}
        self._found += unsaid.values()
        if unsaid:
            self.say(contents.text(unsaid))

    def reading(self, name: str, done: int, total: int) -> None:
        """Updates the bar for reading images."""
        if self._bar is None and done == total and name not in self._reading:
            self._reading[name] = None
            self.say(f"read {total:,} images of {name}")
        length = int(NAME_SHARE * self.console.width)
        short = name if len(name) <= length else f"…{name[1 - length :]}"
        self._update(name, f"reading {short}", done, total)

    def fitting(self, name: str, done: int, total: int) -> None:
        """Updates the bar for fitting weights; off a terminal, shows nothing."""
        self._update(name, f"fitting {name}", done, total)

    def _update(self, name: str, title: str, done: int, total: int) -> None:
        if self._bar is not None:
            if name not in self._reading:
                self._reading[name] = self._bar.add_task(printable(title), total=total, note="")
            self._bar.update(self._reading[name], completed=done)

    @contextmanager
    def computing(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Shows a bar for computing something of `total` images, such as "features", while active.

        Yields:
            A function to call with the number of images that were added.
        """
        if self._bar is None:
            done, began = 0, time.monotonic()
            self._last_line = began

            def advance(count: int) -> None:
                nonlocal done
                done += count
                if done < total and time.monotonic() - self._last_line > 60:
                    self._last_line = time.monotonic()
                    left = _duration((self._last_line - began) / done * (total - done))
                    self.say(f"  computing {what}: {done:,} of {total:,} images, {left} left")

            yield advance
            return
        task, bars = self._bar.add_task(f"computing {what}", total=total, note=""), self._bar
        try:
            yield lambda count: bars.advance(task, count)
        finally:
            bars.remove_task(task)

    def start(self, total_steps: int, step: int, *, validated: Sequence[str] = (), every: int = 1) -> None:
        """Starts the training bar at `step`.

        Args:
            total_steps: steps of the whole run.
            validated: names of the validation metrics to come.
            every: epochs between them.
        """
        self._total, self._first, self._began = total_steps, step, time.monotonic()
        self._validated, self._every = validated, every
        self._has_header = False
        if self._bar is not None:
            self._training = self._bar.add_task("training", total=total_steps, completed=step, note="compiling")

    def advance(self, step: int, images_per_second: float, loss: float) -> None:
        """Updates the training bar."""
        note = f"{images_per_second:,.0f} images/s, loss {loss:.4f}"
        if self._bar is not None:
            self._bar.update(self._training, completed=step, note=note)
        elif time.monotonic() - self._last_line > 60:
            self._last_line = time.monotonic()
            self.say(f"  step {step:,} of {self._total:,}, {note}, {self._remaining(step)} left")

    def epoch(self, row: dict[str, Any], epochs: int) -> None:
        """Writes the metrics of an epoch as a row of a table, with a header before the first row.

        The parts of the loss are left out, and on a terminal the columns for which there is no room; metrics.jsonl and
        TensorBoard have all.
        """
        self._last_line = time.monotonic()
        names = [key.removeprefix("train_") for key in row if key.startswith("train_")]
        trained, validated = (
            [name for name in each if not name.endswith("_loss")] for each in (names, self._validated)
        )
        cells = {"epoch": f"{row['epoch']}/{epochs}"}
        cells |= {in_words(name): f"{row[f'train_{name}']:.4f}" for name in trained}
        for name in validated:
            value = row.get(f"validation_{name}")
            cells[f"val. {in_words(name)}"] = UNDEFINED if value is None else f"{value:.4f}"
        cells |= {"images/s": f"{row['images_per_second']:,.0f}", "left": self._remaining(row["step"])}
        first = ("epoch", "loss", "left", *(f"val. {in_words(name)}" for name in validated), "images/s")
        shown = self._fitting(cells, (*first, *(in_words(name) for name in trained)))
        widths = [_width(name) for name in shown]
        if not self._has_header:
            if self._validated and self._every > 1:
                self.say(f"validated every {self._every} epochs, and after the last one")
            self.say(GAP.join(f"{name:>{width}}" for name, width in zip(shown, widths, strict=True)))
            self._has_header = True
        self.say(GAP.join(f"{cells[name]:>{width}}" for name, width in zip(shown, widths, strict=True)))

    def _fitting(self, names: Iterable[str], by_priority: Iterable[str]) -> list[str]:
        """Returns the columns for which a terminal has room; all if the console is not a terminal."""
        kept, room = set[str](), self.console.width + len(GAP) if self.console.is_terminal else math.inf
        for name in dict.fromkeys(by_priority):
            if (needed := _width(name) + len(GAP)) <= room:
                kept.add(name)
                room -= needed
        return [name for name in names if name in kept]

    def _remaining(self, step: int) -> str:
        return _duration((time.monotonic() - self._began) / max(1, step - self._first) * (self._total - step))


def _width(name: str) -> int:
    """Returns the width of a column of the table of epochs, in characters."""
    return max(len(name), MIN_COLUMN_WIDTH)


def _duration(seconds: float) -> str:
    """Formats hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


class Progress(Hook):
    """Hook that shows the progress of a run.

    Args:
        reporter: where.
        every: epochs between validations; None: there is no validation.
    """

    def __init__(self, reporter: Reporter, *, every: int | None) -> None:
        self._reporter, self._every = reporter, every

    def start(self, loop: Loop) -> None:
        """Starts the training bar."""
        total, task = loop.until * loop.pipeline.steps_per_epoch, loop.step.task
        names = *task.means(task.zero_sums()), *(name for name in task.scores if name not in task.tuned)
        validated = () if self._every is None else names
        self._reporter.start(total, loop.state.step, validated=validated, every=self._every or 1)

    def log(self, loop: Loop, loss: float, images_per_second: float) -> None:
        """Updates the training bar."""
        self._reporter.advance(loop.state.step, images_per_second, loss)

    def epoch(self, loop: Loop, row: Row) -> None:
        """Writes the metrics."""
        self._reporter.epoch(row, loop.epochs)
