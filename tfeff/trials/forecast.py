"""Forecasts the jobs that an allocation will still plan and the time they take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfeff import config
from tfeff.execution.executor import Executor, collect
from tfeff.trials import worker
from tfeff.trials.allocation import Allocation
from tfeff.trials.results import Block, Job, Results, is_finite
from tfeff.trials.trial import Candidate, on_fold

ASSUMED_VALUE, ASSUMED_DEVIATION = 0.5, 0.02
"""Mean and standard deviation assumed for unknown results. They must differ a little, or no candidate would be
eliminated."""
VALIDATION_SHARE = 1 / 3
"""Cost of validating an image, a forward pass, relative to training on it."""


def remaining_jobs(
    allocation: Allocation, candidates: Sequence[str], blocks: Sequence[Block], results: Results
) -> list[Job]:
    """The jobs left to run, assuming that each missing result resembles the candidate's known ones.

    `Halving` fixes their number but not their candidates; `Racing` leaves both open.
    """
    assumed = dict(results)
    means: dict[str, list[float]] = {}
    for job, value in results.items():
        if is_finite(value) and job.candidate in candidates:
            means.setdefault(job.candidate, []).append(value)
    overall = float(np.mean([np.mean(values) for values in means.values()])) if means else ASSUMED_VALUE
    noise = np.random.default_rng(0)  # the same results give the same forecast
    jobs: list[Job] = []
    while not (plan := allocation.plan(candidates, blocks, assumed)).done:
        jobs += plan.jobs
        for job in plan.jobs:
            assumed[job] = float(np.mean(means.get(job.candidate, [overall]))) + noise.normal(0.0, ASSUMED_DEVIATION)
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

    def seconds(self, macs: int, images: float) -> float:
        """Seconds that one process takes to train on `images` images in total."""
        return self.start + images * (self.per_image + self.per_mac * macs)


def measured_rate(candidates: Sequence[Candidate], folds: config.Folds, executor: Executor) -> Rate:
    """Times some training steps of some candidates.

    As many run at once as there are processes, because processes slow each other down.

    Args:
        candidates: a few that differ in speed.
        folds: how the training split is divided.
        executor: runs the trainings.
    """
    count = max(len(candidates), executor.slots)
    timed = [candidates[index % len(candidates)] for index in range(count)]
    calls = {
        f"calibration {number} ({each.label})": (worker.calibrate, on_fold(each.experiment, folds, fold=0, seed=0))
        for number, each in enumerate(timed, 1)
    }
    values = collect(executor, calls)
    return Rate.fit(
        [(each.macs, values[name]["start"], values[name]["image"]) for name, each in zip(calls, timed, strict=True)]
    )


def core_seconds(
    rate: Rate,
    allocation: Allocation,
    macs: Mapping[str, int],
    blocks: Sequence[Block],
    images: tuple[int, int],
    validation_epochs: int,
) -> float:
    """Total seconds of all trials, each on one process.

    Args:
        rate: training time on this machine.
        allocation: plans the trials.
        macs: candidate -> multiply-adds.
        blocks: (fold, seed) pairs.
        images: number of training and of validation images per epoch.
        validation_epochs: epochs between two validations.
    """
    total = 0.0
    for job in remaining_jobs(allocation, list(macs), blocks, {}):
        validations = -(-job.epochs // validation_epochs)
        count = job.epochs * images[0] + validations * images[1] * VALIDATION_SHARE
        total += rate.seconds(macs[job.candidate], count)
    return total
