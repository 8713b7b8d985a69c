"""Jobs, their results, and tables of results by candidate and block."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

Block = tuple[int, int]
"""(fold, seed): the conditions that all candidates share."""

Table = Mapping[str, Mapping[Block, float | None]]
"""Candidate -> block -> value, higher is better; None or NaN where the trial failed."""


@dataclass(frozen=True, order=True)
class Job:
    """Trains one candidate on one block.

    Attributes:
        candidate: its name.
        fold: index of the fold.
        seed: index of the seed.
        epochs: of the training; the learning rate's schedule ends with them.
    """

    candidate: str
    fold: int
    seed: int
    epochs: int

    @property
    def block(self) -> Block:
        """(fold, seed)."""
        return self.fold, self.seed


Results = Mapping[Job, float | None]
"""Job -> value to maximize; None if the job failed for good. NaN and infinities count as failed."""


def finite(row: Mapping[Block, float | None]) -> dict[Block, float]:
    """The blocks whose trial succeeded."""
    return {block: value for block, value in row.items() if is_finite(value)}


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether a value is a finite number, not None."""
    return value is not None and math.isfinite(value)


def mean_over_seeds(row: Mapping[Block, float | None]) -> dict[Block, float]:
    """The mean over the seeds of each fold, keyed (fold, 0).

    Trainings on the same fold are not independent; counting each seed as a sample would make intervals too narrow.

    >>> mean_over_seeds({(0, 0): 0.5, (0, 1): 0.75, (1, 0): 0.5, (1, 1): None})
    {(0, 0): 0.625, (1, 0): 0.5}
    """
    by_fold: dict[int, list[float]] = {}
    for (fold, _), value in finite(row).items():
        by_fold.setdefault(fold, []).append(value)
    return {(fold, 0): float(np.mean(values)) for fold, values in by_fold.items()}


def by_block(
    results: Results, epochs: int, candidates: Iterable[str], blocks: Sequence[Block]
) -> dict[str, dict[Block, float]]:
    """Candidate -> block -> value of the trials trained up to `epochs`; failed and missing trials are omitted."""
    return {name: finite({block: results.get(Job(name, *block, epochs)) for block in blocks}) for name in candidates}


def by_fold(
    results: Results, epochs: int, candidates: Iterable[str], blocks: Sequence[Block]
) -> dict[str, dict[Block, float]]:
    """Candidate -> fold -> value of the trials trained up to `epochs`, averaged over seeds.

    Failed and missing trials are omitted.

    Args:
        results: all known results.
        epochs: selects the jobs of this length.
        candidates: names; each gets a row, possibly empty.
        blocks: (fold, seed) pairs to include.

    >>> by_fold({Job("a", 0, 0, 5): 0.5, Job("a", 1, 0, 5): None}, 5, ["a", "b"], [(0, 0), (1, 0)])
    {'a': {(0, 0): 0.5}, 'b': {}}
    """
    return {name: mean_over_seeds(row) for name, row in by_block(results, epochs, candidates, blocks).items()}
