"""Labels and boxes that the network of a run contradicts: they are probably annotated wrongly, or hard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tfeff.analysis.diagnosis.predicted_labels import ClassifierPredictions
from tfeff.analysis.diagnosis.predicted_objects import DetectorPredictions
from tfeff.analysis.diagnosis.subject import TRAIN
from tfeff.data.dataset import Dataset
from tfeff.evaluation import label_errors
from tfeff.evaluation.box_errors import KINDS, box_errors

LABEL = "label"
SECTIONS = {LABEL: "a confident prediction of another class: the label may be wrong", **KINDS}
"""Kinds of suspects, and what they are."""


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
    """

    split: str
    image: int
    text: str
    suspicion: float
    annotated: npt.NDArray[np.float64] | None = None
    detected: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Suspects:
    """The suspects of a run.

    Attributes:
        found: kind -> suspects of all splits, the most suspicious first.
        images: split -> images that the network predicted.
    """

    found: Mapping[str, Sequence[Suspect]] = field(default_factory=dict)
    images: Mapping[str, Dataset] = field(default_factory=dict)


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
            text = f"labeled {names[0]}, {100 * own:.0f} %; likely {names[1]}, {100 * other:.0f} %"
            found.append(Suspect(split, index, text, 1 - own))
    return Suspects({LABEL: sorted(found, key=lambda each: -each.suspicion)}, examined)


def of_boxes(splits: Mapping[str, Dataset], predictions: Mapping[str, DetectorPredictions]) -> Suspects:
    """By the detections of all splits: detectors hardly memorize single boxes.

    Args:
        splits: the predicted images of each split.
    """
    found = dict[str, list[Suspect]]({kind: [] for kind in KINDS})
    for split, each in predictions.items():
        images = splits[split]
        for kind, suspects in box_errors(each.detections, each.objects, threshold=each.threshold).items():
            for one in suspects:
                detections, objects = each.detections[one.image], each.objects[one.image]
                scale = np.array([*each.sizes[one.image]] * 2, np.float64)
                texts, boxes = [], list[npt.NDArray[np.float64] | None]([None, None])
                if one.annotated is not None:
                    texts.append(f"annotated {images.class_names[objects.labels[one.annotated]]}")
                    boxes[0] = objects.boxes_yxyx[one.annotated] / scale
                if one.detected is not None:
                    name, score = images.class_names[detections.labels[one.detected]], detections.scores[one.detected]
                    texts.append(f"detected {name}, {100 * score:.0f} %")
                    boxes[1] = detections.boxes_yxyx[one.detected] / scale
                found[kind].append(Suspect(split, one.image, "; ".join(texts), one.suspicion, *boxes))
    ranked = {kind: sorted(each, key=lambda suspect: -suspect.suspicion) for kind, each in found.items()}
    return Suspects(ranked, splits)
