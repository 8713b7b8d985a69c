"""Progress of an experiment: a live line on a terminal, otherwise a line every 30 seconds."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from tfeff.trials.allocation import Allocation, Plan
from tfeff.trials.forecast import remaining_jobs
from tfeff.trials.intervals import summary
from tfeff.trials.results import Block, Job, Results, is_finite, mean_over_seeds
from tfeff.trials.trial import Candidate
from tfeff.trials.wording import interval, number

LINE_SECONDS = 30.0
"""Seconds between lines when the output is not a terminal."""


class Progress:
    """Shows finished, running and remaining trials, the time left, and the best candidate so far with its interval.

    The time left is proportional to the multiply-adds of the remaining trainings, at the mean speed of the finished
    trials.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Bars | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the live line on a terminal while the context is active."""
        if not self.console.is_terminal:
            yield
            return
        with Bars(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), console=self.console
        ) as self._bars:
            yield
        self._bars = None

    def say(self, text: str) -> None:
        """Prints a line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def begin(
        self,
        stage: str,
        candidates: Mapping[str, Candidate],
        blocks: Sequence[Block],
        allocation: Allocation,
        processes: int,
    ) -> None:
        """Starts or resumes a stage.

        Args:
            stage: its name.
            candidates: name -> candidate of this stage.
            blocks: (fold, seed) pairs.
            allocation: plans the jobs.
            processes: number of trials that run at once.
        """
        self._stage, self._candidates = stage, candidates
        self._blocks, self._allocation = blocks, allocation
        self._processes = processes
        self._printed = time.monotonic()
        self._counted = -1, -1.0
        if self._bars is not None:
            self._task = self._bars.add_task(stage, total=1, note="")

    def show(
        self,
        plan: Plan,
        results: Results,
        running: int,
        seconds: Mapping[Job, float],
        rate_trainings: Mapping[str, float],
    ) -> None:
        """Updates the state of the current stage.

        Args:
            plan: of the stage.
            results: results so far, also of other stages and of other allocations.
            running: number of calls that are running.
            seconds: those that each finished trial took.
            rate_trainings: candidate without a learning rate -> number of complete trainings that finding it takes.
        """
        done = {
            job: value
            for job, value in results.items()
            if job.candidate in self._candidates and job.block in self._blocks and job.epochs in self._allocation.rungs
        }
        counted = len(done), sum(rate_trainings.values())
        if counted != self._counted:
            self._counted = counted
            remaining = remaining_jobs(self._allocation, list(self._candidates), self._blocks, done)
            self._end = self._estimated_end(remaining, seconds, rate_trainings)
            self._total = len(done) + len(remaining)
            self._best = self._leader(done, plan)
        note = f"{len(done)}/{self._total} trials, {running} running{self._best}{self._time_left()}"
        if self._bars is not None:
            self._bars.update(self._task, completed=len(done), total=self._total, note=note)
        elif plan.done or time.monotonic() - self._printed > LINE_SECONDS:
            self._printed = time.monotonic()
            self.say(f"{self._stage}: {note}")

    def _estimated_end(
        self, remaining: Sequence[Job], seconds: Mapping[Job, float], rate_trainings: Mapping[str, float]
    ) -> float | None:
        """When the stage will end, as `time.monotonic`; None if no trial has finished."""
        timed = {job: spent for job, spent in seconds.items() if job.candidate in self._candidates}
        if not timed:
            return None
        work = self._work(remaining)
        for name, trainings in rate_trainings.items():
            candidate = self._candidates[name]
            work += trainings * candidate.macs * candidate.experiment.training.epochs
        return time.monotonic() + work * sum(timed.values()) / self._work(timed) / self._processes

    def _work(self, jobs: Iterable[Job]) -> float:
        """Multiply-adds times epochs."""
        return float(sum(self._candidates[job.candidate].macs * job.epochs for job in jobs))

    def _leader(self, done: Results, plan: Plan) -> str:
        known = {job: v for job, v in done.items() if is_finite(v) and job.candidate not in plan.eliminated}
        if not known:
            return ""
        latest: dict[str, dict[Block, float]] = {}
        epochs = max(job.epochs for job in known)
        for job, value in known.items():
            if job.epochs == epochs:
                latest.setdefault(job.candidate, {})[job.block] = value
        summaries = {name: summary(mean_over_seeds(values).values()) for name, values in latest.items()}
        most = max(estimate.n for estimate in summaries.values())
        best = max((name for name in summaries if summaries[name].n == most), key=lambda name: summaries[name].mean)
        estimate = f"{number(summaries[best].mean)}{interval(summaries[best])}"
        return f", best so far {self._candidates[best].label}: {estimate} after {epochs} epochs"

    def _time_left(self) -> str:
        if self._end is None:
            return ""
        return f", {timedelta(seconds=max(0, round(self._end - time.monotonic())))} left"
