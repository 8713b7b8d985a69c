"""The last link of a classifier: whether its predictions are correct on training and on held-out images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from tfeff.analysis.diagnosis.finding import Finding, Link, listed
from tfeff.analysis.diagnosis.subject import TRAIN
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.evaluation import ConfusionMatrix, confusion_matrix
from tfeff.reporting.tables import percent


@dataclass(frozen=True, eq=False)
class ClassifierPredictions:
    """The predictions for some images of a split.

    Attributes:
        labels: int [n].
        probabilities: float [n, classes].
    """

    labels: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]

    @property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    @property
    def constant(self) -> float:
        """The accuracy of always predicting the most frequent class."""
        return float(np.bincount(self.labels).max() / len(self.labels))


def learned(train: ClassifierPredictions) -> bool:
    """Returns whether a classifier predicts its training images better than a constant prediction does.

    Images of a single class cannot tell, if they are predicted as that class.
    """
    constant = train.constant if train.constant < 1 else 0.0
    return train.accuracy > constant + limit("low_accuracy") * (1 - constant)


def check_classifier(predictions: Mapping[str, ClassifierPredictions], names: tuple[str, ...]) -> Link:
    """Checks the predictions."""
    findings, train = list[Finding](), predictions[TRAIN]
    finite = all(np.isfinite(each.probabilities).all() for each in predictions.values())
    if not finite:
        findings.append(Finding(what="the network's outputs are not finite.", fix="lower optimizer.learning_rate"))
    for role, each in predictions.items() if finite else ():
        found = best_permutation(
            each.labels.astype(np.int64), each.probabilities.argmax(axis=1).astype(np.int64), len(names)
        )
        permuted = finding(role, found, names)
        if permuted:
            findings.append(permuted)
        elif role == TRAIN and not learned(train):
            findings.append(
                Finding(
                    what=f"the network has learned nothing: accuracy {percent(train.accuracy, 1)} on training "
                    f"images; the most frequent class alone gives {percent(train.constant, 1)}.",
                    measured={"accuracy": train.accuracy, "constant": train.constant},
                    fix="train for more updates; try another optimizer.learning_rate; check the links before this one",
                )
            )
        elif role != TRAIN and learned(train) and each.accuracy < limit("generalization") * train.accuracy:
            findings.append(
                Finding(
                    role=role,
                    what=f"accuracy is {percent(each.accuracy, 1)}, but {percent(train.accuracy, 1)} on training "
                    "images.",
                    measured={"accuracy": each.accuracy, "training_accuracy": train.accuracy},
                    fix="more images, more augmentation (task.augmentation), pretrained weights; draw splits at random",
                )
            )
    return Link(
        name="predictions",
        question="are the predictions correct on training and held-out images?",
        findings=findings,
        measured={
            role: {"images": len(each.labels), "accuracy": round(each.accuracy, 4)}
            for role, each in predictions.items()
        },
    )


@dataclass(frozen=True)
class Permutation:
    """The permutation of the labels that explains predictions best.

    Attributes:
        agreement: share of correct predictions.
        explained: the same after the permutation.
        predicted: the class that the network predicts for each labeled class.
        shift: what the permutation adds to all labels; 0 if it is no shift.
        constant: the most that a constant prediction explains; 0 if all labels are of one class.
    """

    agreement: float
    explained: float
    count: int
    predicted: tuple[int, ...]
    shift: int
    constant: float


def best_permutation(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: int) -> Permutation:
    """Returns the permutation of the labels that makes most predictions correct.

    Args:
        labels: int [n].
        predicted: int [n].
    """
    matrix = confusion_matrix(labels, predicted, classes)
    found = _matched(matrix)
    count = max(len(labels), 1)
    used = np.flatnonzero(matrix.support).tolist()
    shifts = {(int(found[c]) - c) for c in used}
    shift = shifts.pop() if len(shifts) == 1 else 0
    if shift == 0 and len(used) > 1:
        cyclic = {(int(found[c]) - c) % classes for c in used}
        if len(cyclic) == 1:
            shift = cyclic.pop()
            shift = shift - classes if shift > classes // 2 else shift
    constant = float(matrix.support.max(initial=0)) / count
    return Permutation(
        float(matrix.correct.sum()) / count,
        float(matrix.count[found[matrix.true] == matrix.predicted].sum()) / count,
        len(labels),
        tuple(found.tolist()),
        shift,
        constant if constant < 1 else 0.0,
    )


def _matched(matrix: ConfusionMatrix) -> npt.NDArray[np.int64]:
    """Returns int64 [classes], a permutation of the classes with the largest number of examples of all."""
    classes, every = matrix.classes, np.arange(matrix.classes)
    # The matching must be full: each true class may also be matched to a column of its own, which means to none.
    edges = sparse.csr_array(
        (
            np.concatenate([matrix.count + 1, np.ones(classes, np.int64)]),
            (np.concatenate([matrix.true, every]), np.concatenate([matrix.predicted, classes + every])),
        ),
        shape=(classes, 2 * classes),
    )
    rows, columns = csgraph.min_weight_full_bipartite_matching(edges, maximize=True)
    found = np.full(classes, -1)
    found[rows] = np.where(columns < classes, columns, -1)
    own = np.flatnonzero(found < 0)
    own = own[~np.isin(own, found)]
    found[own] = own
    found[found < 0] = np.setdiff1d(every, found)
    return found


def finding(role: str, found: Permutation, names: Sequence[str]) -> Finding | None:
    """Returns what a permutation says about the labels of a split; None if they are correct, or nothing is clear."""
    enough = found.count >= limit("permuted_objects") and len(names) > 1
    # Constant predictions are explained as well as their class is frequent.
    constant = found.constant + limit("low_accuracy") * (1 - found.constant)
    unclear = found.explained < limit("permuted_labels") or found.explained <= constant
    if not enough or unclear or found.agreement > limit("unpermuted_labels") * found.explained:
        return None
    changed = [
        f"{names[label]} is predicted as {names[other]}"
        for label, other in enumerate(found.predicted)
        if label != other
    ]
    reason = "are off by one between training and" if abs(found.shift) == 1 else "have different meanings in"
    return Finding(
        role=role,
        what=f"the predictions are correct up to a permutation of the labels: labels {reason} this split.",
        measured={
            "correct_as_labeled": found.agreement,
            "correct_after_permutation": found.explained,
            "count": found.count,
        },
        evidence=[listed(changed)],
        fix=f"use the class list and the numbers of the training split in {role}",
    )
