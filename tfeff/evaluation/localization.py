"""One report on a network that names and boxes the one object of each image.

The error is that of ILSVRC's localisation task with one guess an image (Russakovsky et al., arXiv:1409.0575, section
4.2): an answer is right where its class is the object's and its box overlaps the object's by half or more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff.boxes import paired_iou
from tfeff.errors import UserError
from tfeff.evaluation.bootstrap import bootstrap_mean, percentile_interval
from tfeff.evaluation.classification import ClassificationReport, classification_report
from tfeff.evaluation.interval import wilson_interval

LEAST_OVERLAP = 0.5
"""Intersection over union from which on a box is right."""
BINS = 20


@dataclass(frozen=True, eq=False)
class LocalizationReport:
    """What a localiser is worth on one set of images with an object each.

    Attributes:
        mean_iou: mean intersection over union of the boxes with their objects'.
        mean_iou_interval: 95 % bootstrap interval of `mean_iou` over images.
        median_iou: of the same.
        box_accuracy: share of boxes that overlap their object by LEAST_OVERLAP or more, whatever the class.
        box_accuracy_interval: its 95 % Wilson interval.
        localization_accuracy: share of images with the right class and such a box.
        localization_accuracy_interval: its 95 % Wilson interval.
        localization_error: 1 - `localization_accuracy`.
        class_iou: mean intersection over union of each class's images; NaN where there are none.
        iou_counts: int64 [BINS], images by intersection over union, in bins of equal width from 0 to 1.
        classification: the scores of the classes alone.
    """

    mean_iou: float
    mean_iou_interval: tuple[float, float]
    median_iou: float
    box_accuracy: float
    box_accuracy_interval: tuple[float, float]
    localization_accuracy: float
    localization_accuracy_interval: tuple[float, float]
    localization_error: float
    class_iou: npt.NDArray[np.float64]
    iou_counts: npt.NDArray[np.int64]
    classification: ClassificationReport

    def to_json(self) -> dict[str, Any]:
        """The report as plain dicts, lists and numbers: the classification's keys, and this one's beside them."""
        return {
            **self.classification.to_json(),
            "mean_iou": self.mean_iou,
            "mean_iou_interval": list(self.mean_iou_interval),
            "median_iou": self.median_iou,
            "box_accuracy": self.box_accuracy,
            "box_accuracy_interval": list(self.box_accuracy_interval),
            "localization_accuracy": self.localization_accuracy,
            "localization_accuracy_interval": list(self.localization_accuracy_interval),
            "localization_error": self.localization_error,
            "class_iou": [None if np.isnan(value) else float(value) for value in self.class_iou],
            "iou_counts": self.iou_counts.tolist(),
        }


def localization_report(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    objects: npt.ArrayLike,
    boxes: npt.ArrayLike,
    class_names: Sequence[str],
) -> LocalizationReport:
    """Scores classes and boxes against the objects.

    Args:
        labels: int [n], true classes in [0, classes).
        probabilities: float [n, classes], one distribution a row.
        objects: float [n, 4], true boxes, yxyx in pixels or in shares of the images' sides.
        boxes: float [n, 4], the network's, in the same unit.
        class_names: name of each class.

    Raises:
        UserError: there are no examples, shapes disagree, or predictions are not what they should be.
    """
    classification = classification_report(labels, probabilities, class_names)
    label, found = np.asarray(labels), np.asarray(boxes, np.float64)
    true = np.asarray(objects, np.float64)
    if true.shape != (len(label), 4) or found.shape != true.shape:
        raise UserError(f"objects {true.shape} and boxes {found.shape} should both be ({len(label)}, 4)")
    if not np.isfinite(found).all():
        raise UserError("the network's boxes are not all finite numbers: it has diverged")
    overlap = paired_iou(found, true)
    near = overlap >= LEAST_OVERLAP
    right = near & (np.asarray(probabilities).argmax(axis=1) == label)
    count = len(label)
    of_class = [overlap[label == index] for index in range(len(class_names))]
    return LocalizationReport(
        mean_iou=float(overlap.mean()),
        mean_iou_interval=percentile_interval(bootstrap_mean(overlap)),
        median_iou=float(np.median(overlap)),
        box_accuracy=float(near.mean()),
        box_accuracy_interval=wilson_interval(float(near.mean()), count),
        localization_accuracy=float(right.mean()),
        localization_accuracy_interval=wilson_interval(float(right.mean()), count),
        localization_error=float(1.0 - right.mean()),
        class_iou=np.array([values.mean() if len(values) else np.nan for values in of_class]),
        iou_counts=np.histogram(overlap, BINS, (0.0, 1.0))[0],
        classification=classification,
    )
