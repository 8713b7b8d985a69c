"""Ridge regression in closed form: the box regressors of R-CNN (Girshick et al., arXiv:1311.2524, appendix C)."""

import numpy as np


def ridge(features: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """The weights that minimise |X w + b - y|^2 + penalty |w|^2; the bias is not penalised.

    Args:
        features: float [n, D], n at least 1.
        targets: float [n, T].
        penalty: lambda, above 0.

    Returns:
        weights float64 [D, T], biases float64 [T].
    """
    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    mean, level = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean, y - level
    if len(x) < x.shape[1]:  # the same solution from the smaller of the two systems
        weights = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    else:
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return weights, level - mean @ weights
