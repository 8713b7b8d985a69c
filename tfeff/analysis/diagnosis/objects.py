"""The link of the objects: whether there are enough to learn, and whether all splits have the same classes.

Annotations may be missing: datasets that are merged, or labeled by several people, often disagree on what is labeled. A
network learns that the objects that were left out are background.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfeff.analysis.diagnosis.annotations import in_order, longest
from tfeff.analysis.diagnosis.classes import Counts, counts, labels
from tfeff.analysis.diagnosis.finding import Finding, Link, listed, share
from tfeff.analysis.diagnosis.subject import TRAIN
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.data.dataset import Dataset
from tfeff.reporting.tables import percent


def check_objects(splits: Mapping[str, Dataset], *, balanced: bool = False) -> Link:
    """Checks the objects; of images with one label each, these are the images.

    Args:
        splits: images by role.
        balanced: whether the training samples all classes equally often.
    """
    train = splits[TRAIN]
    names, findings = train.class_names, list[Finding]()
    splits = {role: images for role, images in splits.items() if images.class_names == names}
    by_role = {role: counts(images)[:-2] for role, images in splits.items()}
    for role, images in splits.items():
        findings += _empty(role, images)
    if train.has_objects:
        findings += missing_annotations(splits)
    images_of = {role: _images_of_classes(images) for role, images in splits.items()}
    total, whole = np.sum(list(images_of.values()), axis=0), sum(map(len, splits.values()))
    for role, images in splits.items():
        if role != TRAIN:
            missing_in_train = (1 - len(train) / whole) ** total.astype(float)
            findings += _only_in(role, TRAIN, by_role, missing_in_train, names, note=True)
            part = len(images) / (len(images) + len(train))
            missing_here = (1 - part) ** (total - images_of[role]).astype(float)
            findings += _only_in(TRAIN, role, by_role, missing_here, names, note=False)
    findings += _rare(by_role[TRAIN], names)
    if not balanced:
        findings += _imbalanced(by_role[TRAIN], names, labeled=train.has_labels)
    return Link(
        name="objects",
        question="are there enough objects of every class in every split?",
        findings=findings,
        measured={"examples": {role: int(each.sum()) for role, each in by_role.items()}},
    )


def _empty(role: str, images: Dataset) -> Iterator[Finding]:
    """Yields images without objects, and those with none but ignored ones, if a split has no others."""
    if not images.has_objects:
        return
    empty = [name for name, each in zip(images.ids, images.objects, strict=True) if not len(each)]
    if len(empty) < len(images) and all(each.ignored.all() for each in images.objects):
        yield Finding(
            role=role,
            what="all objects are difficult or crowds, which are neither learned nor counted.",
            broken=True,
            fix="remove the flags of those that should be found",
        )
    if not empty:
        return
    yield Finding(
        role=role,
        what=f"{share(len(empty), len(images), 'images')} have no objects.",
        broken=len(empty) > limit("empty_images") * len(images),
        measured={"images": len(empty), "of": len(images)},
        evidence=[listed(empty)],
        fix="check that annotation files have the names of their images and that their objects are valid; "
        "images that really show nothing are useful, as a minority",
    )


def _only_in(
    role: str, other: str, by_role: Mapping[str, Counts], chance: np.ndarray, names: Sequence[str], *, note: bool
) -> Iterator[Finding]:
    """Yields classes that occur in one split but never in another one.

    Args:
        role: the split that has them.
        other: the split that lacks them.
        by_role: objects of each class in each split, int64 [classes].
        chance: probability that a random split puts no image of a class into `other`, float64 [classes].
        note: whether classes that may be missing by chance are a note.
    """
    missing = [c for c in range(len(names)) if by_role[role][c] and not by_role[other][c]]
    unlikely = [c for c in missing if chance[c] * len(names) < limit("split_chance")]
    named = missing if note else unlikely
    if not named:
        return
    yield Finding(
        what=f"classes that occur in {role} but never in {other}: {listed([names[c] for c in named])}.",
        broken=bool(unlikely),
        measured={"objects": int(by_role[role][named].sum()), "chance": float(chance[named].min())},
        evidence=[f"{names[c]}: {by_role[role][c]:,} in {role}, 0 in {other}" for c in named[:5]],
        fix="draw the splits at random from all images, so that each has every class",
    )


def _rare(train: Counts, names: Sequence[str]) -> Iterator[Finding]:
    """Yields classes with few training objects."""
    present = np.flatnonzero(train).tolist()
    rare = [names[c] for c in present if train[c] < limit("few_objects")]
    if not rare or len(present) < 2:
        return
    yield Finding(
        what=f"{share(len(rare), len(names), 'classes')} have fewer than {limit('few_objects'):.0f} examples in "
        f"train: {listed(rare)}.",
        broken=False,
        measured={"classes": len(rare)},
        fix="expect no detections of these classes, or collect more",
    )


def _imbalanced(train: Counts, names: Sequence[str], *, labeled: bool) -> Iterator[Finding]:
    """Yields a class that is far more frequent than another."""
    present = np.flatnonzero(train)
    if len(present) < 2 or train.max() < limit("class_imbalance") * train[present].min():
        return
    most, least = int(train.argmax()), int(present[train[present].argmin()])
    yield Finding(
        what=f"the most frequent class ({names[most]}) has {train[most] / train[least]:.1f} times the examples of the "
        f"rarest ({names[least]}).",
        broken=False,
        measured={"most": int(train[most]), "least": int(train[least])},
        fix="set data.class_balanced=true, as tfeff.own_images does, to sample all classes equally often"
        if labeled
        else "expect fewer detections of rare classes, or collect more",
    )


def _images_of_classes(images: Dataset) -> Counts:
    """Returns images in which each class occurs, int64 [classes]."""
    found = np.zeros(images.num_classes, np.int64)
    written = labels(images)
    every = np.concatenate([np.zeros(0, np.int64), *written])
    owners = np.repeat(np.arange(len(written)), [len(each) for each in written])
    named = (every >= 0) & (every < len(found))
    pairs = np.unique(owners[named] * len(found) + every[named])
    return np.bincount(pairs % len(found), minlength=len(found))


def missing_annotations(splits: Mapping[str, Dataset]) -> Iterator[Finding]:
    """Yields gaps in the annotations of all splits together, whose images are put in the order of their names."""
    images = in_order(splits)
    names = [name for name, _, _ in images]
    class_names = next(iter(splits.values())).class_names
    own = [split.objects[index].labels for _, split, index in images]
    found = np.concatenate(own)
    owners = np.repeat(np.arange(len(images)), [len(each) for each in own])
    yield from _unlabeled_classes(names, owners, found, class_names)
    yield from _last_without_objects(names, np.bincount(owners, minlength=len(images)) == 0)


COMPARED_CLASSES = 200
"""How many classes are looked for in gaps of the annotations: the most frequent ones."""


def _unlabeled_classes(
    names: Sequence[str], owners: npt.NDArray[np.int64], found: npt.NDArray[np.int32], class_names: Sequence[str]
) -> Iterator[Finding]:
    """Yields classes that accompany others in nearly every image, but are missing in a long stretch of images.

    Args:
        names: image names, in order.
        owners: image of each object, ascending.
        found: class of each object.
        class_names: name of each class.
    """
    counts = np.bincount(found, minlength=len(class_names))
    for label in sorted(np.argsort(-counts, kind="stable")[: min(COMPARED_CLASSES, np.count_nonzero(counts))].tolist()):
        present = np.zeros(len(names), bool)
        present[owners[found == label]] = True
        start, end = longest(~present)
        inside = np.zeros(len(names), bool)
        inside[start:end] = True
        company = np.zeros(len(class_names), bool)
        company[found[inside[owners]]] = True
        alike = np.zeros(len(names), bool)
        alike[owners[company[found]]] = True
        missing, elsewhere = int((alike & inside).sum()), alike & ~inside
        if missing < max(limit("gap_images"), limit("gap_share") * len(names)) or not elsewhere.any():
            continue
        rate = float(present[elsewhere].mean())
        if rate < limit("gap_rate") or elsewhere.sum() < limit("gap_images"):
            continue
        name = class_names[label]
        yield Finding(
            what=f"no {name} is labeled in {end - start:,} consecutive images "
            f"({percent((end - start) / len(names))} of all), although {percent(rate)} of comparable images "
            "elsewhere have one: it was probably not labeled there, and is learned as background.",
            measured={"images_in_a_row": end - start, "comparable": missing, "rate_elsewhere": round(rate, 3)},
            evidence=[f"from {names[start]} to {names[end - 1]}"],
            fix=f"label every {name} in these images, or leave them out of training and evaluation",
        )


def _last_without_objects(names: Sequence[str], empty: npt.NDArray[np.bool_]) -> Iterator[Finding]:
    """Yields images without objects that are exactly the last ones of a numbering."""
    count = int(empty.sum())
    numbers = [re.findall(r"\d+", name.rpartition("/")[2]) for name in names]
    numbered = all(numbers) and len({(name.rpartition(".")[0] or name).rstrip("0123456789") for name in names}) == 1
    values = [int(each[-1]) for each in numbers] if numbered else []
    consecutive = numbered and len(names) > count > 1 and values == list(range(values[0], values[0] + len(values)))
    if not consecutive or not empty[-count:].all():
        return
    yield Finding(
        what=f"the {count} images without objects are the last ones of the numbering: images and annotations may "
        "have been numbered separately, so that many annotations belong to other images.",
        broken=False,
        measured={"images": count},
        evidence=[listed(list(names[-count:]))],
        fix="look at the boxes in analysis.html; if they are not on the objects, rename the originals by their common "
        "names",
    )
