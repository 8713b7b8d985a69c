"""Which examples to look at: a network's surest hits, its surest errors, and those it could not decide."""

import numpy as np
import numpy.typing as npt


def confident_errors(labels: npt.ArrayLike, probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Wrongly classified examples, those most confident first: label errors and true surprises gather here.

    Args:
        labels: int [n], true classes.
        probabilities: float [n, classes].
        count: how many to give at most.

    Returns:
        int64 [at most count], indices into `labels`; equal confidences in the order of the examples.
    """
    confidence, correct = _judge(labels, probabilities)
    return _first(np.flatnonzero(~correct), -confidence, count)


def confident_hits(labels: npt.ArrayLike, probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Rightly classified examples, those most confident first. Arguments and result as in `confident_errors`."""
    confidence, correct = _judge(labels, probabilities)
    return _first(np.flatnonzero(correct), -confidence, count)


def uncertain(probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Examples with the smallest margin between the two most probable classes, the smallest first.

    Args:
        probabilities: float [n, classes], at least two classes.
        count: how many to give at most.

    Returns:
        int64 [at most count], indices of examples.
    """
    top_two = np.partition(np.asarray(probabilities, np.float64), -2, axis=1)[:, -2:]
    return _first(np.arange(len(top_two)), top_two[:, 1] - top_two[:, 0], count)


def _judge(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    scores = np.asarray(probabilities, np.float64)
    return scores.max(axis=1), scores.argmax(axis=1) == np.asarray(labels)


def _first(candidates: npt.NDArray[np.int64], key: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    return candidates[np.argsort(key[candidates], kind="stable")][:count]
