"""The link of the classes: whether labels mean the classes of the list.

Classes may be swapped in a part of the images, as when annotators use class lists in different orders. If the classes
differ in size, the boxes show it: in a run of consecutive images, sorted by name, the objects of one class have the
sizes that the other class has elsewhere.
"""

import difflib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfeff.analysis.diagnosis.annotations import in_order, largest_sum
from tfeff.analysis.diagnosis.finding import Finding, Link, listed, share
from tfeff.analysis.diagnosis.subject import TRAIN
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.data.dataset import Dataset
from tfeff.data.names import as_number, stands_for_missing
from tfeff.reporting.tables import percent

Counts = npt.NDArray[np.int64]
LONGEST_NAME = 100
"""Letters; longer names are only compared with equal ones."""
ALIKE = 10
"""With how many names that are alike a name is compared: class names that are numbered are all alike."""
BACKGROUND = ("background", "__background__", "_background_", "bg", "none", "nothing", "unlabeled")
SIGNS = "+-<>=#%"
"""Signs that distinguish classes, such as A+ and A-."""
_SEPARATORS = re.compile(r"(?<=[^\W\d_])[\s-]+(?=[^\W\d_])")
"""Separators between letters."""


def labels(images: Dataset) -> list[npt.NDArray[np.int64]]:
    """Returns the labels of each image as they are written, also those outside of the class list."""
    if images.raw_annotations:
        return [each.labels for each in images.raw_annotations]
    if images.has_objects:
        return [each.labels.astype(np.int64) for each in images.objects]
    return [np.array([label], np.int64) for label in images.labels]


def counts(images: Dataset) -> Counts:
    """Returns labels of each class, int64 [classes + 2]: those below the first class are last but one, those after the
    last class are last."""
    classes = images.num_classes
    found = np.concatenate([np.zeros(0, np.int64), *labels(images)])
    places = np.where(found < 0, classes, np.where(found >= classes, classes + 1, found))
    return np.bincount(places, minlength=classes + 2)


def check_classes(splits: Mapping[str, Dataset], *, open_set: bool = False) -> Link:
    """Checks labels against the class list.

    Args:
        splits: images by role.
        open_set: whether the other splits may have classes that are not trained on, after those of the training split.
    """
    names = next(iter(splits.values())).class_names
    by_role = {role: counts(images) for role, images in splits.items() if images.num_classes == len(names)}
    total = np.sum(list(by_role.values()), axis=0)
    findings = list(_different_lists(splits, open_set=open_set))
    if total.sum():
        findings += _unnamed(splits, by_role, names)
        findings += _unused(total, names)
        findings += _spellings(total, names)
        findings += _shifted(by_role, names)
    alike = {role: images for role, images in splits.items() if images.class_names == names and images.has_objects}
    if alike:
        findings += swapped_classes(alike)
    return Link(
        name="classes",
        question="do the labels match the class list?",
        findings=findings,
        measured={
            "classes": len(names),
            "labels": {
                role: {name: int(count) for name, count in zip(names, each, strict=False)}
                for role, each in by_role.items()
            },
        },
    )


def _different_lists(splits: Mapping[str, Dataset], *, open_set: bool) -> Iterator[Finding]:
    """Yields splits with other classes than the training split."""
    names = splits[TRAIN].class_names
    compared = len(names) if open_set else None
    yield from (
        Finding(
            role=role,
            what="its class list differs from that of train, so its labels have different meanings.",
            measured={"classes_in_train": len(names), f"classes_in_{role}": len(images.class_names)},
            evidence=[f"train: {listed(names)}", f"{role}: {listed(images.class_names)}"],
            fix="use one list of classes, in one order, for all splits",
        )
        for role, images in splits.items()
        if images.class_names[:compared] != names
    )


def _unnamed(splits: Mapping[str, Dataset], by_role: Mapping[str, Counts], names: Sequence[str]) -> Iterator[Finding]:
    """Labels outside of the class list."""
    for role, each in by_role.items():
        below, above = int(each[-2]), int(each[-1])
        if not below + above:
            continue
        example = splits[role].defects.first("class without a name")
        first_unused, last_unused = not each[0], not each[len(names) - 1]
        shifted = bool((above and not below and first_unused) or (below and not above and last_unused))
        outside = share(below + above, int(each.sum()), "labels")
        if shifted:
            start = (
                "they are counted from 1, and the class list from 0" if above else "they start before the class list"
            )
            place, name = ("first", names[0]) if above else ("last", names[-1])
            what = (
                f"labels are off by one: {start}: {outside} are outside of the list, and its {place} class, {name}, "
                "never occurs."
            )
            fix = f"{'subtract 1 from' if above else 'add 1 to'} all labels, or correct the list of class names"
        else:
            what = f"labels are not in the class list: {outside} are outside of the {len(names)} classes."
            fix = "complete the list of class names; objects without a class are dropped"
        yield Finding(
            role=role,
            what=what,
            broken=shifted or below + above > limit("unnamed_labels") * int(each.sum()),
            measured={"labels_below": below, "labels_above": above, "labels": int(each.sum())},
            evidence=[example] if example else [],
            fix=fix,
        )


