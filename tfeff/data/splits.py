"""Names of splits; subsets, hold-outs and folds of a labelled set, each a function of its labels and a seed.

All parts are stratified: each holds every class in the proportion of the whole, to within one image. Functions take
integer labels [n] and return sorted int64 arrays of positions.
"""

from dataclasses import dataclass

import numpy as np

from tfeff.errors import UserError

_ALIASES = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}


@dataclass(frozen=True, eq=False)
class Fold:
    """One round of cross-validation.

    Attributes:
        train: Positions to train on, int64, sorted.
        validation: Positions to validate on, int64, sorted.
    """

    train: np.ndarray
    validation: np.ndarray


def canonical_name(split: str) -> str:
    """The usual name of a split.

    >>> canonical_name("val")
    'validation'
    """
    return _ALIASES.get(split, split)


def subset(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """A stratified subset of n positions.

    Raises:
        UserError: n is not within 1..len(labels).
    """
    labels = np.asarray(labels)
    if not 1 <= n <= len(labels):
        raise UserError(f"a subset of {n} images was asked of a set of {len(labels)}")
    chosen, _ = _draw(labels, n, np.random.default_rng(seed))
    return chosen


def holdout(labels: np.ndarray, fraction: float, seed: int) -> Fold:
    """A stratified part of `fraction` held out for validation, the rest for training.

    Raises:
        UserError: the fraction is outside (0, 1), leaves either part empty, or leaves no image of a class to train on.
    """
    labels = np.asarray(labels)
    held = round(len(labels) * fraction)
    if not 0 < fraction < 1 or not 0 < held < len(labels):
        raise UserError(f"cannot hold out a fraction of {fraction} of {len(labels)} images: one part would be empty")
    validation, train = _draw(labels, held, np.random.default_rng(seed))
    _require_every_class(labels, train, f"the training part of a hold-out of {fraction}")
    return Fold(train=train, validation=validation)


def k_folds(labels: np.ndarray, k: int, seed: int) -> list[Fold]:
    """k rounds of cross-validation: the validation parts are disjoint and together the whole.

    Raises:
        UserError: k is below 2, or a class has fewer than k images.
    """
    labels = np.asarray(labels)
    if k < 2:
        raise UserError(f"cross-validation needs at least 2 folds, not {k}")
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < k:
        raise UserError(
            f"{k} folds need at least {k} images of each class; class {classes[counts.argmin()]} has {counts.min()}"
        )
    parts = _deal(labels, np.arange(len(labels)), k, np.random.default_rng(seed))
    return [
        Fold(train=np.sort(np.concatenate(parts[:i] + parts[i + 1 :])), validation=part) for i, part in enumerate(parts)
    ]


def independent_folds(labels: np.ndarray, k: int, size: int, validation_size: int, seed: int) -> list[Fold]:
    """k disjoint stratified subsets, each with a training part of its own and a validation part of its own.

    Nothing is shared between two folds, so their results are independent samples of the same experiment.

    Args:
        labels: int [n].
        k: Number of folds.
        size: Images of one fold, validation included.
        validation_size: Those of them held out for validation.
        seed: Seed of the draw.

    Raises:
        UserError: k * size images are more than there are, a part would be empty, or a class would be missing from
            one of the parts.
    """
    labels = np.asarray(labels)
    if k < 1 or not 0 < validation_size < size:
        raise UserError(
            f"{k} independent folds of {size} images, {validation_size} of them for validation: a part would be empty"
        )
    if k * size > len(labels):
        raise UserError(f"{k} independent folds of {size} images need {k * size} images; there are {len(labels)}")
    rng = np.random.default_rng(seed)
    chosen, _ = _draw(labels, k * size, rng)
    folds = []
    for i, part in enumerate(_deal(labels, chosen, k, rng)):
        validation, train = _draw(labels[part], validation_size, rng)
        fold = Fold(train=part[train], validation=part[validation])
        advice = f"use larger or fewer folds (k={k}, size={size}, validation_size={validation_size})"
        _require_every_class(labels, fold.train, f"the training part of fold {i}", advice)
        _require_every_class(labels, fold.validation, f"the validation part of fold {i}", advice)
        folds.append(fold)
    return folds


def _by_class(labels: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The positions class by class, shuffled inside each class."""
    shuffled = rng.permutation(positions)
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def _draw(labels: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n positions drawn class by class in proportion (largest remainders first), and the others; both sorted."""
    _, counts = np.unique(labels, return_counts=True)
    exact = counts * n / len(labels)
    quotas = np.floor(exact).astype(np.int64)
    # Among equal remainders chance decides, lest the first classes always gain.
    tie_break = rng.permutation(len(counts))
    largest_first = np.lexsort((tie_break, quotas - exact))
    quotas[largest_first[: n - quotas.sum()]] += 1
    order = _by_class(labels, np.arange(len(labels)), rng)
    rank_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = rank_in_class < np.repeat(quotas, counts)
    return np.sort(order[chosen]), np.sort(order[~chosen])


def _deal(labels: np.ndarray, positions: np.ndarray, k: int, rng: np.random.Generator) -> list[np.ndarray]:
    """k sorted parts of the positions: dealt out like cards class after class, so each class and the sizes are even."""
    order = _by_class(labels, positions, rng)
    return [np.sort(order[i::k]) for i in range(k)]


def _require_every_class(labels: np.ndarray, positions: np.ndarray, part: str, advice: str = "add images") -> None:
    missing = np.setdiff1d(labels, labels[positions])
    if len(missing):
        raise UserError(f"{part} has {len(positions)} images and none of class {missing[0]}; {advice}")
