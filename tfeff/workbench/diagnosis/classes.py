"""The link of the classes: whether labels mean the classes of the list."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfeff.data.dataset import Dataset
from tfeff.reporting.tables import percent
from tfeff.workbench.diagnosis import swapped
from tfeff.workbench.diagnosis.finding import Finding, Link, listed, share
from tfeff.workbench.diagnosis.subject import TRAIN
from tfeff.workbench.diagnosis.thresholds import limit

Counts = npt.NDArray[np.int64]
BACKGROUND = ("background", "__background__", "_background_", "bg", "none", "nothing", "unlabeled")


def labels(images: Dataset) -> list[npt.NDArray[np.int64]]:
    """The labels of each image as they are written, also those outside of the class list."""
    if images.written:
        return [each.labels for each in images.written]
    if images.has_objects:
        return [each.labels.astype(np.int64) for each in images.objects]
    return [np.array([label], np.int64) for label in images.labels]


def counts(images: Dataset) -> Counts:
    """Labels of each class, int64 [classes + 2]: those below the first class are last but one, those after the last
    class are last."""
    classes = images.num_classes
    found = np.concatenate([np.zeros(0, np.int64), *labels(images)])
    places = np.where(found < 0, classes, np.where(found >= classes, classes + 1, found))
    return np.bincount(places, minlength=classes + 2)


def check(splits: Mapping[str, Dataset]) -> Link:
    """Checks labels against the class list."""
    names = next(iter(splits.values())).class_names
    by_role = {role: counts(images) for role, images in splits.items() if images.num_classes == len(names)}
    total = np.sum(list(by_role.values()), axis=0)
    findings = list[Finding]()
    findings += _different_lists(splits)
    if total.sum():
        findings += _unnamed(splits, by_role, names)
        findings += _unused(total, names)
        findings += _spellings(total, names)
        findings += _shifted(by_role, names)
    alike = {role: images for role, images in splits.items() if images.class_names == names and images.has_objects}
    if alike:
        findings += swapped.findings(alike)
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


def _different_lists(splits: Mapping[str, Dataset]) -> list[Finding]:
    """Splits with other classes than the training split."""
    names = splits[TRAIN].class_names
    return [
        Finding(
            role=role,
            what="its class list differs from that of train, so its labels have different meanings.",
            measured={"classes_in_train": len(names), f"classes_in_{role}": len(images.class_names)},
            evidence=[f"train: {listed(names)}", f"{role}: {listed(images.class_names)}"],
            fix="use one list of classes, in one order, for all splits",
        )
        for role, images in splits.items()
        if images.class_names != names
    ]


def _unnamed(splits: Mapping[str, Dataset], by_role: Mapping[str, Counts], names: Sequence[str]) -> list[Finding]:
    """Labels outside of the class list."""
    findings = []
    for role, each in by_role.items():
        below, above = int(each[-2]), int(each[-1])
        if not below + above:
            continue
        example = splits[role].defects.examples.get("class without a name", "")
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
        findings.append(
            Finding(
                role=role,
                what=what,
                broken=shifted or below + above > limit("unnamed_labels") * int(each.sum()),
                measured={"labels_below": below, "labels_above": above, "labels": int(each.sum())},
                evidence=[example] if example else [],
                fix=fix,
            )
        )
    return findings


def _unused(total: Counts, names: Sequence[str]) -> list[Finding]:
    """Classes of the list that never occur."""
    used = total[: len(names)] > 0
    unused = [name for name, occurs in zip(names, used, strict=True) if not occurs]
    if not unused or total[-2:].sum():
        return []
    first = not used[0] and len(names) > 1
    background = first and (names[0].strip().lower() in BACKGROUND or (names[0] == "0" and used[1:].all()))
    shifted = first and used[1:].all() and len(names) > 2
    if background or shifted:
        return [
            Finding(
                what=f"the first class, {names[0]}, never occurs, and all others do: "
                + (
                    "it is the background, which detectors here do not list"
                    if background
                    else "labels may be off by one"
                )
                + ".",
                measured={"labels_of_class_0": 0, "labels": int(total.sum())},
                evidence=[f"class list: {listed(names)}"],
                fix="remove the class from the list and subtract 1 from all labels"
                if background
                else "compare a few labels with objects.png; if they are counted from 1, subtract 1",
            )
        ]
    return [
        Finding(
            what=f"{share(len(unused), len(names), 'classes of the list')} never occur: {listed(unused)}.",
            broken=len(unused) > limit("unused_classes") * len(names),
            measured={"unused": len(unused), "classes": len(names)},
            fix="use the list of this dataset's classes: labels of another list have different meanings",
        )
    ]


def _spellings(total: Counts, names: Sequence[str]) -> list[Finding]:
    """Names that are probably the same class."""
    findings = []
    plain = ["".join(letter for letter in name.casefold() if letter.isalnum()) for name in names]
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            few, many = sorted((int(total[first]), int(total[second])))
            same = plain[first] == plain[second] and bool(plain[first])
            near = (
                min(len(plain[first]), len(plain[second])) >= limit("long_name")
                and few < limit("rare_spelling") * many
                and few > 0
                and not any(letter.isdigit() for letter in plain[first] + plain[second])
                and difflib.SequenceMatcher(None, plain[first], plain[second]).ratio() > limit("similar_names")
            )
            if same or near:
                findings.append(
                    Finding(
                        what=f'the classes "{names[first]}" and "{names[second]}" are probably one class in two '
                        "spellings.",
                        measured={names[first]: int(total[first]), names[second]: int(total[second])},
                        fix="use one spelling in all annotations",
                    )
                )
    return findings


def _shifted(by_role: Mapping[str, Counts], names: Sequence[str]) -> list[Finding]:
    """A split whose labels are those of the training split, shifted."""
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
        if (
            best
            and distances[0] > limit("shifted_distance")
            and distances[best] < limit("shift_explains") * distances[0]
        ):
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
