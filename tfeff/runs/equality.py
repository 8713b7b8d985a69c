"""Whether two models predict the same."""

from collections.abc import Mapping, Sequence

import numpy as np

DIFFERENCE = 1e-3
"""Largest difference of outputs that count as equal, relative to the largest value of an output."""
FAINT = 0.1
"""Detections that are compared one by one, relative to the best score in an image. Of the fainter ones, rounding can
decide which are among the most that a detector returns."""
ALIKE = 0.98
"""Share of all detections that must have an equal one."""

Outputs = Mapping[str, np.ndarray]
"""Outputs of a model for some images, [n, ...] each; those of a detector for one image, without `count`."""


def difference(first: Sequence[Outputs], second: Sequence[Outputs]) -> float | None:
    """Returns the largest difference of two models' outputs for the same images, relative to the largest value.

    Each detection of one model is compared with the most similar one of its class of the other, except for faint ones
    (`FAINT`), of which most (`ALIKE`) must be equal.

    Returns:
        Infinity if a value is not finite or a detection has no counterpart; None if nothing is detected in any image,
        so that nothing can be compared.
    """
    gaps = list[float]()
    for one, other in zip(first, second, strict=True):
        names = [name for name, values in one.items() if np.issubdtype(values.dtype, np.floating)]
        if any(one[name].shape[1:] != other[name].shape[1:] for name in names):
            return np.inf
        if not all(np.isfinite(each[name]).all() for name in names for each in (one, other)):
            return np.inf
        if "boxes" not in one:
            gaps += [_relative(one[name], np.abs(one[name] - other[name])) for name in names]
        elif len(one["scores"]) or len(other["scores"]):
            gaps.append(_of_detections(one, other))
    return max(gaps, default=None)


def _of_detections(one: Outputs, other: Outputs) -> float:
    if not len(one["scores"]) or not len(other["scores"]):
        return np.inf
    gaps = np.abs(one["boxes"][:, np.newaxis] - other["boxes"]).max(axis=-1) / np.abs(one["boxes"]).max()
    best = one["scores"].max()
    gaps = np.maximum(gaps, np.abs(one["scores"][:, np.newaxis] - other["scores"]) / best)
    gaps = np.where(one["labels"][:, np.newaxis] == other["labels"], gaps, np.inf)
    nearest_here, nearest_there = gaps.min(axis=1), gaps.min(axis=0)
    if min(np.mean(each <= DIFFERENCE) for each in (nearest_here, nearest_there)) < ALIKE:
        return np.inf
    clear_here, clear_there = (each["scores"] >= FAINT * best for each in (one, other))
    return float(max(nearest_here[clear_here].max(initial=0.0), nearest_there[clear_there].max(initial=0.0)))


def _relative(values: np.ndarray, gaps: np.ndarray) -> float:
    largest = np.abs(values).max(initial=0.0)
    return float(gaps.max(initial=0.0) / largest) if largest else float(gaps.max(initial=0.0))
