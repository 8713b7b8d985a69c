"""The last link of a classifier: whether its predictions are correct on training and on held-out images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.reporting.tables import percent
from tfeff.workbench.diagnosis import label_permutation
from tfeff.workbench.diagnosis.finding import Finding, Link
from tfeff.workbench.diagnosis.subject import TRAIN
from tfeff.workbench.diagnosis.thresholds import limit


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
    """Whether a classifier predicts its training images better than a constant prediction does."""
    return train.accuracy > train.constant + limit("low_accuracy") * (1 - train.constant)


def check(predictions: Mapping[str, ClassifierPredictions], names: tuple[str, ...]) -> Link:
    """Checks the predictions.

    Args:
        predictions: predictions by role.
        names: of the classes.
    """
    findings, train = list[Finding](), predictions[TRAIN]
    finite = all(np.isfinite(each.probabilities).all() for each in predictions.values())
    if not finite:
        findings.append(Finding(what="the network's outputs are not finite.", fix="lower optimizer.learning_rate"))
    for role, each in predictions.items() if finite else ():
        found = label_permutation.best_permutation(
            each.labels.astype(np.int64), each.probabilities.argmax(axis=1).astype(np.int64), len(names)
        )
        permuted = label_permutation.finding(role, found, names)
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
