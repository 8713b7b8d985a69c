"""Whether predictions are correct up to a permutation of the labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tfeff.workbench.diagnosis.finding import Finding, listed
from tfeff.workbench.diagnosis.thresholds import limit


@dataclass(frozen=True)
class Permutation:
    """The permutation of the labels that explains predictions best.

    Attributes:
        agreement: share of correct predictions.
        explained: the same after the permutation.
        count: number of predictions.
        predicted: the class that the network predicts for each labeled class.
        shift: what the permutation adds to all labels; 0 if it is no shift.
    """

    agreement: float
    explained: float
    count: int
    predicted: tuple[int, ...]
    shift: int


def best_permutation(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: int) -> Permutation:
    """The permutation of the labels that makes most predictions correct.

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
    return Permutation(
        float(np.trace(table)) / count,
        float(table[rows, columns].sum()) / count,
        int(table.sum()),
        tuple(found.tolist()),
        shift,
    )


def finding(role: str, found: Permutation, names: Sequence[str]) -> Finding | None:
    """What a permutation says about the labels of a split; None if they are correct, or nothing is clear."""
    enough = found.count >= limit("permuted_objects") and len(names) > 1
    unclear = found.explained < limit("permuted_labels")
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
