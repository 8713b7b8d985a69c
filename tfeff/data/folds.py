"""Subsets, hold-outs and folds of a labeled dataset, each a function of its labels and a seed.

All drawn parts are stratified: each holds every class in the proportion of the whole, to within one image, unless a
class would have no image left to train on. Where images belong to groups (crops of one photograph), whole groups are
drawn, and sizes and proportions are approximate.

Functions take `labels`, int [n]; `class_names`, for messages (default: numbers); and `groups`, int [n] (images of one
group stay together; None: each image is on its own). They return sorted int64 arrays of positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfeff.errors import UserError


@dataclass(frozen=True, eq=False)
class Fold:
    """One round of cross-validation.

    Attributes:
        train: Positions to train on, int64, sorted.
        validation: Positions to validate on, int64, sorted.
    """

    train: np.ndarray
    validation: np.ndarray


def subset(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Returns a stratified subset of n positions.

    Raises:
        UserError: n is not within 1..len(labels).
    """
    labels = np.asarray(labels)
    if not 1 <= n <= len(labels):
        raise UserError(f"cannot draw a subset of {n} images from {len(labels)}; use 1 to {len(labels)}")
    chosen, _ = _draw(labels, n, np.random.default_rng(seed))
    return chosen


def holdout(
    labels: np.ndarray,
    fraction: float,
    seed: int,
    class_names: Sequence[str] = (),
    groups: np.ndarray | None = None,
    *,
    every_class: bool = True,
) -> Fold:
    """Returns a stratified part of `fraction` held out for validation, the rest for training.

    Args:
        fraction: Share held out.
        seed: Seed of the draw.
        every_class: whether the training part must hold an image of every class. False: both parts hold one of each
            label if that is possible.

    Raises:
        UserError: the fraction is outside (0, 1), leaves either part empty, or leaves no image of a class to train on.
    """
    labels = np.asarray(labels)
    held = round(len(labels) * fraction)
    if not 0 < fraction < 1 or not 0 < held < len(labels):
        raise UserError(f"cannot hold out a fraction of {fraction} of {len(labels)} images: one part would be empty")
    rng = np.random.default_rng(seed)
    if groups is None:
        validation, train = _draw(labels, held, rng, leave_one=True, take_one=not every_class)
    else:
        validation, train = deal_groups(labels, groups, [fraction, 1 - fraction], rng)
        if not len(validation) or not len(train):
            raise UserError(f"cannot hold out a fraction of {fraction} of {len(np.unique(groups))} groups of images")
    if every_class:
        require_every_class(labels, train, f"the training part of a hold-out of {fraction}", "add images", class_names)
    return Fold(train=train, validation=validation)


def k_folds(
    labels: np.ndarray,
    k: int,
    seed: int,
    class_names: Sequence[str] = (),
    groups: np.ndarray | None = None,
    *,
    every_class: bool = True,
) -> list[Fold]:
    """Returns k rounds of cross-validation, whose validation parts are disjoint and together the whole.

    Args:
        k: Number of folds.
        seed: Seed of the draw.
        every_class: whether every part must hold an image of every class.

    Raises:
        UserError: k is below 2, there are fewer images or groups, or a class has too few for every part to hold one.
    """
    labels = np.asarray(labels)
    if k < 2:
        raise UserError(f"cross-validation needs at least 2 folds, not {k}")
    classes, counts = np.unique(labels, return_counts=True)
    units, kind = (len(labels), "images") if groups is None else (len(np.unique(groups)), "groups of images")
    if units < k:
        raise UserError(f"{k} folds need at least {k} {kind}; there are {units}")
    if every_class and counts.min() < k:
        raise UserError(
            f"{k} folds need at least {k} images of each class; "
            f"class {_name(classes[counts.argmin()], class_names)} has {counts.min()}"
        )
    rng = np.random.default_rng(seed)
    if groups is None:
        parts = _deal(labels, np.arange(len(labels)), k, rng)
    else:
        parts = deal_groups(labels, groups, [1 / k] * k, rng)
        for i, part in enumerate(parts if every_class else ()):
            require_every_class(labels, part, f"the validation part of fold {i}", "use fewer folds", class_names)
    return [
        Fold(train=np.sort(np.concatenate(parts[:i] + parts[i + 1 :])), validation=part) for i, part in enumerate(parts)
    ]


def independent_folds(
    labels: np.ndarray,
    k: int,
    size: int,
    validation_size: int,
    seed: int,
    class_names: Sequence[str] = (),
    groups: np.ndarray | None = None,
) -> list[Fold]:
    """Returns k disjoint stratified subsets, each with its own training and validation part.

    Nothing is shared between two folds, so their results are independent samples of the same experiment. The folds are
    the first of as many as there are images for, so that more of them can be drawn later.

    Args:
        k: Number of folds.
        size: Images of one fold, validation included.
        validation_size: Those of them held out for validation; 0 if other images serve for that.
        seed: Seed of the draw.

    Raises:
        UserError: k * size images are more than there are, a part would be empty, or a class would be missing from
            one of the parts.
    """
    labels = np.asarray(labels)
    if k < 1 or not 0 <= validation_size < size:
        raise UserError(
            f"{k} independent folds of {size} images, {validation_size} of them for validation: a part would be empty"
        )
    if k * size > len(labels):
        most = f"at most {len(labels) // k} per fold" if k <= len(labels) else f"at most {len(labels)} folds"
        raise UserError(
            f"{k} independent folds of {size} images need {k * size:,} images; there are {len(labels):,}: {most}"
        )
    rng, possible = np.random.default_rng(seed), len(labels) // size
    if groups is None:
        chosen, _ = _draw(labels, possible * size, rng)
        folds = []
        for part in _deal(labels, chosen, possible, rng)[:k]:
            validation, train = _draw(labels[part], validation_size, rng, leave_one=True)
            folds.append(Fold(train=part[train], validation=part[validation]))
    else:
        sizes = np.array([[size - validation_size, validation_size]] * possible)
        dealt = iter(deal_groups(labels, groups, [n / len(labels) for n in sizes.flat if n], rng))
        none = np.zeros(0, np.int64)
        folds = [Fold(*(next(dealt) if n else none for n in parts)) for parts in sizes[:k]]
    advice = f"use larger or fewer folds ({k} of {size} images now, {validation_size} of them for validation)"
    for i, fold in enumerate(folds):
        require_every_class(labels, fold.train, f"the training part of fold {i}", advice, class_names)
        if validation_size:
            require_every_class(labels, fold.validation, f"the validation part of fold {i}", advice, class_names)
    return folds


