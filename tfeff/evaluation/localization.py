"""Evaluation report of a network that classifies and localizes one object per image.

The localization error is that of ILSVRC's localization task with one prediction per image (Russakovsky et al.,
arXiv:1409.0575, section 4.2): a prediction is correct if its class is correct and the IoU of its box is at least 0.5.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff.boxes import paired_iou
from tfeff.errors import UserError
from tfeff.evaluation.bootstrap import bootstrap_mean, percentile_interval
from tfeff.evaluation.classification import ClassificationReport, classification_report, plain
from tfeff.evaluation.confusion import ratio
from tfeff.evaluation.paired import wilson_interval

IOU_THRESHOLD = 0.5
"""Minimum IoU of a correct box."""
BINS = 20


@dataclass(frozen=True, eq=False)
class LocalizationReport:
    """Metrics of a localization network on a split with one object per image.

    Attributes:
        mean_iou: mean IoU of the predicted boxes with the true boxes.
        mean_iou_interval: 95 % bootstrap interval of `mean_iou` over images.
        box_accuracy: share of boxes with an IoU of at least IOU_THRESHOLD, whatever the class.
        localization_accuracy: share of images with the correct class and such a box.
        localization_accuracy_interval: 95 % Wilson interval of `localization_accuracy`.
        localization_error: 1 - `localization_accuracy`.
        class_iou: float64 [classes], mean IoU of the images of each class; NaN for classes without images.
        iou_counts: int64 [BINS], number of images in IoU bins of equal width from 0 to 1.
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
        """Returns the report as dicts, lists and numbers, merged with that of the classification."""
        values = plain(asdict(self))
        return {**values.pop("classification"), **values}


def localization_report(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    objects: npt.ArrayLike,
    boxes: npt.ArrayLike,
    class_names: Sequence[str],
) -> LocalizationReport:
    """Evaluates predicted classes and boxes against the true ones.

    Args:
        labels: int [n], true classes in [0, classes).
        probabilities: float [n, classes], one distribution per row.
        objects: float [n, 4], true boxes, yxyx in pixels or relative to the image.
        boxes: float [n, 4], predicted boxes, in the same unit.

    Raises:
        UserError: there are no examples, shapes do not match, or predictions are invalid.
    """
    classification = classification_report(labels, probabilities, class_names)
    label, predicted = np.asarray(labels), np.asarray(boxes, np.float64)
    true = np.asarray(objects, np.float64)
    if true.shape != (len(label), 4) or predicted.shape != true.shape:
        raise UserError(f"objects and boxes must have shape ({len(label)}, 4), not {true.shape} and {predicted.shape}")
    if not np.isfinite(predicted).all():
        raise UserError("predicted boxes are NaN or infinite: the network has diverged")
    overlap = paired_iou(predicted, true)
    fits = overlap >= IOU_THRESHOLD
    correct = fits & (np.asarray(probabilities).argmax(axis=1) == label)
    count = len(label)
    images = np.bincount(label, minlength=len(class_names))
    return LocalizationReport(
        mean_iou=float(overlap.mean()),
        mean_iou_interval=percentile_interval(bootstrap_mean(overlap), count),
        median_iou=float(np.median(overlap)),
        box_accuracy=float(fits.mean()),
        box_accuracy_interval=wilson_interval(float(fits.mean()), count),
        localization_accuracy=float(correct.mean()),
        localization_accuracy_interval=wilson_interval(float(correct.mean()), count),
        localization_error=float(1.0 - correct.mean()),
        class_iou=ratio(np.bincount(label, overlap, minlength=len(class_names)), images),
        iou_counts=np.histogram(overlap, BINS, (0.0, 1.0))[0],
        classification=classification,
    )
