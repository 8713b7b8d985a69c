"""Confident learning: finds examples whose labels are probably wrong.

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"
(arXiv:1911.00068), section 3: per-class thresholds (equation 2), the confident joint (equation 1), its calibration
(equation 3), and label errors by "prune by class" (method 3): of each given label, as many examples as the estimated
joint says are wrong, those whose given label is the least probable. This probability (the self-confidence) also ranks
them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.confusion import confusion_matrix, ratio


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """What the probabilities of a classifier say about the labels of n examples.

    Attributes:
        confident_joint: int64 [classes, classes], number of examples by given label and confidently predicted class.
        joint: float64 [classes, classes], estimated joint distribution of given and true labels; sums to 1.
        suspects: int64 [m], indices of the examples whose labels are probably wrong, the least probable labels first.
        likely: int64 [m], the class that each of them probably belongs to.
    """

    confident_joint: npt.NDArray[np.int64]
    joint: npt.NDArray[np.float64]
    suspects: npt.NDArray[np.int64]
    likely: npt.NDArray[np.int64]

    @property
    def estimated_share(self) -> float:
        """Estimated share of wrong labels, in [0, 1]: the off-diagonal mass of `joint`."""
        return float(max(0.0, 1.0 - np.trace(self.joint)))


def label_errors(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> LabelErrors:
    """Finds examples whose labels are probably wrong.

    The probabilities must be out of sample: from a classifier that was not trained on these examples.

    Args:
        labels: int [n], n > 0, given labels in [0, classes).
        probabilities: float [n, classes].
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

    joint = _joint(confident_joint, counts)
    wrong = _pruned_by_class(label, own, joint)
    likely = score.argmax(axis=1)
    wrong = wrong[likely[wrong] != label[wrong]]
    wrong = wrong[np.argsort(own[wrong], kind="stable")]
    return LabelErrors(confident_joint, joint, wrong, likely[wrong])


def _pruned_by_class(
    label: npt.NDArray[np.int64], own: npt.NDArray[np.float64], joint: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Of each label, the examples with the lowest probability `own` of it, as many as the joint says are wrong."""
    wrong = np.rint((joint.sum(axis=1) - np.diag(joint)) * len(label)).astype(np.int64)
    rows = [np.flatnonzero(label == given) for given in range(len(joint))]
    return np.concatenate(
        [each[np.argsort(own[each], kind="stable")[:count]] for each, count in zip(rows, wrong, strict=True)]
    )


def _joint(confident_joint: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The confident joint with each row scaled to the number of examples with that label, divided by all examples."""
    rows = confident_joint.sum(axis=1, keepdims=True)
    # A label without any confident example says nothing about its errors.
    shares = np.divide(confident_joint, rows, out=np.eye(len(counts)), where=rows > 0)
    return shares * counts[:, np.newaxis] / counts.sum()


def confident_errors(labels: npt.ArrayLike, probabilities: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Returns misclassified examples, the most confident first. Label errors often appear at the top.

    Args:
        labels: int [n], true classes.
        probabilities: float [n, classes].

    Returns:
        int64 [at most count], indices into `labels`; examples with equal confidence keep their order.
    """
    scores = np.asarray(probabilities, np.float64)
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
    scores = np.asarray(probabilities, np.float64)
    own = np.take_along_axis(scores, np.asarray(labels)[np.newaxis, :, np.newaxis], axis=2)[..., 0]
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