def _unused(total: Counts, names: Sequence[str]) -> Iterator[Finding]:
    """Yields classes of the list that never occur."""
    used = total[: len(names)] > 0
    unused = [name for name, occurs in zip(names, used, strict=True) if not occurs]
    if not unused or total[-2:].sum():
        return
    first = not used[0] and len(names) > 1
    background = first and (names[0].strip().lower() in BACKGROUND or (names[0] == "0" and used[1:].all()))
    shifted = first and used[1:].all() and len(names) > 2
    if background or shifted:
        yield Finding(
            what=f"the first class, {names[0]}, never occurs, and all others do: "
            + ("it is the background, which detectors here do not list" if background else "labels may be off by one")
            + ".",
            measured={"labels_of_class_0": 0, "labels": int(total.sum())},
            evidence=[f"class list: {listed(names)}"],
            fix="remove the class from the list and subtract 1 from all labels"
            if background
            else "compare a few labels with the boxes in analysis.html; if they are counted from 1, subtract 1",
        )
        return
    yield Finding(
        what=f"{share(len(unused), len(names), 'classes of the list')} never occur: {listed(unused)}.",
        broken=len(unused) > limit("unused_classes") * len(names),
        measured={"unused": len(unused), "classes": len(names)},
        fix="use the list of this dataset's classes: labels of another list have different meanings",
    )


def _spellings(total: Counts, names: Sequence[str]) -> Iterator[Finding]:
    """Yields names that are probably the same class, or none."""
    for place, name in enumerate(names):
        if stands_for_missing(name):
            yield Finding(
                what=f'the class "{name}" stands for a missing label.',
                broken=False,
                measured={name: int(total[place])},
                fix="leave these images out, or rename the class",
            )
    plain = [_plain(name) for name in names]
    for here, there in _differing_by_a_letter(plain):
        first, one, count = names[here], plain[here], int(total[here])
        second, other, others = names[there], plain[there], int(total[there])
        few, many = sorted((count, others))
        near = (
            min(len(one), len(other)) >= limit("long_name")
            and 0 < few < limit("rare_spelling") * many
            and not any(letter.isdigit() or letter in SIGNS for letter in one + other)
            and difflib.SequenceMatcher(None, one, other).ratio() > limit("similar_names")
        )
        if near or one == other != "":
            yield Finding(
                what=f'the classes "{first}" and "{second}" are probably one class in two spellings.',
                measured={first: count, second: others},
                fix="use one spelling in all annotations",
            )


def _plain(name: str) -> str:
    """Returns a name without case and without separators of words; of a number, its value.

    Separators of numbers and other signs remain, and so does the case of single letters.
    """
    name = name.strip()
    if len(name) < 2:
        return name
    return as_number(name) or _SEPARATORS.sub("", name.casefold().replace("_", " "))


def _differing_by_a_letter(names: Sequence[str]) -> list[tuple[int, int]]:
    """Returns pairs of names that are equal, or equal without one letter of each, in order.

    Thousands of names are compared.
    """
    places, pairs = defaultdict[str, list[int]](list), set[tuple[int, int]]()
    for place, name in enumerate(names):
        shortened = {name[:at] + name[at + 1 :] for at in range(len(name))} if len(name) <= LONGEST_NAME else set[str]()
        for key in {name, *shortened}:
            alike = places[key]
            pairs.update((other, place) for other in alike[:ALIKE])
            alike.append(place)
    return sorted(pairs)


