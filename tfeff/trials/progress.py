"""What a search says while it runs: a live line on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from tfeff.scaling import statistics
from tfeff.scaling.allocation import Allocation, Job, Plan, Results
from tfeff.scaling.baseline import ScaledNetwork
from tfeff.scaling.forecast import epochs, to_come
from tfeff.scaling.statistics import Block

LINE_SECONDS = 30.0
"""Between lines where there is no terminal."""


class Progress:
    """Trials done, running and to come, time left, and the best candidate so far with its interval.

    Time left is judged by multiply-adds: those of the trials to come, at the speed of those done since the start.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Bars | None = None
        self._known = -1

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the live line while active, on a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with Bars(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), console=self.console
        ) as self._bars:
            yield
        self._bars = None

    def say(self, text: str) -> None:
        """Writes a line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def begin(
        self,
        stage: str,
        networks: Mapping[str, ScaledNetwork],
        candidates: Sequence[str],
        blocks: Sequence[Block],
        allocation: Allocation,
        results: Results,
    ) -> None:
        """A stage of the search starts, or goes on; `results` is what is known by now."""
        self._stage, self._networks, self._candidates = stage, networks, candidates
        self._blocks, self._allocation = blocks, allocation
        self._before = dict(results)
        self._began = self._said = time.monotonic()
        self._known = -1
        if self._bars is not None:
            self._task = self._bars.add_task(stage, total=1, note="")

    def show(self, plan: Plan, results: Results, running: int) -> None:
        """The state of the present stage."""
        mine = {job: value for job, value in results.items() if job.candidate in self._candidates}
        if len(mine) != self._known:
            self._known = len(mine)
            coming = to_come(self._allocation, self._candidates, self._blocks, mine)
            self._left = self._seconds(coming, mine)
            self._total = len(mine) + len(coming)
            self._best = self._leader(mine, plan)
        note = f"{len(mine)}/{self._total} trials, {running} running{self._best}{self._time()}"
        if self._bars is not None:
            self._bars.update(self._task, completed=len(mine), total=self._total, note=note)
        elif plan.done or time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self.say(f"{self._stage}: {note}")

    def _seconds(self, coming: Sequence[Job], mine: Results) -> float | None:
        new = [job for job in mine if job not in self._before]
        spent = self._work(new, self._before)
        if not spent:
            return None
        return self._work(coming, mine) / spent * (time.monotonic() - self._began)

    def _work(self, jobs: Sequence[Job], done: Results) -> float:
        total, behind = 0.0, dict(done)
        for job in sorted(jobs, key=lambda job: job.epochs):
            total += self._networks[job.candidate].cost.macs * epochs(job, behind)
            behind[job] = None
        return total

    def _leader(self, mine: Results, plan: Plan) -> str:
        last: dict[str, dict[Block, float]] = {}
        furthest = max((job.epochs for job in mine), default=0)
        for job, value in mine.items():
            if value is not None and job.epochs == furthest and job.candidate not in plan.left:
                last.setdefault(job.candidate, {})[job.block] = value
        if not last:
            return ""
        summaries = {name: statistics.summary(values.values()) for name, values in last.items()}
        most = max(of.n for of in summaries.values())
        best = max((name for name, of in summaries.items() if of.n == most), key=lambda name: summaries[name].mean)
        of = summaries[best]
        interval = "" if of.low is None else f" (95 % {of.low:.3f} to {of.high:.3f})"
        return f", best so far {self._networks[best].label}: {of.mean:.3f}{interval} after {furthest} epochs"

    def _time(self) -> str:
        return "" if self._left is None else f", {timedelta(seconds=round(self._left))} left"
