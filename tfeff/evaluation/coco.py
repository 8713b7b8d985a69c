"""COCO's detection metrics, computed with the reference implementation, pycocotools.

Source: Lin et al. 2014, "Microsoft COCO" (arXiv:1405.0312); cocodataset.org, "Detection Evaluation". Category ids are
the labels and image ids the positions of the images; both start at 0.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfeff.boxes import xywh_from_yxyx
from tfeff.evaluation.average_precision import mean_average_precision
from tfeff.evaluation.detections import Detections, GroundTruth, validate

METRICS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
"""The twelve metrics, in the order of pycocotools."""


@dataclass(frozen=True, eq=False)
class CocoScores:
    """COCO's twelve metrics and the average precision of each class. NaN if no object qualifies.

    Sizes are box areas in square pixels: small below 32², large above 96². For each class and image, the 100 detections
    with the highest scores are evaluated.

    Attributes:
        ap: average precision, mean over the IoU thresholds .50, .55, ..., .95 and over classes.
        ap50: AP at an IoU threshold of .5.
        ap75: AP at an IoU threshold of .75.
        ap_small: AP of small objects.
        ap_medium: AP of medium objects.
        ap_large: AP of large objects.
        ar1: average recall, mean over the same thresholds and classes, with at most 1 detection per image and class.
        ar10: AR with at most 10 detections.
        ar100: AR with at most 100 detections.
        ar_small: AR of small objects with at most 100 detections.
        ar_medium: AR of medium objects with at most 100 detections.
        ar_large: AR of large objects with at most 100 detections.
        ap_per_class: float64 [classes], `ap` of each class.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    ap_per_class: npt.NDArray[np.float64]


def coco_scores(detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int) -> CocoScores:
    """Computes COCO's metrics. Crowds are ignored; difficult objects are not, because COCO has no such flag.

    Args:
        detections: detections of each image.
        objects: ground truth of each image.
        classes: number of classes.

    Raises:
        UserError: as in `detections.validate`.
    """
    validate(detections, objects, classes)
    images = range(len(detections))
    annotations = [
        {"image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
        for image, truth in zip(images, objects, strict=True)
        for label, box, crowd in zip(
            truth.labels.tolist(), _xywh(truth.boxes_yxyx), truth.crowd.astype(int).tolist(), strict=True
        )
    ]
    results = [
        result | {"area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for result in to_coco_results(detections, images)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = COCOeval(_dataset(annotations, images, classes), _dataset(results, images, classes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # [IoU thresholds, recalls, classes, sizes, maximum detections]; -1 for undefined values.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    stats = [value if value >= 0 else np.nan for value in evaluation.stats.tolist()]
    return CocoScores(
        **dict(zip(METRICS, stats, strict=True)),
        ap_per_class=mean_average_precision(np.where(precision < 0, np.nan, precision), axis=(0, 1)),
    )


def to_coco_results(
    detections: Sequence[Detections], image_ids: Sequence[int | str], category_ids: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Converts detections to COCO's results format, ready for `json.dump`.

    Args:
        detections: detections of each image.
        image_ids: id of each image.
        category_ids: the dataset's category id of each class; None uses the labels.

    Returns:
        One dict per detection: `image_id`, `category_id`, `bbox` as [left, top, width, height] in pixels, `score`.
    """
    return [
        {
            "image_id": image,
            "category_id": label if category_ids is None else category_ids[label],
            "bbox": box,
            "score": score,
        }
        for image, predicted in zip(image_ids, detections, strict=True)
        for label, box, score in zip(
            predicted.labels.tolist(), _xywh(predicted.boxes_yxyx), predicted.scores.tolist(), strict=True
        )
    ]


def _dataset(rows: list[dict[str, Any]], images: Sequence[int], classes: int) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in images],
        "categories": [{"id": label} for label in range(classes)],
        # Ids start at 1: pycocotools treats id 0 as no match.
        "annotations": [row | {"id": number} for number, row in enumerate(rows, 1)],
    }
    coco.createIndex()
    return coco


def _xywh(boxes_yxyx: npt.NDArray[np.float32]) -> list[list[float]]:
    return xywh_from_yxyx(boxes_yxyx.astype(np.float64)).tolist()