def _shifted(by_role: Mapping[str, Counts], names: Sequence[str]) -> list[Finding]:
    """Returns a split whose labels are those of the training split, shifted."""
    classes = len(names)
    if classes < 3 or TRAIN not in by_role:
        return []
    train, findings = by_role[TRAIN][:classes], []
    for role, each in by_role.items():
        here = each[:classes]
        if role == TRAIN or min(here.sum(), train.sum()) < limit("compared_labels"):
            continue
        distances = {
            shift: float(np.abs(np.roll(here, shift) / here.sum() - train / train.sum()).sum() / 2)
            for shift in (0, -1, 1)
        }
        best = min(distances, key=lambda shift: distances[shift])
        far, explained = distances[0] > limit("shifted_distance"), limit("shift_explains") * distances[0]
        if best and far and distances[best] < explained:
            findings.append(
                Finding(
                    role=role,
                    what="labels are off by one: the frequencies of the classes are those of train, shifted.",
                    measured={"distance_as_read": distances[0], "distance_shifted": distances[best]},
                    evidence=[
                        f"{name}: {percent(first, 1)} in train, {percent(second, 1)} in {role}"
                        for name, first, second in list(
                            zip(names, train / train.sum(), here / here.sum(), strict=True)
                        )[:5]
                    ],
                    fix=f"{'subtract 1 from' if best < 0 else 'add 1 to'} all labels of {role}",
                )
            )
    return findings


SWAPPED_CLASSES = 80
"""How many classes are compared with each other; as many as COCO has."""
SPREAD = 1.4826
"""Standard deviation of a normal distribution per median absolute deviation."""
LARGEST = 8.0
"""Largest evidence of one object, in nats: single odd sizes decide nothing."""


def swapped_classes(splits: Mapping[str, Dataset]) -> Iterator[Finding]:
    """Returns swapped pairs of the most frequent classes in all splits together.

    The splits have objects, and the same classes.
    """
    images = in_order(splits)
    objects = [split.objects[index] for _, split, index in images]
    class_names = next(iter(splits.values())).class_names
    place = np.repeat(np.arange(len(objects)), [len(each) for each in objects])
    labels = np.concatenate([each.labels for each in objects])
    boxes = np.concatenate([each.boxes_yxyx.astype(np.float64) for each in objects])
    sides = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0))
    frequent = np.bincount(labels, minlength=len(class_names))
    known = [label for label in np.argsort(-frequent, kind="stable") if frequent[label] >= limit("swapped_objects")]
    members = {label: np.flatnonzero(labels == label) for label in sorted(known[:SWAPPED_CLASSES])}
    for one, other in itertools.combinations(members, 2):
        chosen = np.sort(np.concatenate([members[one], members[other]]))
        stretch = _swapped(labels[chosen] == one, sides[chosen])
        if stretch is None:
            continue
        start, end, agree = stretch
        rows = place[chosen][start:end]
        count = len(np.unique(rows))
        if count < limit("gap_images"):
            continue
        names = class_names[one], class_names[other]
        yield Finding(
            what=f"{names[0]} and {names[1]} are swapped in {count:,} consecutive images: there, "
            f"{share(agree, end - start, 'objects')} have the size that the other class has elsewhere.",
            measured={"images": count, "objects": end - start},
            evidence=[f"from {images[rows[0]][0]} to {images[rows[-1]][0]}"],
            fix=f"swap {names[0]} and {names[1]} in these annotations: they were probably made with a class "
            "list in a different order",
        )


def _swapped(first: npt.NDArray[np.bool_], sides: npt.NDArray[np.float64]) -> tuple[int, int, int] | None:
    """Returns a stretch of objects with swapped labels.

    Args:
        first: whether each object is of the first of two classes, bool [n], in the order of images.
        sides: logarithms of the sides of the boxes, float64 [n, 2].

    Returns:
        Start and end of the stretch, and how many of its objects have the size of the other class; None if there is no
        clear one.
    """
    likelihoods = []
    for members in (first, ~first):
        middle = np.median(sides[members], axis=0)
        spread = np.maximum(SPREAD * np.median(np.abs(sides[members] - middle), axis=0), 0.1)
        likelihoods.append((-(((sides - middle) / spread) ** 2) / 2 - np.log(spread)).sum(axis=1))
    own, others = np.where(first, likelihoods, likelihoods[::-1])
    evidence = np.clip(others - own, -LARGEST, LARGEST)
    start, end, _ = largest_sum(evidence)
    part = evidence[start:end]
    outside = np.concatenate([evidence[:start], evidence[end:]])
    clear = len(part) >= limit("swapped_objects") and (part > 0).mean() >= limit("swapped_share")
    if not clear or not len(outside) or (outside > 0).mean() > 1 - limit("swapped_share"):
        return None
    return start, end, int((part > 0).sum())
