"""The links after the boxes: whether labels mean the classes of the list, and whether there are enough objects."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfeff.data.dataset import Dataset
from tfeff.workbench.diagnosis import exchanged, gaps
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


def check_labels(splits: Mapping[str, Dataset]) -> Link:
    """Checks labels against the class list."""
    names = next(iter(splits.values())).class_names
    by_role = {role: counts(images) for role, images in splits.items() if images.num_classes == len(names)}
    total = np.sum(list(by_role.values()), axis=0)
    findings = list[Finding]()
    findings += _different_lists(splits)
    if total.sum():
        findings += _unnamed(splits, by_role, names)
        findings += _unused(total, names, detects=next(iter(splits.values())).has_objects)
        findings += _spellings(total, names)
        findings += _shifted(by_role, names)
    alike = {role: images for role, images in splits.items() if images.class_names == names and images.has_objects}
    if alike:
        findings += exchanged.findings(alike)
    return Link(
        name="classes",
        question="do the labels mean the classes of the list?",
        findings=sorted(findings, key=lambda each: not each.broken),
        measured={
            "classes": len(names),
            "labels": {
                role: {name: int(count) for name, count in zip(names, each, strict=False)}
                for role, each in by_role.items()
            },
        },
    )


def check_objects(splits: Mapping[str, Dataset]) -> Link:
    """Checks whether there is enough to learn, and whether splits have the same classes."""
    train = splits[TRAIN]
    names, findings = train.class_names, list[Finding]()
    splits = {role: images for role, images in splits.items() if images.class_names == names}
    by_role = {role: counts(images)[:-2] for role, images in splits.items()}
    for role, images in splits.items():
        if not images.has_objects:
            continue
        empty = [name for name, each in zip(images.ids, images.objects, strict=True) if not len(each)]
        if empty:
            findings.append(
                Finding(
                    what=f"{role}: {share(len(empty), len(images))} images have no objects.",
                    broken=len(empty) > limit("empty_images") * len(images),
                    measured={"images": len(empty), "of": len(images)},
                    evidence=[listed(empty)],
                    fix="check that annotation files have the names of their images and that their objects are valid; "
                    "images that really show nothing are useful, as a minority",
                )
            )
    if train.has_objects:
        findings += gaps.findings(splits)
    images_of = {role: _images_of_classes(images) for role, images in splits.items()}
    total = np.sum(list(images_of.values()), axis=0)
    train_share = len(train) / sum(map(len, splits.values()))
    for role in splits:
        if role == TRAIN:
            continue
        never = [c for c in range(len(names)) if by_role[role][c] and not by_role[TRAIN][c]]
        chance = {c: (1 - train_share) ** float(total[c]) for c in never}
        if never:
            findings.append(
                Finding(
                    what=f"classes that occur in {role} but never in train: {listed([names[c] for c in never])}.",
                    broken=min(chance.values()) * len(names) < limit("split_chance"),
                    measured={"objects": int(sum(by_role[role][c] for c in never)), "chance": min(chance.values())},
                    evidence=[f"{names[c]}: {by_role[role][c]:,} in {role}, 0 in train" for c in never[:5]],
                    fix="draw the splits at random from all images, so that each has every class",
                )
            )
        others = total - images_of[role]
        part = len(splits[role]) / (len(splits[role]) + len(train))
        lost = [c for c in range(len(names)) if by_role[TRAIN][c] and not by_role[role][c]]
        chance = {c: (1 - part) ** float(others[c]) for c in lost}
        if lost and min(chance.values()) * len(names) < limit("split_chance"):
            gone = [c for c in lost if chance[c] * len(names) < limit("split_chance")]
            findings.append(
                Finding(
                    what=f"classes that occur in train but never in {role}: {listed([names[c] for c in gone])}.",
                    measured={"objects": int(sum(by_role[TRAIN][c] for c in gone)), "chance": min(chance.values())},
                    evidence=[f"{names[c]}: {by_role[TRAIN][c]:,} in train, 0 in {role}" for c in gone[:5]],
                    fix="draw the splits at random from all images, so that each has every class",
                )
            )
    of_train = by_role[TRAIN]
    present = np.flatnonzero(of_train)
    rare = [names[c] for c in present if of_train[c] < limit("few_objects")]
    if rare and len(present) > 1:
        findings.append(
            Finding(
                what=f"{share(len(rare), len(names))} classes have fewer than {limit('few_objects'):.0f} examples in "
                f"train: {listed(rare)}.",
                broken=False,
                measured={"classes": len(rare)},
                fix="expect no detections of these classes, or collect more",
            )
        )
    if len(present) > 1 and of_train[present].max() > 100 * of_train[present].min():
        findings.append(
            Finding(
                what=f"the most frequent class ({names[int(of_train.argmax())]}) has more than 100 times the examples "
                "of the rarest.",
                broken=False,
                measured={"most": int(of_train.max()), "least": int(of_train[present].min())},
            )
        )
    return Link(
        name="objects",
        question="are there enough objects of every class in every split?",
        findings=sorted(findings, key=lambda each: not each.broken),
        measured={"examples": {role: int(each.sum()) for role, each in by_role.items()}},
    )


def _images_of_classes(images: Dataset) -> Counts:
    """Images in which each class occurs, int64 [classes]."""
    found = np.zeros(images.num_classes, np.int64)
    for each in labels(images):
        found[[c for c in np.unique(each) if 0 <= c < len(found)]] += 1
    return found


def _different_lists(splits: Mapping[str, Dataset]) -> list[Finding]:
    """Splits with other classes than the training split."""
    names = splits[TRAIN].class_names
    return [
        Finding(
            what=f"{role}: its class list differs from that of train, so its labels have other meanings.",
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
        shifted = (above and not below and first_unused) or (below and not above and last_unused)
        kind = "labels are off by one" if shifted else "labels are not in the class list"
        direction = (
            "they are counted from 1, and the class list from 0" if above else "they start before the class list"
        )
        detail = (
            f"{direction}: {share(below + above, int(each.sum()))} labels are outside of the list, and its "
            f"{'first' if above else 'last'} class, {names[0] if above else names[-1]}, never occurs"
            if shifted
            else f"{share(below + above, int(each.sum()))} labels are outside of the {len(names)} classes"
        )
        findings.append(
            Finding(
                what=f"{role}: {kind}: {detail}.",
                broken=bool(shifted) or below + above > limit("unnamed_labels") * int(each.sum()),
                measured={"labels_below": below, "labels_above": above, "labels": int(each.sum())},
                evidence=[example] if example else [],
                fix="subtract 1 from all labels, or correct the list of class names"
                if shifted and above
                else "add 1 to all labels, or correct the list of class names"
                if shifted
                else "complete the list of class names; objects without a class are dropped",
            )
        )
    return findings


def _unused(total: Counts, names: Sequence[str], *, detects: bool) -> list[Finding]:
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
            what=f"{share(len(unused), len(names))} classes of the list never occur: {listed(unused)}.",
            broken=len(unused) > limit("unused_classes") * len(names),
            measured={"unused": len(unused), "classes": len(names)},
            fix="use the list of this dataset's classes: labels of another list have other meanings",
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
                min(len(plain[first]), len(plain[second])) >= 5
                and few < limit("rare_spelling") * many
                and few > 0
                and not any(letter.isdigit() for letter in plain[first] + plain[second])
                and difflib.SequenceMatcher(None, plain[first], plain[second]).ratio() > 0.9
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
        if role == TRAIN or here.sum() < 50 or train.sum() < 50:
            continue
        distances = {
            shift: float(np.abs(np.roll(here, shift) / here.sum() - train / train.sum()).sum() / 2)
            for shift in (0, -1, 1)
        }
        best = min(distances, key=lambda shift: distances[shift])
        if best and distances[0] > limit("shifted_distance") and distances[best] < distances[0] / 3:
            findings.append(
                Finding(
                    what=f"{role}: labels are off by one: the frequencies of the classes are those of train, shifted.",
                    measured={"distance_as_read": distances[0], "distance_shifted": distances[best]},
                    evidence=[
                        f"{name}: {count / train.sum():.1%} in train, {other / here.sum():.1%} in {role}"
                        for name, count, other in list(zip(names, train, here, strict=True))[:5]
                    ],
                    fix=f"{'subtract 1 from' if best < 0 else 'add 1 to'} all labels of {role}",
                )
            )
    return findings
