"""The rows of a regression, however many values a layer reads."""

import numpy as np

from tfeff.models.inheritance.encoding import ridge, wide_ridge
from tfeff.models.inheritance.sampling import Moments

_WIDE, _ROWS = 6144, 4096  # from this number of inputs on, a regression uses this number of rows


class Rows:
    """Rows of a regression: what a layer reads, and what it should compute.

    Args:
        inputs: number of values that are read.
    """

    def __init__(self, inputs: int) -> None:
        self._moments, self._wide = Moments(), inputs > _WIDE
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Adds rows, float32 (n, inputs) and (n, outputs)."""
        if self._wide:
            self._rows.append((x, y))
        else:
            self._moments.add(x, y)

    def solve(self, prior: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Returns kernel (inputs, outputs), bias, and mean (without the bias) and variance of the outputs; float64."""
        if self._wide:
            x, y = (np.concatenate(each) for each in zip(*self._rows, strict=True))
            chosen = rng.permutation(len(x))[:_ROWS]
            x, y = x[chosen], y[chosen]
            mean, center = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
            fitted = wide_ridge(x - mean, y - center, prior)
            variance = ((x - mean) @ fitted).var(axis=0)
        else:
            gram, mean, center = self._moments.covariance(), self._moments.mean(), self._moments.mean(1)
            fitted = ridge(gram, self._moments.covariance(1), prior)
            variance = np.einsum("io,io->o", fitted, gram @ fitted)
        return fitted, center - mean @ fitted, mean @ fitted, variance
