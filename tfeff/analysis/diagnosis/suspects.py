"""Labels and boxes that the network of a run contradicts: they are probably annotated wrongly, or hard.

Only images that the network was not trained on are examined: a network learns wrong annotations, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff.analysis.diagnosis.predicted_labels import ClassifierPredictions
from tfeff.analysis.diagnosis.predicted_objects import DetectorPredictions
from tfeff.analysis.diagnosis.subject import TRAIN
from tfeff.boxes import yxyx_from_relative
from tfeff.data.dataset import Dataset
from tfeff.evaluation import label_errors
from tfeff.evaluation.box_errors import KINDS, BoxSuspect, box_errors
from tfeff.reporting.tables import percent

LABEL = "label"
SECTIONS = {LABEL: "a confident prediction of another class: the label may be wrong", **KINDS}
"""Kinds of suspects, and what they are."""
SIDES = ("top", "left", "bottom", "right")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Suspect:
    """A suspicious label or box.

    Attributes:
        split: the split of its image.
        image: index of the image among those that the network predicted.
        text: what is annotated and what is predicted.
        suspicion: score in [0, 1] for ranking within a kind.
        annotated: box of the object relative to the image, yxyx; None if there is none.
        detected: box of the detection that contradicts it; None if there is none.
        annotated_class: the given class; None if nothing is annotated.
        likely_class: the predicted class; None if nothing is predicted.
    """

    split: str
    image: int
    text: str
    suspicion: float
    annotated: Floats | None = None
    detected: Floats | None = None
    annotated_class: str | None = None
    likely_class: str | None = None


@dataclass(frozen=True, eq=False)
class Suspects:
    """The suspects of a run.

    Attributes:
        found: kind -> suspects of all splits, the most suspicious first.
        images: split -> images that the network predicted.
        why_none: why none were looked for; empty if they were, or the run has no network.
    """

    found: Mapping[str, Sequence[Suspect]] = field(default_factory=dict)
    images: Mapping[str, Dataset] = field(default_factory=dict)
    why_none: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """Returns a row of a table for each suspect: the first of each kind, the second of each kind, and so on.

        Suspicions of different kinds cannot be compared. Boxes are in pixels of the image.
        """
        ranked = [
            (rank, order, kind, each)
            for order, (kind, found) in enumerate(self.found.items())
            for rank, each in enumerate(found, 1)
        ]
        return [
            {
                "rank": rank,
                "kind": kind,
                "split": each.split,
                "image": self.images[each.split].ids[each.image],
                "suspicion": round(each.suspicion, 4),
                "reason": f"{each.text}: {SECTIONS[kind]}",
                "annotated": each.annotated_class,
                "likely": each.likely_class,
                **self._box(each, each.annotated, "annotated"),
                **self._box(each, each.detected, "detected"),
            }
            for rank, _, kind, each in sorted(ranked, key=lambda row: row[:2])
        ]

    def _box(self, suspect: Suspect, box: Floats | None, what: str) -> dict[str, float | None]:
        """Returns the columns of a box; none for labels."""
        images = self.images[suspect.split]
        if not images.has_objects:
            return {}
        columns = [f"{what}_{side}" for side in SIDES]
        if box is None:
            return dict.fromkeys(columns)
        known = len(images.sizes) > 0
        height, width = images.sizes[suspect.image] if known else images.read(suspect.image).shape[:2]
        pixels = yxyx_from_relative(box, (int(height), int(width)))
        return dict(zip(columns, pixels.round(1).tolist(), strict=True))


def of_labels(splits: Mapping[str, Dataset], predictions: Mapping[str, ClassifierPredictions]) -> Suspects:
    """Finds suspects by confident learning, on images that the network was not trained on.

    Args:
        splits: the predicted images of each split.
    """
    found, examined = list[Suspect](), dict[str, Dataset]()
    for split, each in predictions.items():
        if split == TRAIN or not np.isfinite(each.probabilities).all():
            continue  # a classifier memorizes the labels of its training images
        images, errors = splits[split], label_errors(each.labels, each.probabilities)
        examined[split] = images
        for index, likely in zip(errors.suspects.tolist(), errors.likely.tolist(), strict=True):
            own, other = each.probabilities[index, [each.labels[index], likely]].tolist()
            names = images.class_names[each.labels[index]], images.class_names[likely]
            text = f"labeled {names[0]} ({percent(own)}); likely {names[1]} ({percent(other)})"
            found.append(Suspect(split, index, text, 1 - own, annotated_class=names[0], likely_class=names[1]))
    return Suspects({LABEL: sorted(found, key=lambda each: -each.suspicion)}, examined)


def of_boxes(splits: Mapping[str, Dataset], predictions: Mapping[str, DetectorPredictions]) -> Suspects:
    """Finds suspects by the detections in images that the network was not trained on.

    Args:
        splits: the predicted images of each split.
    """
    found = dict[str, list[Suspect]]({kind: [] for kind in KINDS})
    examined = {split: images for split, images in splits.items() if split != TRAIN}
    for split, images in examined.items():
        each = predictions[split]
        for kind, suspects in box_errors(each.detections, each.objects, threshold=each.threshold).items():
            found[kind] += [_of_box(split, images.class_names, each, one) for one in suspects]
    ranked = {kind: sorted(each, key=lambda suspect: -suspect.suspicion) for kind, each in found.items()}
    return Suspects(ranked, examined)


def _of_box(split: str, class_names: Sequence[str], predicted: DetectorPredictions, found: BoxSuspect) -> Suspect:
    detections, objects = predicted.detections[found.image], predicted.objects[found.image]
    height, width = predicted.sizes[found.image]
    scale = np.array([height, width] * 2, np.float64)
    texts, annotated, detected, given, likely = list[str](), None, None, None, None
    if found.annotated is not None:
        given, annotated = class_names[objects.labels[found.annotated]], objects.boxes_yxyx[found.annotated] / scale
        texts.append(f"annotated {given}")
    if found.detected is not None:
        likely = class_names[detections.labels[found.detected]]
        detected = detections.boxes_yxyx[found.detected] / scale
        texts.append(f"detected {likely} ({percent(detections.scores[found.detected])})")
    return Suspect(split, found.image, "; ".join(texts), found.suspicion, annotated, detected, given, likely)
