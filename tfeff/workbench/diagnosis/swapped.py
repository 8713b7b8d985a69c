"""Classes that are swapped in a part of the images, as when annotators use class lists in different orders.

The sizes of boxes give it away, if the classes differ in size: in a stretch of images, in the order of their names, the
objects of one class have the sizes that the other class has elsewhere.
"""

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfeff.data.dataset import Dataset
from tfeff.workbench.diagnosis.finding import Finding, share
from tfeff.workbench.diagnosis.stretches import largest_sum, natural
from tfeff.workbench.diagnosis.thresholds import limit

SPREAD = 1.4826
"""Standard deviation of a normal distribution per median absolute deviation."""
LARGEST = 8.0
"""Largest evidence of one object, in nats: single odd sizes decide nothing."""


def findings(splits: Mapping[str, Dataset]) -> list[Finding]:
    """Swapped pairs of classes in all splits together.

    Args:
        splits: images with objects, by role, with the same classes.
    """
    images = sorted(
        (
            (natural(name), name, objects.labels, objects.boxes_yxyx.astype(np.float64))
            for split in splits.values()
            for name, objects in zip(split.ids, split.objects, strict=True)
        ),
        key=lambda image: image[0],
    )
    class_names = next(iter(splits.values())).class_names
    place = np.concatenate([np.full(len(labels), index) for index, (_, _, labels, _) in enumerate(images)])
    labels = np.concatenate([labels for _, _, labels, _ in images])
    boxes = np.concatenate([boxes for _, _, _, boxes in images])
    sides = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0))
    known = [label for label in range(len(class_names)) if (labels == label).sum() >= limit("swapped_objects")]
    found = []
    for one, other in itertools.combinations(known, 2):
        chosen = (labels == one) | (labels == other)
        stretch = _swapped(labels[chosen] == one, sides[chosen])
        if stretch is None:
            continue
        start, end, agree = stretch
        rows = place[chosen][start:end]
        count = len(np.unique(rows))
        if count < limit("gap_images"):
            continue
        names = class_names[one], class_names[other]
        found.append(
            Finding(
                what=f"{names[0]} and {names[1]} are swapped in {count:,} consecutive images: there, "
                f"{share(agree, end - start, 'objects')} have the size that the other class has elsewhere.",
                measured={"images": count, "objects": end - start},
                evidence=[f"from {images[rows[0]][1]} to {images[rows[-1]][1]}"],
                fix=f"swap {names[0]} and {names[1]} in these annotations: they were probably made with a class "
                "list in a different order",
            )
        )
    return found


def _swapped(first: npt.NDArray[np.bool_], sides: npt.NDArray[np.float64]) -> tuple[int, int, int] | None:
    """A stretch of objects with swapped labels.

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