def _by_class(labels: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the positions grouped by class, shuffled within each class."""
    shuffled = rng.permutation(positions)
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def _draw(
    labels: np.ndarray, n: int, rng: np.random.Generator, *, leave_one: bool = False, take_one: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draws n positions, class by class in proportion (largest remainders first); returns them and the rest, sorted.

    Args:
        leave_one: whether one of each class is left, if n allows it; the next remainders get what it would have given.
        take_one: whether classes that would give none come before larger remainders.
    """
    _, counts = np.unique(labels, return_counts=True)
    exact = counts * n / len(labels)
    quotas = np.floor(exact).astype(np.int64)
    # Equal remainders are decided by chance; otherwise the first classes would always gain.
    tie_break = rng.permutation(len(counts))
    largest_first = np.lexsort((tie_break, quotas - exact, take_one & (quotas > 0)))
    most = counts - 1 if leave_one and len(labels) - len(counts) >= n else counts
    while missing := n - quotas.sum():
        quotas[largest_first[quotas[largest_first] < most[largest_first]][:missing]] += 1
    order = _by_class(labels, np.arange(len(labels)), rng)
    rank_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = rank_in_class < np.repeat(quotas, counts)
    return np.sort(order[chosen]), np.sort(order[~chosen])


def _deal(labels: np.ndarray, positions: np.ndarray, k: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Deals the positions out to k sorted parts, class by class, so that classes and sizes are balanced."""
    order = _by_class(labels, positions, rng)
    return [np.sort(order[i::k]) for i in range(k)]


def deal_groups(
    labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> list[np.ndarray]:
    """Deals whole groups out to sorted parts of the given shares; what these leave of 1 goes to no part.

    Large groups first, each to the part that it brings closest to its share of every class. Groups are in random order
    but for the octave of their size, so that each seed has its own draw. No part is empty if there are as many groups
    as parts.
    """
    parts, rest = len(shares), 1.0 - sum(shares)
    if rest > 1e-9:
        shares = [*shares, rest]
    classes, label_codes = np.unique(labels, return_inverse=True)
    names, owners = np.unique(groups, return_inverse=True)
    # A group has few of the classes, so its counts are kept for these alone.
    pairs, images = np.unique(owners * len(classes) + label_codes, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(names) + 1) * len(classes))
    members, sizes = pairs % len(classes), np.bincount(owners, minlength=len(names))
    totals = np.bincount(label_codes, minlength=len(classes)).astype(float)
    targets = np.outer(shares, totals)
    missing = targets.copy()
    part_of = np.empty(len(names), np.int64)
    order = rng.permutation(len(names))
    for group in order[np.argsort(-np.frexp(sizes[order])[1], kind="stable")]:
        own = slice(starts[group], starts[group + 1])
        here, counts = members[own], images[own]
        gains = ((2 * missing[:, here] - counts) * counts / (targets[:, here] * totals[here])).sum(axis=1)
        part_of[group] = gains.argmax()
        missing[part_of[group], here] -= counts
    for part in range(parts):
        held = np.bincount(part_of, sizes, minlength=len(shares))
        several = np.bincount(part_of, minlength=len(shares)) > 1
        if not held[part] and several.any():
            giver = np.flatnonzero(part_of == np.where(several, held, 0).argmax())
            part_of[giver[sizes[giver].argmin()]] = part
    return [np.flatnonzero(part_of[owners] == part) for part in range(parts)]


def require_every_class(
    labels: np.ndarray, positions: np.ndarray, part: str, advice: str, class_names: Sequence[str] = ()
) -> None:
    """Requires that a part of a dataset has images of every class.

    Args:
        labels: labels of the set.
        positions: int [m], of the part.
        part: how messages refer to the part.
        advice: what to do about it, for the message.

    Raises:
        UserError: there are no images, or none of a class; the message names it.
    """
    if not len(positions):
        raise UserError(f"{part} has no images; {advice}")
    missing, counts = np.unique(labels[~np.isin(labels, labels[positions])], return_counts=True)
    if len(missing):
        raise UserError(
            f"{part} has {len(positions):,} images and none of class {_name(missing[0], class_names)} "
            f"({counts[0]:,} among all {len(labels):,}); {advice}"
        )


def _name(label: int, class_names: Sequence[str]) -> str:
    return f'"{class_names[label]}"' if class_names else str(label)
