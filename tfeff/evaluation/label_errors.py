"""Confident learning: finds examples whose labels are probably wrong.

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"
(arXiv:1911.00068), section 3: per-class thresholds (equation 2), the confident joint (equation 1), its calibration
(equation 3), and label errors by "prune by class" (method 3): of each given label, as many examples as the estimated
joint says are wrong, those whose given label is the least probable, but not those whose label is the most probable
class. The probability of the label (the self-confidence) also ranks them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.confusion import ConfusionMatrix, confusion_matrix, ratio


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """What the probabilities of a classifier say about the labels of n examples.

    Attributes:
        confident_joint: number of examples by given label (as the true class) and confidently predicted class.
        wrong: float64 [classes], estimated number of wrong labels among the examples with each given label.
        suspects: int64 [m], indices of the examples whose labels are probably wrong, the least probable labels first.
        likely: int64 [m], the class that each of them probably belongs to.
        estimated_share: estimated share of wrong labels, in [0, 1].
    """

    confident_joint: ConfusionMatrix
    wrong: npt.NDArray[np.float64]
    suspects: npt.NDArray[np.int64]
    likely: npt.NDArray[np.int64]
    estimated_share: float


def label_errors(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> LabelErrors:
    """Finds examples whose labels are probably wrong.

    The probabilities must be out of sample: from a classifier that was not trained on these examples.

    Args:
        labels: int [n], n > 0, given labels in [0, classes).
        probabilities: float [n, classes].

    By the thresholds, the second label is estimated to be wrong, but it is the most probable class:

    >>> found = label_errors([0, 0, 1], [[1, 0], [0.55, 0.45], [0.6, 0.4]])
    >>> found.wrong.tolist(), found.suspects.tolist()
    ([1.0, 0.0], [])
    """
    label, score = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    n, classes = score.shape
    counts = np.bincount(label, minlength=classes)
    own = score[np.arange(n), label]
    total = np.bincount(label, weights=own, minlength=classes)
    thresholds = ratio(total, counts)

    confident = score >= thresholds  # never for classes without examples: comparisons with NaN are false
    counted = np.flatnonzero(confident.any(axis=1))
    predicted = np.where(confident, score, -1.0).argmax(axis=1)
    confident_joint = confusion_matrix(label[counted], predicted[counted], classes)

    # Equation 3 scales each row of the joint to the number of examples with that label. A label without any confident
    # example says nothing about its errors.
    rows = confident_joint.support
    wrong = np.nan_to_num(ratio(rows - confident_joint.correct, rows)) * counts
    suspects = _pruned_by_class(label, own, np.rint(wrong).astype(np.int64))
    likely = score.argmax(axis=1)
    suspects = suspects[likely[suspects] != label[suspects]]
    suspects = suspects[np.argsort(own[suspects], kind="stable")]
    return LabelErrors(confident_joint, wrong, suspects, likely[suspects], float(wrong.sum() / n))


def _pruned_by_class(
    label: npt.NDArray[np.int64], own: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Returns the `counts` examples of each label with the lowest probability `own` of it."""
    order = np.lexsort((own, label))
    sizes = np.bincount(label, minlength=len(counts))
    rank = np.arange(len(label)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[rank < counts[label[order]]]


def confident_errors(labels: npt.ArrayLike, probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Returns misclassified examples, the most confident first. Label errors often appear at the top.

    Args:
        labels: int [n], true classes.
        probabilities: float [n, classes].

    Returns:
        int64 [at most count], indices into `labels`; examples with equal confidence keep their order.
    """
    scores = np.asarray(probabilities)
    errors = np.flatnonzero(scores.argmax(axis=1) != np.asarray(labels))
    return errors[np.argsort(-scores.max(axis=1)[errors], kind="stable")][:count]


def hardest(labels: npt.ArrayLike, probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Returns examples with the highest mean loss over several models, correct or not.

    Args:
        labels: int [n], true classes.
        probabilities: float [m, n, classes], of m models.

    Returns:
        int64 [at most count], indices into `labels`, the highest loss first.
    """
    places = np.asarray(labels)[np.newaxis, :, np.newaxis]
    own = np.take_along_axis(np.asarray(probabilities), places, axis=2)[..., 0].astype(np.float64)
    loss = -np.log(np.maximum(own, np.finfo(np.float32).eps)).mean(axis=0)
    return np.argsort(-loss, kind="stable")[:count]


def least_certain(probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Returns the examples with the smallest margin between their two most probable classes.

    The probabilities are float [n, classes], classes > 1.

    Returns:
        int64 [at most count], indices into `probabilities`, the smallest margin first.
    """
    top = np.sort(np.asarray(probabilities, np.float64), axis=1)[:, -2:]
    return np.argsort(top[:, 1] - top[:, 0], kind="stable")[:count]
