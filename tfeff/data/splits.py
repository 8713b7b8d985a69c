"""Which images a split has: the data set's own splits, shares divided by seed where it has none, or everything."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfeff.errors import UserError, nearest

ALL = "all"
"""The split of all images."""
FRACTIONS: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Shares of the splits of a data set that is not divided, unless others are asked for."""


_ALIASES = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}


def canonical_name(split: str) -> str:
    """The usual name of a split.

    >>> canonical_name("val")
    'validation'
    """
    return _ALIASES.get(split, split)


def split_names(own: Collection[str], fractions: Mapping[str, float]) -> tuple[str, ...]:
    """The names of a data set's splits: its `own`, or those of `fractions` where it has none; and ALL."""
    return (*(own or fractions), ALL)


def members(
    root: Path,
    split: str,
    every: Sequence[str],
    own: Mapping[str, Callable[[], Sequence[str]]],
    fractions: Mapping[str, float],
    seed: int,
) -> list[str]:
    """The images of a split.

    Args:
        root: the data set's folder, for messages.
        split: one of `split_names`.
        every: all images.
        own: the data set's own splits, each with what lists its images.
        fractions: shares of the splits where it has none of its own; positive, together at most 1.
        seed: of that division.

    Raises:
        UserError: no such split, or fractions that cannot be.
    """
    if split == ALL:
        return list(every)
    if split not in (own or fractions):
        raise UserError(f'{root}: no split "{split}"; {nearest(split, split_names(own, fractions))}')
    return list(own[split]()) if own else divided(every, split, fractions, seed)


def divided(names: Sequence[str], split: str, fractions: Mapping[str, float], seed: int) -> list[str]:
    """Those of `names` that belong to one of the splits of `fractions`, in their order.

    Raises:
        UserError: fractions that cannot be.
    """
    order = np.random.default_rng(seed).permutation(len(names))
    edges = np.rint(np.cumsum([0.0, *checked(fractions).values()]) * len(names)).astype(int)
    place = list(fractions).index(split)
    return [names[index] for index in sorted(order[edges[place] : edges[place + 1]])]


def checked(fractions: Mapping[str, float]) -> Mapping[str, float]:
    """The same fractions.

    Raises:
        UserError: one is not positive, or together they are more than 1.
    """
    if any(share <= 0 for share in fractions.values()) or not 0 < sum(fractions.values()) <= 1 + 1e-9:
        raise UserError(f"fractions {dict(fractions)} must be positive and add up to at most 1")
    return fractions
