"""Ridge regression in closed form: the box regressors of R-CNN (Girshick et al., arXiv:1311.2524, appendix C)."""

from collections.abc import Sequence

import numpy as np

from tfeff.rcnn.svm import Features

CHUNK = 4096
"""Rows in memory at once, where they are more than the features."""


def ridges(
    features: Features, rows: np.ndarray, targets: np.ndarray, penalties: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The weights that minimise |X w + b - y|^2 + penalty |w|^2, for each penalty; the bias is not penalised.

    The rows are read once more for their mean, so that sums of products hold no large numbers; the smaller of the two
    systems is solved, n by n or D by D.

    Args:
        features: [., D].
        rows: int [n], those that are X, n at least 1.
        targets: float [n, T], y.
        penalties: each above 0.

    Returns:
        weights float64 [D, T], biases float64 [T] for each penalty.
    """
    size = features.shape[1]
    parts = [slice(start, start + CHUNK) for start in range(0, len(rows), CHUNK)]
    mean = np.sum([features[rows[part]].sum(axis=0, dtype=np.float64) for part in parts], axis=0) / len(rows)
    level = targets.mean(axis=0, dtype=np.float64)
    y = targets - level
    dual: np.ndarray | None = None
    if len(rows) < size:
        dual = features[rows] - mean
        products, of_targets = dual @ dual.T, y
    else:
        products, of_targets = np.zeros((size, size)), np.zeros((size, targets.shape[1]))
        for part in parts:
            x = features[rows[part]] - mean
            products += x.T @ x
            of_targets += x.T @ y[part]
    found, diagonal = list[tuple[np.ndarray, np.ndarray]](), products.diagonal().copy()
    for penalty in penalties:
        np.fill_diagonal(products, diagonal + penalty)
        weights = np.linalg.solve(products, of_targets)
        if dual is not None:
            weights = dual.T @ weights
        found.append((weights, level - mean @ weights))
    return found
