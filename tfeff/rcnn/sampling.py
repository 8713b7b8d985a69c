"""Batches of regions: so many of objects, so many of background."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfeff.boxes.assignment import Regions


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws batches of a set of regions.

    Attributes:
        positive: int [p], rows of the regions that overlap their object by more than `positive_overlap`.
        negative: int [q], rows that overlap none by `negative_overlap` or more.
        positives: regions of a batch that are drawn from `positive`.
        negatives: and from `negative`.
        seed: of the draws; each epoch is a function of it and the epoch's number.
    """

    positive: np.ndarray
    negative: np.ndarray
    positives: int
    negatives: int
    seed: int

    @classmethod
    def of(
        cls,
        regions: Regions,
        *,
        positives: int,
        negatives: int,
        positive_overlap: float,
        negative_overlap: float,
        seed: int,
    ) -> "Sampler":
        """A sampler by overlaps; regions that are to be ignored are left out."""
        return cls(
            positive=np.flatnonzero((regions.overlap > positive_overlap) & ~regions.ignored),
            negative=np.flatnonzero((regions.overlap < negative_overlap) & ~regions.ignored),
            positives=positives,
            negatives=negatives,
            seed=seed,
        )

    @property
    def batches(self) -> int:
        """Of an epoch: as many as it takes to see as many positives as there are."""
        return -(-len(self.positive) // self.positives)

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Rows int [positives + negatives] of each batch; every positive comes once before any comes again."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        needed = self.batches * self.positives
        repeats = -(-needed // max(1, len(self.positive)))
        order = np.concatenate([rng.permutation(self.positive) for _ in range(repeats)])[:needed]
        for batch in range(self.batches):
            positive = order[batch * self.positives : (batch + 1) * self.positives]
            negative = rng.choice(self.negative, self.negatives) if len(self.negative) else self.negative
            yield np.concatenate([positive, negative])
