"""Ridge regression in closed form, as R-CNN uses it for boxes (Girshick et al., arXiv:1311.2524, appendix C)."""

import numpy as np

from tfeff.rcnn.svm import FeatureRows

CHUNK = 4096
"""Rows in memory at once, if there are more rows than features."""


def ridge_regression(
    features: FeatureRows, rows: np.ndarray, targets: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Minimizes |X w + b - y|^2 + penalty |w|^2. The bias is not penalized.

    A first pass over the rows computes their mean, so that the sums of products stay small. The smaller of the primal
    (D by D) and the dual (n by n) system is solved.

    Args:
        features: [., D].
        rows: int [n], the rows of `features` that form X; n is at least 1.
        targets: float [n, T], y.
        penalty: above 0.

    Returns:
        weights float64 [D, T] and biases float64 [T].
    """
    size = features.shape[1]
    parts = [slice(start, start + CHUNK) for start in range(0, len(rows), CHUNK)]
    mean = np.sum([features[rows[part]].sum(axis=0, dtype=np.float64) for part in parts], axis=0) / len(rows)
    target_mean = targets.mean(axis=0, dtype=np.float64)
    y = targets - target_mean
    dual_x: np.ndarray | None = None
    if len(rows) < size:
        dual_x = features[rows] - mean
        gram, right_side = dual_x @ dual_x.T, y
    else:
        gram, right_side = np.zeros((size, size)), np.zeros((size, targets.shape[1]))
        for part in parts:
            x = features[rows[part]] - mean
            gram += x.T @ x
            right_side += x.T @ y[part]
    gram[np.diag_indices_from(gram)] += penalty
    weights = np.linalg.solve(gram, right_side)
    if dual_x is not None:
        weights = dual_x.T @ weights
    return weights, target_mean - mean @ weights
