"""What an allocation will still ask for, and how long that takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfeff.scaling.allocation import Allocation, Job, Results
from tfeff.scaling.statistics import Block

UNKNOWN_VALUE, UNKNOWN_DEVIATION = 0.5, 0.02
"""Of results that are guessed; candidates must differ a little, or none would leave."""


def to_come(allocation: Allocation, candidates: Sequence[str], blocks: Sequence[Block], results: Results) -> list[Job]:
    """The jobs that are left to do, if what is not known yet turns out like what is.

    Under `halving` their number is certain, though not whose they are; under `racing` both depend on the outcome.
    """
    known = dict(results)
    means: dict[str, list[float]] = {}
    for job, value in results.items():
        if value is not None and job.candidate in candidates:
            means.setdefault(job.candidate, []).append(value)
    overall = float(np.mean([np.mean(values) for values in means.values()])) if means else UNKNOWN_VALUE
    noise = np.random.default_rng(0)  # the same forecast for the same results
    jobs: list[Job] = []
    while not (plan := allocation.plan(candidates, blocks, known)).done:
        jobs += plan.jobs
        for job in plan.jobs:
            known[job] = float(np.mean(means.get(job.candidate, [overall]))) + noise.normal(0.0, UNKNOWN_DEVIATION)
    return jobs


def epochs(job: Job, done: Results) -> int:
    """Epochs that a job adds to what its training has behind it."""
    behind = [
        other.epochs
        for other in done
        if (other.candidate, other.fold, other.seed) == (job.candidate, job.fold, job.seed)
        and other.epochs < job.epochs
    ]
    return job.epochs - max(behind, default=0)


@dataclass(frozen=True)
class Rate:
    """How long trainings take on this machine: seconds = start + images · (per_image + per_mac · macs).

    Attributes:
        start: seconds before the first step is done.
        per_image: seconds an image of a network without multiply-adds.
        per_mac: seconds a multiply-add of the forward pass, training included.
    """

    start: float
    per_image: float
    per_mac: float

    @classmethod
    def fit(cls, measured: Sequence[tuple[int, float, float]]) -> "Rate":
        """From (macs, seconds to start, seconds an image) of some networks, none of the terms below 0."""
        macs, starts, seconds = (np.array(column, np.float64) for column in zip(*measured, strict=True))
        slope = max(0.0, float(np.polyfit(macs, seconds, 1)[0])) if len(set(macs)) > 1 else 0.0
        level = float(np.mean(seconds - slope * macs))
        if level < 0:
            level, slope = 0.0, float(seconds @ macs / (macs @ macs))
        return cls(float(starts.mean()), level, slope)

    def seconds(self, macs: int, images: float) -> float:
        """Of one process, for `images` images in all."""
        return self.start + images * (self.per_image + self.per_mac * macs)


VALIDATION_SHARE = 1 / 3
"""An image that validates costs a forward pass; one that trains costs about three."""


def core_seconds(
    rate: Rate,
    allocation: Allocation,
    macs: Mapping[str, int],
    blocks: Sequence[Block],
    images: tuple[int, int],
    validation_epochs: int,
) -> float:
    """Seconds of all trials together, each on one process.

    Args:
        rate: of this machine.
        allocation: how epochs are shared out.
        macs: of each candidate.
        blocks: (fold, seed) pairs.
        images: that train and that validate, an epoch.
        validation_epochs: epochs between two validations.
    """
    total = 0.0
    done: dict[Job, float | None] = {}
    for job in to_come(allocation, list(macs), blocks, {}):
        added = epochs(job, done)
        done[job] = None
        validations = -(-added // validation_epochs)
        count = added * images[0] + validations * images[1] * VALIDATION_SHARE
        total += rate.seconds(macs[job.candidate], count)
    return total
