"""The link of the objects: whether there are enough to learn, and whether all splits have the same classes."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.workbench.diagnosis import gaps
from tfeff.workbench.diagnosis.classes import Counts, counts, labels
from tfeff.workbench.diagnosis.finding import Finding, Link, listed, share
from tfeff.workbench.diagnosis.subject import TRAIN
from tfeff.workbench.diagnosis.thresholds import limit


def check(splits: Mapping[str, Dataset]) -> Link:
    """Checks the objects; of images with one label each, these are the images."""
    train = splits[TRAIN]
    names, findings = train.class_names, list[Finding]()
    splits = {role: images for role, images in splits.items() if images.class_names == names}
    by_role = {role: counts(images)[:-2] for role, images in splits.items()}
    for role, images in splits.items():
        findings += _empty(role, images)
    if train.has_objects:
        findings += gaps.findings(splits)
    images_of = {role: _images_of_classes(images) for role, images in splits.items()}
    total, whole = np.sum(list(images_of.values()), axis=0), sum(map(len, splits.values()))
    for role, images in splits.items():
        if role != TRAIN:
            missing_in_train = (1 - len(train) / whole) ** total.astype(float)
            findings += _only_in(role, TRAIN, by_role, missing_in_train, names, note=True)
            part = len(images) / (len(images) + len(train))
            missing_here = (1 - part) ** (total - images_of[role]).astype(float)
            findings += _only_in(TRAIN, role, by_role, missing_here, names, note=False)
    findings += _rare(by_role[TRAIN], names) + _imbalanced(by_role[TRAIN], names)
    return Link(
        name="objects",
        question="are there enough objects of every class in every split?",
        findings=findings,
        measured={"examples": {role: int(each.sum()) for role, each in by_role.items()}},
    )


def _empty(role: str, images: Dataset) -> list[Finding]:
    """Images without objects."""
    if not images.has_objects:
        return []
    empty = [name for name, each in zip(images.ids, images.objects, strict=True) if not len(each)]
    if not empty:
        return []
    return [
        Finding(
            role=role,
            what=f"{share(len(empty), len(images), 'images')} have no objects.",
            broken=len(empty) > limit("empty_images") * len(images),
            measured={"images": len(empty), "of": len(images)},
            evidence=[listed(empty)],
            fix="check that annotation files have the names of their images and that their objects are valid; "
            "images that really show nothing are useful, as a minority",
        )
    ]


def _only_in(
    role: str,
    other: str,
    by_role: Mapping[str, Counts],
    chance: np.ndarray,
    names: Sequence[str],
    *,
    note: bool,
) -> list[Finding]:
    """Classes that occur in one split but never in another one.

    Args:
        role: the split that has them.
        other: the split that lacks them.
        by_role: objects of each class in each split, int64 [classes].
        chance: probability that a random split puts no image of a class into `other`, float64 [classes].
        names: of the classes.
        note: whether classes that may be missing by chance are a note.
    """
    missing = [c for c in range(len(names)) if by_role[role][c] and not by_role[other][c]]
    unlikely = [c for c in missing if chance[c] * len(names) < limit("split_chance")]
    named = missing if note else unlikely
    if not named:
        return []
    return [
        Finding(
            what=f"classes that occur in {role} but never in {other}: {listed([names[c] for c in named])}.",
            broken=bool(unlikely),
            measured={
                "objects": int(by_role[role][named].sum()),
                "chance": float(chance[named].min()),
            },
            evidence=[f"{names[c]}: {by_role[role][c]:,} in {role}, 0 in {other}" for c in named[:5]],
            fix="draw the splits at random from all images, so that each has every class",
        )
    ]


def _rare(train: Counts, names: Sequence[str]) -> list[Finding]:
    """Classes with few training objects."""
    present = np.flatnonzero(train).tolist()
    rare = [names[c] for c in present if train[c] < limit("few_objects")]
    if not rare or len(present) < 2:
        return []
    return [
        Finding(
            what=f"{share(len(rare), len(names), 'classes')} have fewer than {limit('few_objects'):.0f} examples in "
            f"train: {listed(rare)}.",
            broken=False,
            measured={"classes": len(rare)},
            fix="expect no detections of these classes, or collect more",
        )
    ]


def _imbalanced(train: Counts, names: Sequence[str]) -> list[Finding]:
    """A class that is far more frequent than another."""
    present = train[train > 0]
    if len(present) < 2 or present.max() <= limit("class_imbalance") * present.min():
        return []
    return [
        Finding(
            what=f"the most frequent class ({names[int(train.argmax())]}) has more than "
            f"{limit('class_imbalance'):.0f} times the examples of the rarest.",
            broken=False,
            measured={"most": int(train.max()), "least": int(present.min())},
        )
    ]


def _images_of_classes(images: Dataset) -> Counts:
    """Images in which each class occurs, int64 [classes]."""
    found = np.zeros(images.num_classes, np.int64)
    for each in labels(images):
        found[[c for c in np.unique(each) if 0 <= c < len(found)]] += 1
    return found
