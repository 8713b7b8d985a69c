"""The jobs that an allocation will still plan, the time they take, and the progress of an experiment.

Progress is a live line on a terminal, otherwise a line every 30 seconds.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import Progress as Bars

from tfeff import config
from tfeff.execution.executor import Executor, collect
from tfeff.reporting.terminal import column, say_on
from tfeff.trials import worker
from tfeff.trials.allocation import Allocation, JobPlan, Lengths, Listed
from tfeff.trials.intervals import interval, number, summaries
from tfeff.trials.results import Block, Job, Results, is_finite, mean_over_seeds
from tfeff.trials.trial import Candidate, Trial

ASSUMED_VALUE, ASSUMED_DEVIATION = 0.5, 0.02
"""Mean and standard deviation assumed for unknown results. They must differ a little, or no candidate would be
eliminated."""
VALIDATION_SHARE = 1 / 3
"""Cost of validating an image, a forward pass, relative to training on it."""


def remaining_jobs(
    allocation: Allocation, candidates: Sequence[str], blocks: Sequence[Block], results: Results
) -> list[Job]:
    """Returns the jobs left to run, assuming that each missing result resembles the candidate's known ones.

    `Halving` fixes their number but not their candidates.
    """
    assumed, known = dict(results), dict[str, list[float]]()
    named = set(candidates)
    for job, value in results.items():
        if is_finite(value) and job.candidate in named:
            known.setdefault(job.candidate, []).append(value)
    means = {name: statistics.fmean(values) for name, values in known.items()}
    overall = statistics.fmean(means.values()) if means else ASSUMED_VALUE
    noise = np.random.default_rng(0)  # the same results give the same forecast
    jobs: list[Job] = []
    while not (plan := allocation.plan(candidates, blocks, assumed)).done:
        jobs += plan.jobs
        for job in plan.jobs:
            assumed[job] = means.get(job.candidate, overall) + noise.normal(0.0, ASSUMED_DEVIATION)
    return jobs


@dataclass(frozen=True)
class Rate:
    """Training time on this machine: seconds = start + images · (per_image + per_mac · macs).

    Attributes:
        start: seconds until the first step is done.
        per_image: seconds per image, independent of the network.
        per_mac: seconds per image and multiply-add of the forward pass.
    """

    start: float
    per_image: float
    per_mac: float

    @classmethod
    def fit(cls, timings: Sequence[tuple[int, float, float]]) -> "Rate":
        """Fits non-negative terms to (macs, seconds to start, seconds per image) of some networks."""
        macs, starts, seconds = (np.array(column, np.float64) for column in zip(*timings, strict=True))
        slope = max(0.0, float(np.polyfit(macs, seconds, 1)[0])) if len(set(macs)) > 1 else 0.0
        level = float(np.mean(seconds - slope * macs))
        if level < 0:
            level, slope = 0.0, float(seconds @ macs / (macs @ macs))
        return cls(float(starts.mean()), level, slope)

    def __str__(self) -> str:
        return (
            f"{self.start:.1f} s to start a trial of a new network, then {1e6 * self.per_image:.0f} µs per image and "
            f"{1e12 * self.per_mac:.0f} ps per multiply-add"
        )

    def seconds(self, macs: int, images: float) -> float:
        """Returns seconds that one process takes to train on `images` images in total."""
        return self.start + images * (self.per_image + self.per_mac * macs)


def measured_rate(
    candidates: Sequence[Candidate],
    folds: config.Folds,
    executor: Executor,
    divisor: Callable[[Candidate], float] = lambda candidate: 1.0,
    check: Callable[[], None] = lambda: None,
) -> Rate:
    """Times some training steps of some candidates.

    As many run at once as there are processes, because processes slow each other down.

    Args:
        divisor: what the seconds per image of a candidate are divided by.
        check: called now and then; may raise.
    """
    count = max(len(candidates), executor.slots)
    timed = [candidates[index % len(candidates)] for index in range(count)]
    calls = {
        f"calibration {number} ({each.label})": (
            worker.calibrate,
            Trial(each.experiment).on_fold(folds, fold=0, seed=0),
        )
        for number, each in enumerate(timed, 1)
    }
    values = collect(executor, calls, check)
    return Rate.fit(
        [
            (each.macs, values[name]["start"], values[name]["image"] / divisor(each))
            for name, each in zip(calls, timed, strict=True)
        ]
    )


def core_seconds(
    rate: Rate,
    allocation: Allocation,
    macs: Mapping[str, int],
    blocks: Sequence[Block],
    images: tuple[int, int],
    validation_epochs: int,
) -> float:
    """Returns the total seconds of all trials, each on one process.

    Args:
        images: number of training and of validation images per epoch.
        validation_epochs: epochs between two validations.
    """
    total = 0.0
    for job in remaining_jobs(allocation, list(macs), blocks, {}):
        validations = -(-job.epochs // validation_epochs)
        count = job.epochs * images[0] + validations * images[1] * VALIDATION_SHARE
        total += rate.seconds(macs[job.candidate], count)
    return total


def duration(seconds: float, processes: int) -> str:
    """Returns a duration in words, from the seconds of all trials."""
    elapsed = timedelta(seconds=round(seconds / processes))
    return f"{seconds / 3600:.2f} core-hours, {elapsed} with {processes} processes"


LINE_SECONDS = 30.0
"""Seconds between lines when the output is not a terminal."""
FORECAST_SHARE = 0.02
"""Share of the time that forecasts may take. One takes longer the more trials there are, so there are fewer of them."""


class TrialProgress:
    """Display of finished, running and remaining trials, the time left, and the best candidate with its interval.

    The time left is proportional to the multiply-adds of the remaining trainings, at the mean speed of the finished
    trials.

    Args:
        bounded: whether results are of a metric in [0, 1].
    """

    def __init__(self, console: Console, *, bounded: bool = False) -> None:
        self.console, self._bounded = console, bounded
        self._bars: Bars | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the live line on a terminal while the context is active."""
        if not self.console.is_terminal:
            yield
            return
        with Bars(column("description"), BarColumn(), column("fields[note]"), console=self.console) as self._bars:
            yield
        self._bars = None

    def say(self, text: str) -> None:
        """Prints a line."""
        say_on(self.console, text)

    def begin(
        self,
        stage: str,
        candidates: Mapping[str, Candidate],
        blocks: Sequence[Block],
        allocation: Allocation,
        processes: int,
        results: Results,
    ) -> None:
        """Starts or resumes a stage.

        Args:
            results: results so far, also of other stages and of other allocations.
        """
        self._stage, self._candidates = stage, candidates
        self._blocks, self._allocation = blocks, allocation
        self._processes = processes
        self._printed, self._due = time.monotonic(), -math.inf
        self._counted, self._total, self._best = (-1, -1.0), 0, ""
        self._end: float | None = None
        self._listed = set(allocation.trainings) if isinstance(allocation, Listed) else None
        self._done = dict[Job, float | None]()
        for job, value in results.items():
            self.finish(job, value)
        if self._bars is not None:
            self._task = self._bars.add_task(stage, total=1, note="")

    def finish(self, job: Job, value: float | None) -> None:
        """Counts a result, if it belongs to the current stage."""
        planned = self._listed is None or (job.candidate, job.block) in self._listed
        known = job.candidate in self._candidates and job.block in self._blocks
        if planned and known and job.epochs in self._allocation.rungs:
            self._done[job] = value

    def show(
        self,
        plan: JobPlan,
        running: int,
        seconds: Mapping[Job, float],
        rate_trainings: Callable[[], Mapping[str, float]],
    ) -> None:
        """Updates the state of the current stage.

        Args:
            rate_trainings: candidate without a learning rate -> number of complete trainings that finding it takes.
        """
        began = time.monotonic()
        if self._bars is None and not plan.done and began - self._printed <= LINE_SECONDS:
            return
        if plan.done or began >= self._due:
            self._forecast(plan, seconds, rate_trainings())
            now = time.monotonic()
            self._due = now + (now - began) / FORECAST_SHARE
        done = len(self._done)
        self._total = max(self._total, done)
        note = f"{done}/{self._total} trials, {running} running{self._time_left()}{self._best}"
        if self._bars is not None:
            room = max(1, self.console.width - cell_len(self._stage) - len("  "))
            if cell_len(note) > room:
                note = f"{set_cell_size(note, room - 1)}…"
            self._bars.update(self._task, completed=done, total=self._total, note=note)
        else:
            self._printed = time.monotonic()
            self.say(f"{self._stage}: {note}")

    def _forecast(self, plan: JobPlan, seconds: Mapping[Job, float], rate_trainings: Mapping[str, float]) -> None:
        """Estimates the number of trials and the end of the stage, and finds the best candidate, after new results."""
        counted = len(self._done), sum(rate_trainings.values())
        if counted == self._counted:
            return
        self._counted = counted
        remaining = remaining_jobs(self._allocation, list(self._candidates), self._blocks, self._done)
        self._end = self._estimated_end(remaining, seconds, rate_trainings)
        self._total = len(self._done) + len(remaining)
        self._best = self._leader(self._done, plan)

    def _estimated_end(
        self, remaining: Sequence[Job], seconds: Mapping[Job, float], rate_trainings: Mapping[str, float]
    ) -> float | None:
        """Estimates when the stage will end, as `time.monotonic`; None if no trial has finished."""
        timed = {job: spent for job, spent in seconds.items() if job.candidate in self._candidates}
        if not timed:
            return None
        work = self._work(remaining)
        for name, trainings in rate_trainings.items():
            candidate = self._candidates[name]
            work += trainings * candidate.macs * candidate.experiment.training.epochs
        return time.monotonic() + work * sum(timed.values()) / self._work(timed) / self._processes

    def _work(self, jobs: Iterable[Job]) -> float:
        """Returns the multiply-adds times the epochs."""
        return float(sum(self._candidates[job.candidate].macs * job.epochs for job in jobs))

    def _leader(self, done: Results, plan: JobPlan) -> str:
        known = {job: v for job, v in done.items() if is_finite(v) and job.candidate not in plan.eliminated}
        if not known:
            return ""
        latest: dict[str, dict[Block, float]] = {}
        last = max(job.epochs for job in known)
        for job, value in known.items():
            if isinstance(self._allocation, Lengths) or job.epochs == last:
                latest.setdefault(job.candidate, {})[job.block] = value
        rows = {name: mean_over_seeds(values) for name, values in latest.items()}
        estimates = summaries(rows, bounded=self._bounded)
        most = max(estimate.n for estimate in estimates.values())
        best = max((name for name in estimates if estimates[name].n == most), key=lambda name: estimates[name].mean)
        epochs = max(job.epochs for job in known if job.candidate == best)
        estimate = f"{number(estimates[best].mean)}{interval(estimates[best])}"
        return f", best so far {self._candidates[best].label}: {estimate} after {epochs} epochs"

    def _time_left(self) -> str:
        if self._end is None:
            return ""
        return f", {timedelta(seconds=max(0, round(self._end - time.monotonic())))} left"
