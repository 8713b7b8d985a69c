"""COCO's measures of detection, by pycocotools, whose figures are COCO's by definition.

Source: Lin et al. 2014, "Microsoft COCO" (arXiv:1405.0312); cocodataset.org, "Detection Evaluation". Classes are
numbered as labels are, images by their place; both from 0.
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
from tfeff.evaluation.detections import Detections, GroundTruth, check

METRICS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
"""The order in which pycocotools gives them."""


@dataclass(frozen=True, eq=False)
class CocoScores:
    """COCO's twelve figures, in its order, and average precision by class; NaN where there are no such objects.

    Sizes are areas of boxes in pixels of the image: small below 32², large above 96². Up to 100 detections of each
    class and image count, those with the highest scores.

    Attributes:
        ap: average precision, mean over overlaps of .50, .55, ..., .95 and over classes.
        ap50: at an overlap of .5.
        ap75: at an overlap of .75.
        ap_small: of small objects.
        ap_medium: of medium ones.
        ap_large: of large ones.
        ar1: average recall, mean over the same overlaps and classes, with one detection an image and class.
        ar10: with ten.
        ar100: with a hundred.
        ar_small: of small objects, with a hundred.
        ar_medium: of medium ones.
        ar_large: of large ones.
        ap_per_class: float64 [classes], `ap` of each.
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
    """COCO's figures of some images. Crowds are passed over; VOC's `difficult`, which COCO does not know, is not.

    Args:
        detections: of each image.
        objects: of each image.
        classes: number of classes.

    Raises:
        UserError: as `detections.check` says.
    """
    check(detections, objects, classes)
    images = range(len(detections))
    truth = [
        {"image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
        for image, there in zip(images, objects, strict=True)
        for label, box, crowd in zip(
            there.labels.tolist(), _xywh(there.boxes_yxyx), there.crowd.astype(int).tolist(), strict=True
        )
    ]
    said = [
        result | {"area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for result in to_coco_results(detections, images)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells its progress
        evaluation = COCOeval(_data_set(truth, images, classes), _data_set(said, images, classes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # [overlaps, recalls, classes, sizes, numbers of detections]; -1 where there is no object.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    known = [value if value >= 0 else np.nan for value in evaluation.stats.tolist()]
    return CocoScores(
        **dict(zip(METRICS, known, strict=True)),
        ap_per_class=mean_average_precision(np.where(precision < 0, np.nan, precision), axis=(0, 1)),
    )


def to_coco_results(
    detections: Sequence[Detections], image_ids: Sequence[int | str], category_ids: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Detections in COCO's results format, ready for `json.dump`.

    Args:
        detections: of each image.
        image_ids: one an image.
        category_ids: the data set's number of each class; None takes the labels themselves.

    Returns:
        One dict a detection: `image_id`, `category_id`, `bbox` as [left, top, width, height] in pixels, `score`.
    """
    return [
        {
            "image_id": image,
            "category_id": label if category_ids is None else category_ids[label],
            "bbox": box,
            "score": score,
        }
        for image, found in zip(image_ids, detections, strict=True)
        for label, box, score in zip(found.labels.tolist(), _xywh(found.boxes_yxyx), found.scores.tolist(), strict=True)
    ]


def _data_set(rows: list[dict[str, Any]], images: Sequence[int], classes: int) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in images],
        "categories": [{"id": label} for label in range(classes)],
        # From 1: pycocotools takes an object numbered 0 for none.
        "annotations": [row | {"id": number} for number, row in enumerate(rows, 1)],
    }
    coco.createIndex()
    return coco


def _xywh(boxes_yxyx: npt.NDArray[np.float32]) -> list[list[float]]:
    return xywh_from_yxyx(boxes_yxyx.astype(np.float64)).tolist()
