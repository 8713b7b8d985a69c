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


def hardest(labels: npt.ArrayLike, probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Examples with the highest mean loss over several models, correct or not.

    Args:
        labels: int [n], true classes.
        probabilities: float [m, n, classes], of m models.
        count: maximum number of examples.

    Returns:
        int64 [at most count], indices into `labels`, the highest loss first.
    """
    scores = np.asarray(probabilities, np.float64)
    own = np.take_along_axis(scores, np.asarray(labels)[np.newaxis, :, np.newaxis], axis=2)[..., 0]
    loss = -np.log(np.maximum(own, np.finfo(np.float32).eps)).mean(axis=0)
    return np.argsort(-loss, kind="stable")[:count]


def least_certain(probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Examples with the smallest margin between the two most probable classes.

    Args:
        probabilities: float [n, classes], at least two classes.
        count: maximum number of examples.

    Returns:
        int64 [at most count], indices into `probabilities`, the smallest margin first.
    """
    top = np.sort(np.asarray(probabilities, np.float64), axis=1)[:, -2:]
    return np.argsort(top[:, 1] - top[:, 0], kind="stable")[:count]
