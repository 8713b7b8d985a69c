"""Whether predictions are right up to an exchange of labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tfeff.workbench.diagnosis.finding import Finding, listed
from tfeff.workbench.diagnosis.thresholds import limit

FEW = 12
"""Objects below which nothing is inferred."""


@dataclass(frozen=True)
class Exchange:
    """The exchange of labels that explains predictions best.

    Attributes:
        agreement: share of predictions that are right as they are.
        explained: the same after the exchange.
        count: number of predictions.
        predicted: the class that the network predicts for each labeled class.
        shift: the exchange adds this number to all labels; 0 if it is another one.
    """

    agreement: float
    explained: float
    count: int
    predicted: tuple[int, ...]
    shift: int


def exchange(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: int) -> Exchange:
    """The best one-to-one exchange.

    Args:
        labels: int [n].
        predicted: int [n].
        classes: number of classes.
    """
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (labels, predicted), 1)
    rows, columns = linear_sum_assignment(-table)
    found = np.arange(classes)
    found[rows] = columns
    count = max(int(table.sum()), 1)
    used = [c for c in range(classes) if table[c].sum()]
    shifts = {(int(found[c]) - c) for c in used}
    shift = shifts.pop() if len(shifts) == 1 else 0
    if shift == 0 and len(used) > 1:
        cyclic = {(int(found[c]) - c) % classes for c in used}
        if len(cyclic) == 1:
            shift = cyclic.pop()
            shift = shift - classes if shift > classes // 2 else shift
    return Exchange(
        float(np.trace(table)) / count,
        float(table[rows, columns].sum()) / count,
        int(table.sum()),
        tuple(found.tolist()),
        shift,
    )


def finding(role: str, found: Exchange, names: Sequence[str]) -> Finding | None:
    """What an exchange says about the labels of a split; None if they are right, or nothing is clear."""
    enough = found.count >= FEW and len(names) > 1
    if not enough or found.explained < limit("permuted_labels") or found.agreement > 0.5 * found.explained:
        return None
    changed = [
        f"{names[label]} is predicted as {names[other]}"
        for label, other in enumerate(found.predicted)
        if label != other
    ]
    off = abs(found.shift) == 1
    return Finding(
        what=f"{role}: the predictions are right after an exchange of labels: "
        + ("labels are off by one between training and this split." if off else "labels have other meanings here."),
        measured={"right_as_labeled": found.agreement, "right_after_exchange": found.explained, "count": found.count},
        evidence=[listed(changed)],
        fix=f"use the class list and the numbers of the training split in {role}",
    )
