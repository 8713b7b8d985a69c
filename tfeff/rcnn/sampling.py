"""Batches of regions: a fixed number of positives and of background regions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfeff.boxes.assignment import Regions


@dataclass(frozen=True, eq=False)
class RegionSampler:
    """Sampler of batches from a set of regions.

    Attributes:
        positive: int [p], rows of the regions that overlap their object by more than `positive_overlap`.
        negative: int [q], rows of the background: regions that overlap every object by less than `negative_overlap`.
        positives: positives per batch.
        negatives: negatives per batch.
        seed: the batches of an epoch are a function of the seed and the epoch's number.
    """

    positive: np.ndarray
    negative: np.ndarray
    positives: int
    negatives: int
    seed: int

    @classmethod
    def by_overlap(
        cls,
        targets: Regions,
        *,
        positives: int,
        batch_size: int,
        positive_overlap: float,
        negative_overlap: float,
        seed: int,
    ) -> "RegionSampler":
        """Returns a sampler that separates regions by overlap; those in difficult or crowd objects are not background.

        Without background regions, the whole batch is positive.
        """
        negative = np.flatnonzero((targets.overlap < negative_overlap) & ~targets.covered)
        positives = positives if len(negative) else batch_size
        return cls(
            positive=np.flatnonzero(targets.overlap > positive_overlap),
            negative=negative,
            positives=positives,
            negatives=batch_size - positives,
            seed=seed,
        )

    @property
    def batches(self) -> int:
        """Batches per epoch: enough to draw every positive."""
        return -(-len(self.positive) // self.positives)

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Yields rows int [positives + negatives] of each batch; no positive is repeated before all have been drawn."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        needed = self.batches * self.positives
        repeats = -(-needed // max(1, len(self.positive)))
        order = np.concatenate([rng.permutation(self.positive) for _ in range(repeats)])[:needed]
        for batch in range(self.batches):
            positive = order[batch * self.positives : (batch + 1) * self.positives]
            negative = rng.choice(self.negative, self.negatives) if len(self.negative) else self.negative
            yield np.concatenate([positive, negative])
