"""Groups of images that belong together, found by their names and by the time at which they were taken.

Examples are the frames of a video, the photographs of one patient and the augmented copies of one original.

If images of one group are in the training and in the test images, the test measures memory.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import Literal

import numpy as np
import numpy.typing as npt

from tfeff.analysis.quality.near_duplicates import correlation, joined
from tfeff.analysis.quality.survey import Place, Survey, places_in
from tfeff.data.images.header import EXTENSIONS

BURST = 10.0
"""Largest number of seconds between photographs of one burst."""
LARGEST = 0.5
"""Largest share of all images in one group: a name that most images have does not name a group."""
FEW = 20
"""Images; smaller groups name no class or split, however small these are."""
PAIRS = 2000
"""Maximum number of pairs of images that are compared."""
MIN_PAIRS = 20
LIKENESS = 0.65
"""Smallest probability that two images of one group are more similar than two of different groups; chance is 0.5."""
Z = 4.0
"""Standard deviations from chance."""

_ENDINGS = "|".join(each[1:] for each in EXTENSIONS)
_EXPORTED = re.compile(rf"^(.+?)[_.](?:{_ENDINGS})\.rf\.\w+$", re.IGNORECASE)
_CHANGES = "aug|augmented|flip|flipped|hflip|vflip|rot|rotated|crop|cropped|mirror|mirrored|blur|blurred|noise|noisy"
_CHANGED = rf"(?:[_-](?:{_CHANGES}|bright|dark|orig|original)[_-]?\d*)"
_COPY = r"(?:[ _-]+copy|[ _]?\(\d+\))"
_ENDING = r"(?:\.\w+)?"
_AUGMENTED = re.compile(rf"^(.+?){_CHANGED}+$", re.IGNORECASE)
_COPIED = re.compile(rf"^(.+?){_COPY}+(?: \d+)?$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(.*[A-Za-z0-9])[ _.-]+\D{0,8}\d+$")

Mark = Literal["nothing", "number", "others"]
"""What a name says: nothing, that there are others if one of them has no number, or that there are others."""


@dataclass(frozen=True)
class Rule:
    """How groups are recognized.

    Attributes:
        what: what a group is.
        key: id of an image -> name of its group, and what the id says about others; None: in no group.
        certain: whether names say it; otherwise, images of one group must also look more alike than others.
        setting: `data.groups` that keeps these groups together.
        most: images of a group; of more, names say something else.
    """

    what: str
    key: Callable[[str], tuple[str, Mark] | None]
    certain: bool
    setting: str
    most: float = math.inf


def _by(pattern: re.Pattern[str], *, originals: bool = False) -> Callable[[str], tuple[str, Mark] | None]:
    """Returns the first group of a pattern; with `originals`, other images are in the group of their own name."""

    def key(name: str) -> tuple[str, Mark] | None:
        own = stem(name)
        found = pattern.match(own)
        return (found[1], "others") if found else (own, "nothing") if originals else None

    return key


def _copy(name: str) -> tuple[str, Mark]:
    own = stem(name)
    found = _COPIED.match(own)
    if found is None:
        return own, "nothing"
    return found[1], "others" if "copy" in own[found.end(1) :].lower() else "number"


def _folder(name: str) -> tuple[str, Mark] | None:
    parent = PurePath(name).parent.name
    return (parent, "others") if parent else None


RULES = (
    Rule("exports of one original (NAME_jpg.rf.CODE)", _by(_EXPORTED), certain=True, setting=r"([^/]+)\.rf\."),
    Rule(
        "augmented copies of one original (NAME_flip, NAME_rot90)",
        _by(_AUGMENTED, originals=True),
        certain=True,
        setting=rf"([^/]+?)(?i:{_CHANGED}*){_ENDING}$",
    ),
    Rule(
        "copies of one file (NAME (1), NAME copy)",
        _copy,
        certain=True,
        setting=rf"([^/]+?)(?i:{_COPY}+(?: \d+)?)?{_ENDING}$",
        most=FEW,
    ),
    Rule(
        "numbered images of one name (NAME_0001, NAME_0002)",
        _by(_NUMBERED),
        certain=False,
        setting=rf"([^/]*[A-Za-z0-9])[ _.-]+\D{{0,8}}\d+{_ENDING}$",
    ),
    Rule("images of one folder", _folder, certain=False, setting="([^/]+)/[^/]+$"),
)


@dataclass(frozen=True, eq=False)
class Grouping:
    """Groups of one kind.

    Attributes:
        what: what a group is.
        groups: name -> images; two or more each.
        likeness: probability that two images of one group are more alike than two of different groups; None if it was
            not compared.
        setting: `data.groups` that keeps them together; empty if names do not tell them.
    """

    what: str
    groups: Mapping[str, Sequence[Place]]
    likeness: float | None = None
    setting: str = ""

    @property
    def across(self) -> dict[str, Sequence[Place]]:
        """The groups with images of several splits, the largest first."""
        found = {name: each for name, each in self.groups.items() if len({role for role, _ in each}) > 1}
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def stem(name: str) -> str:
    """Returns the name of an image file without folders and ending.

    >>> stem("/data/train/ants/colony_7.JPG"), stem("a.b_jpg.rf.0a1b.jpg"), stem("train[3]")
    ('colony_7', 'a.b_jpg.rf.0a1b', 'train[3]')
    """
    last = PurePath(name).name
    head, dot, ending = last.rpartition(".")
    return head if dot and f".{ending.lower()}" in EXTENSIONS else last


def find(surveys: Mapping[str, Survey]) -> list[Grouping]:
    """Returns the groupings that names and times show; each is examined on its own, and images can be in several."""
    places = places_in(surveys)
    if not places:
        return []
    names = [surveys[role].ids[index] for role, index in places]
    classes = {name for each in surveys.values() for name in each.images.class_names}
    prefixed = any(PurePath(name).parent.name in classes for name in names)
    labels = _labels(places, surveys)
    thumbnails = np.stack([surveys[role].measured[index].thumbnail for role, index in places])
    rng, found = np.random.default_rng(0), list[Grouping]()

    def add(what: str, groups: Mapping[str, Sequence[int]], likeness: float | None, setting: str = "") -> None:
        named = {key: [places[number] for number in each] for key, each in groups.items()}
        found.append(Grouping(what, named, likeness, setting))

    for rule in RULES:
        groups, marks = dict[str, list[int]](), dict[str, set[Mark]]()
        for number, name in enumerate(names):
            if (key := rule.key(name)) is None:
                continue
            folder = PurePath(name).parent.name
            # Class folders have files of equal names.
            group = f"{folder}/{key[0]}" if folder in classes and rule.key is not _folder else key[0]
            groups.setdefault(group, []).append(number)
            marks.setdefault(group, set()).add(key[1])
        groups = {key: each for key, each in groups.items() if 1 < len(each) <= rule.most and _has_others(marks[key])}
        groups = _without_classes(groups, places, surveys, labels)
        if not groups or max(map(len, groups.values())) > LARGEST * len(places):
            continue
        likeness = None if rule.certain else _likeness(list(groups.values()), thumbnails, labels, rng)
        if not rule.certain and likeness is None:
            continue
        setting = rf"([^/]+)/{rule.setting}" if prefixed and rule.key is not _folder else rule.setting
        add(rule.what, groups, likeness, setting)
    bursts = _without_classes(_bursts(places, surveys), places, surveys, labels)
    likeness = _likeness(list(bursts.values()), thumbnails, labels, rng) if bursts else None
    if likeness is not None:
        add(f"photographs of one camera, each within {BURST:.0f} seconds of the next", bursts, likeness)
    return found


def _has_others(marks: set[Mark]) -> bool:
    """Returns whether names say that there are others; numbers alone do not, as file managers number whole sets."""
    return "others" in marks or marks >= {"nothing", "number"}


def _labels(places: Sequence[Place], surveys: Mapping[str, Survey]) -> npt.NDArray[np.int64]:
    """Returns the class of each image; 0 if images have none."""
    return np.array(
        [
            split.images.labels[split.indices[index]] if (split := surveys[role]).images.has_labels else 0
            for role, index in places
        ]
    )


def _without_classes(
    groups: dict[str, list[int]],
    places: Sequence[Place],
    surveys: Mapping[str, Survey],
    labels: npt.NDArray[np.int64],
) -> dict[str, list[int]]:
    """Returns the groups without those whose name stands for a class or for splits.

    A group stands for a class if it has most images of the class and these are most of the group. It stands for splits
    if it has most images of each split in which it occurs.
    """
    roles = [role for role, _ in places]
    labeled = any(each.images.has_labels for each in surveys.values())
    of_class, of_split = np.bincount(labels), Counter(roles)

    def general(group: list[int]) -> bool:
        own, splits = np.bincount(labels[group], minlength=len(of_class)), Counter(roles[number] for number in group)
        return bool(labeled and (own > LARGEST * np.maximum(of_class, len(group))).any()) or all(
            count > LARGEST * of_split[role] for role, count in splits.items()
        )

    return {key: each for key, each in groups.items() if len(each) <= FEW or not general(each)}


def _likeness(
    groups: Sequence[Sequence[int]],
    thumbnails: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> float | None:
    """Returns the probability that a pair within a group correlates more than a pair of one class and two groups.

    None if it is not above chance (LIKENESS, and Z standard deviations of Mann and Whitney's statistic), or with fewer
    than MIN_PAIRS pairs.
    """
    # Neighbors in a group count: the ends of a video differ.
    inside = np.array([pair for group in groups for pair in pairwise(group)])
    if len(inside) < MIN_PAIRS:
        return None
    inside = inside[rng.permutation(len(inside))[:PAIRS]]
    owner = np.full(len(thumbnails), -1)
    for place, group in enumerate(groups):
        owner[group] = place
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[inside[:, 0]])
    ends = np.searchsorted(labels[order], labels[inside[:, 0]], "right")
    others = order[starts + (rng.random(len(inside)) * (ends - starts)).astype(np.int64)]
    between = np.stack([inside[:, 0], others], axis=1)[owner[others] != owner[inside[:, 0]]]
    if len(between) < MIN_PAIRS:
        return None
    one, other = (np.sort(correlation(thumbnails[e[:, 0]], thumbnails[e[:, 1]])) for e in (inside, between))
    wins = np.searchsorted(other, one, "left") + np.searchsorted(other, one, "right")
    probability = float(wins.mean() / 2 / len(other))
    deviation = np.sqrt((len(one) + len(other) + 1) / (12 * len(one) * len(other)))
    return probability if probability >= LIKENESS and probability - 0.5 >= Z * deviation else None


def _bursts(places: Sequence[Place], surveys: Mapping[str, Survey]) -> dict[str, list[int]]:
    """Returns photographs of one camera, each within BURST seconds of the next, by the id of the first."""
    taken = [(one.camera, one.time, number) for number, one in enumerate(surveys[r].measured[i] for r, i in places)]
    known = sorted(each for each in taken if each[0] and np.isfinite(each[1]))
    near = [(one[2], other[2]) for one, other in pairwise(known) if one[0] == other[0] and other[1] - one[1] <= BURST]
    groups = joined(len(places), np.array(near, np.int64).reshape(-1, 2))
    firsts = [places[group[0]] for group in groups]
    return {surveys[role].ids[index]: group for (role, index), group in zip(firsts, groups, strict=True)}
