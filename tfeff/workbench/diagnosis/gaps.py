"""Annotations that are missing: classes that nobody labeled in a part of the images, and images without annotations.

Datasets that are merged, or labeled by several people, often disagree on what is labeled. A network learns that the
objects that were left out are background.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfeff.data.dataset import Dataset
from tfeff.reporting.tables import percent
from tfeff.workbench.diagnosis.finding import Finding, listed
from tfeff.workbench.diagnosis.stretches import longest, natural
from tfeff.workbench.diagnosis.thresholds import limit


def findings(splits: Mapping[str, Dataset]) -> list[Finding]:
    """Gaps in the annotations of all splits together, whose images are put in the order of their names.

    Args:
        splits: images with objects, by role, with the same classes.
    """
    pairs = [
        (name, objects.labels)
        for images in splits.values()
        for name, objects in zip(images.ids, images.objects, strict=True)
    ]
    pairs.sort(key=lambda pair: natural(pair[0]))
    names = [name for name, _ in pairs]
    class_names = next(iter(splits.values())).class_names
    present = np.zeros((len(pairs), len(class_names)), bool)
    for row, (_, labels) in enumerate(pairs):
        present[row, [label for label in np.unique(labels) if 0 <= label < len(class_names)]] = True
    return [*_unlabeled_classes(names, present, class_names), *_last_without_objects(names, present)]


def _unlabeled_classes(
    names: Sequence[str], present: npt.NDArray[np.bool_], class_names: Sequence[str]
) -> list[Finding]:
    """Classes that occur in nearly every image with certain other classes, but in none of a long stretch of images."""
    found = []
    for label in np.flatnonzero(present.sum(axis=0)).tolist():
        start, end = longest(~present[:, label])
        inside = np.zeros(len(names), bool)
        inside[start:end] = True
        company = present[inside].any(axis=0)
        alike = present[:, company].any(axis=1)
        missing, elsewhere = int((alike & inside).sum()), alike & ~inside
        if missing < max(limit("gap_images"), limit("gap_share") * len(names)) or not elsewhere.any():
            continue
        rate = float(present[elsewhere, label].mean())
        if rate < limit("gap_rate") or elsewhere.sum() < limit("gap_images"):
            continue
        name = class_names[label]
        found.append(
            Finding(
                what=f"no {name} is labeled in {end - start:,} consecutive images "
                f"({percent((end - start) / len(names))} of all), although {percent(rate)} of comparable images "
                "elsewhere have one: it was probably not labeled there, and is learned as background.",
                measured={"images_in_a_row": end - start, "comparable": missing, "rate_elsewhere": round(rate, 3)},
                evidence=[f"from {names[start]} to {names[end - 1]}"],
                fix=f"label every {name} in these images, or leave them out of training and evaluation",
            )
        )
    return found


def _last_without_objects(names: Sequence[str], present: npt.NDArray[np.bool_]) -> list[Finding]:
    """Images without objects that are exactly the last ones of a numbering."""
    empty: npt.NDArray[np.bool_] = ~np.any(present, axis=1)
    count = int(empty.sum())
    numbers = [re.findall(r"\d+", name.rpartition("/")[2]) for name in names]
    numbered = all(numbers) and len({name.rstrip("0123456789") for name in map(_stem, names)}) == 1
    values = [int(each[-1]) for each in numbers] if numbered else []
    consecutive = numbered and len(names) > count > 1 and values == list(range(values[0], values[0] + len(values)))
    if not consecutive or not empty[-count:].all():
        return []
    return [
        Finding(
            what=f"the {count} images without objects are the last ones of the numbering: images and annotations may "
            "have been numbered separately, so that many annotations belong to other images.",
            broken=False,
            measured={"images": count},
            evidence=[listed(list(names[-count:]))],
            fix="look at objects.png; if boxes and objects do not match, rename the originals by their common names",
        )
    ]


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
