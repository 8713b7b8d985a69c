"""The last link of a classifier: whether it is right on training images and on others."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.workbench.diagnosis import label_exchange
from tfeff.workbench.diagnosis.finding import Finding, Link
from tfeff.workbench.diagnosis.subject import TRAIN
from tfeff.workbench.diagnosis.thresholds import limit


@dataclass(frozen=True, eq=False)
class Classified:
    """The predictions for some images of a split.

    Attributes:
        labels: int [n].
        probabilities: float [n, classes].
    """

    labels: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    @property
    def constant(self) -> float:
        """The accuracy of always predicting the most frequent class."""
        return float(np.bincount(self.labels).max() / len(self.labels))


def learned(train: Classified) -> bool:
    """Whether a classifier predicts its training images better than a constant prediction does."""
    return train.accuracy > train.constant + 0.5 * (1 - train.constant) * limit("low_recall")


def check(classified: Mapping[str, Classified], names: tuple[str, ...]) -> Link:
    """Checks the predictions.

    Args:
        classified: predictions by role.
        names: of the classes.
    """
    findings, train = list[Finding](), classified[TRAIN]
    finite = all(np.isfinite(each.probabilities).all() for each in classified.values())
    if not finite:
        findings.append(Finding(what="the network's outputs are not finite.", fix="lower optimizer.learning_rate"))
    for role, each in classified.items() if finite else ():
        found = label_exchange.exchange(
            each.labels.astype(np.int64), each.probabilities.argmax(axis=1).astype(np.int64), len(names)
        )
        exchanged = label_exchange.finding(role, found, names)
        if exchanged:
            findings.append(exchanged)
        elif role == TRAIN and not learned(train):
            findings.append(
                Finding(
                    what=f"the network has learned nothing: accuracy {train.accuracy:.1%} on training images; the most "
                    f"frequent class alone gives {train.constant:.1%}.",
                    measured={"accuracy": train.accuracy, "constant": train.constant},
                    fix="train for more updates; try another optimizer.learning_rate; check the links before this one",
                )
            )
        elif role != TRAIN and learned(train) and each.accuracy < limit("generalization") * train.accuracy:
            findings.append(
                Finding(
                    what=f"{role}: accuracy is {each.accuracy:.1%}, but {train.accuracy:.1%} on training images.",
                    measured={"accuracy": each.accuracy, "training_accuracy": train.accuracy},
                    fix="more images, more augmentation (task.augmentation), pretrained weights; draw splits at random",
                )
            )
    return Link(
        name="predictions",
        question="is the classifier right on training images and on others?",
        findings=findings,
        measured={
            role: {"images": len(each.labels), "accuracy": round(each.accuracy, 4)} for role, each in classified.items()
        },
    )
