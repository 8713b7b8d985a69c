"""Selects examples for error analysis."""

import numpy as np
import numpy.typing as npt


def confident_errors(labels: npt.ArrayLike, probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Misclassified examples, the most confident first. Label errors often appear at the top.

    Args:
        labels: int [n], true classes.
        probabilities: float [n, classes].
        count: maximum number of examples.

    Returns:
        int64 [at most count], indices into `labels`; examples with equal confidence keep their order.
    """
    scores = np.asarray(probabilities, np.float64)
    errors = np.flatnonzero(scores.argmax(axis=1) != np.asarray(labels))
    return errors[np.argsort(-scores.max(axis=1)[errors], kind="stable")][:count]
