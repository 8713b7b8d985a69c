"""Ridge regression in closed form: the box regressors of R-CNN (Girshick et al., arXiv:1311.2524, appendix C)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Products:
    """All that the solutions for any penalty need to know of n pairs of features and targets.

    Those of two sets of pairs add up to those of both, so that the pairs need not be in memory together.

    Attributes:
        count: n.
        mean: float64 [D], of the features.
        level: float64 [T], of the targets.
        features: float64 [D, D], sum of x x^T, where x is off the mean.
        targets: float64 [D, T], sum of x y^T, where both are off their means.
    """

    count: int
    mean: np.ndarray
    level: np.ndarray
    features: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, targets: np.ndarray) -> "Products":
        """Those of features float [n, D] and targets float [n, T], n at least 1."""
        x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
        mean, level = x.mean(axis=0), y.mean(axis=0)
        x, y = x - mean, y - level
        return cls(len(x), mean, level, x.T @ x, x.T @ y)

    def __add__(self, other: "Products") -> "Products":
        """Those of both sets, by the means' distance: no difference of large numbers (Chan, Golub, LeVeque, 1979)."""
        count = self.count + other.count
        step, rise = other.mean - self.mean, other.level - self.level
        share, weight = other.count / count, self.count * other.count / count
        return Products(
            count,
            self.mean + share * step,
            self.level + share * rise,
            self.features + other.features + weight * np.outer(step, step),
            self.targets + other.targets + weight * np.outer(step, rise),
        )

    def ridge(self, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """The weights that minimise |X w + b - y|^2 + penalty |w|^2; the bias is not penalised.

        Args:
            penalty: lambda, above 0.

        Returns:
            weights float64 [D, T], biases float64 [T].
        """
        weights = np.linalg.solve(self.features + penalty * np.eye(len(self.features)), self.targets)
        return weights, self.level - self.mean @ weights
