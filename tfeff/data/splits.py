"""Names of splits: aliases, the split of all images, and splits drawn by seed."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from tfeff.data.folds import deal_groups
from tfeff.errors import UserError, nearest

ALL = "all"
"""The split of all images."""
FRACTIONS: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Sizes of the splits drawn from a source without splits of its own."""
_YEAR = re.compile(r"(?<=[a-z])(?:19|20)\d\d$")
_ALIASES = {"val": "validation", "valid": "validation", "dev": "validation", "training": "train", "testing": "test"}


def file_part(split: str) -> str:
    """Returns the name of a split as a part of file names: those of tables and data frames can have slashes.

    >>> file_part("test/2021")
    'test_2021'
    """
    return split.replace("/", "_")


def canonical_name(split: str) -> str:
    """Returns the usual name of a split: lower case, without a year, aliases replaced.

    >>> canonical_name("val"), canonical_name("Valid"), canonical_name("train2017"), canonical_name("trainval")
    ('validation', 'validation', 'train', 'trainval')
    """
    name = _YEAR.sub("", split.lower())
    return _ALIASES.get(name, name)


def find_split(split: str, known: Collection[str]) -> str | None:
    """Returns the one among `known` that a name means: itself, or the only one with the same canonical name.

    One with another year is another split.

    >>> find_split("val", ["train2017", "val2017"]), find_split("val2014", ["val2017"]), find_split("val2017", ["val"])
    ('val2017', None, 'val')
    """
    if split in known:
        return split
    same, years = namesakes(split, known), _years(split)
    return same[0] if len(same) == 1 and (not years or _years(same[0]) in ([], years)) else None


def _years(split: str) -> list[str]:
    """Returns the year at the end of a name, if there is one."""
    return _YEAR.findall(split.lower())


def namesakes(split: str, known: Collection[str]) -> list[str]:
    """Returns the names among `known` with the same canonical name.

    >>> namesakes("val", ["train2017", "val2014", "val2017"])
    ['val2014', 'val2017']
    """
    return [name for name in known if canonical_name(name) == canonical_name(split)]


def distinct_names(splits: Iterable[str]) -> dict[str, str]:
    """Returns the usual name of each split -> its own name; its own one twice if several have the same usual name.

    >>> distinct_names(["train2017", "test", "test2015"])
    {'train': 'train2017', 'test': 'test', 'test2015': 'test2015'}
    """
    usual = {split: canonical_name(split) for split in splits}
    counts = Counter(usual.values())
    return {name if counts[name] == 1 else split: split for split, name in usual.items()}


def require_distinct(name: str, splits: Iterable[str]) -> None:
    """Requires that splits can be told apart by their usual names.

    Args:
        name: how messages refer to the dataset.
        splits: names of its splits.

    Raises:
        UserError: two have the same usual name.
    """
    known = dict[str, str]()
    for split in splits:
        other = known.setdefault(canonical_name(split), split)
        if other != split:
            raise UserError(f"{name}: both {other} and {split} would be the same split; rename one")


def require_split(name: str, split: str, known: Collection[str]) -> str:
    """Returns the same, but a missing split is an error.

    Args:
        name: how messages refer to the dataset.
        split: name or alias.
        known: names of the dataset's splits.

    Raises:
        UserError: no such split, or several with the same canonical name.
    """
    found = find_split(split, known)
    if found is None:
        raise UserError(f'{name}: no split "{split}"; {similar(split, known)}')
    return found


def similar(split: str, known: Collection[str]) -> str:
    """Returns which of the known splits a missing one could be, for messages."""
    same = namesakes(split, known)
    return f"it could be {' or '.join(same)}" if same else nearest(canonical_name(split), known)


def stratified_split(
    labels: np.ndarray, split: str, fractions: Mapping[str, float], seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Returns the images that a draw by seed assigns to one of the splits of `fractions`.

    The images of each class are shuffled and divided.

    Each split has its share of each class to within one image, and its share of all images as closely as that allows.
    The largest split has an image of each class; no split is empty if a class has images to spare. With groups, whole
    groups are drawn, and shares are approximate; no split is empty if there are as many groups as splits.

    Args:
        labels: int [n].
        split: one of `fractions`.
        fractions: sizes of the splits.
        seed: seed of the draw.
        groups: int [n]; images of one group are in one split. None: each image is on its own.

    Returns:
        int64 [m], ascending positions in `labels`.

    Raises:
        UserError: invalid fractions.
    """
    rng, place = np.random.default_rng(seed), list(fractions).index(split)
    shares = list(checked_fractions(fractions).values())
    if groups is not None:
        return deal_groups(labels, groups, shares, rng)[place]
    by_class = np.argsort(labels, kind="stable")
    counts = np.unique(labels, return_counts=True)[1]
    quotas, starts, pieces = _quotas(counts, shares), np.cumsum(counts) - counts, [np.zeros(0, np.int64)]
    for quota, start, count in zip(quotas, starts.tolist(), counts.tolist(), strict=True):
        members, first = rng.permutation(by_class[start : start + count]), sum(quota[:place])
        pieces.append(members[first : first + quota[place]])
    return np.sort(np.concatenate(pieces))


def _quotas(counts: np.ndarray, shares: Sequence[float]) -> list[list[int]]:
    """Returns how many images of each class each split gets.

    Exact shares are rounded down. What is left of a class goes to the splits that lack most so far, so that small
    classes, all rounded alike, do not leave a split empty.

    Args:
        counts: int [classes], images of each class.
        shares: sizes of the splits; what they leave of 1 goes to no split.
    """
    everything = [*shares, max(0.0, 1.0 - sum(shares))]
    largest, places = int(np.argmax(shares)), range(len(everything))
    lacking, quotas = [0.0] * len(everything), list[list[int]]()
    for count in counts.tolist():
        exact = [share * count for share in everything]
        quota = [int(value + 1e-9) for value in exact]
        lacking = [missing + value - given for missing, value, given in zip(lacking, exact, quota, strict=True)]
        candidates = sorted(
            (place for place in places if exact[place] > quota[place] + 1e-9),
            key=lambda place: (quota[place] > 0 or place != largest, -lacking[place]),
        )
        for place in candidates[: count - sum(quota)]:
            quota[place] += 1
            lacking[place] -= 1
        quotas.append(quota)
    for place in range(len(shares) if len(quotas) else 0):
        richest = max(quotas, key=lambda quota: quota[largest])
        if richest[largest] > 1 and not any(quota[place] for quota in quotas):
            richest[largest] -= 1
            richest[place] += 1
    return quotas


def drawn_note(name: str, fractions: Mapping[str, float], seed: int) -> str:
    """Says that the splits of a dataset were drawn.

    >>> drawn_note("voc:pets", {"train": 0.8, "test": 0.2}, 0)
    'voc:pets: has no splits of its own; drawn with seed 0: train 80 %, test 20 %'
    """
    shares = ", ".join(f"{split} {100 * share:.3g} %" for split, share in fractions.items())
    return f"{name}: has no splits of its own; drawn with seed {seed}: {shares}"


def checked_fractions(fractions: Mapping[str, float]) -> Mapping[str, float]:
    """Returns the same fractions.

    Raises:
        UserError: one is not positive, or they add up to more than 1.
    """
    if any(share <= 0 for share in fractions.values()) or not 0 < sum(fractions.values()) <= 1 + 1e-9:
        raise UserError(f"fractions {dict(fractions)} must be positive and add up to at most 1")
    return fractions
