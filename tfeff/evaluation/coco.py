"""COCO's detection metrics, computed with the reference implementation, pycocotools.

Source: Lin et al. 2014, "Microsoft COCO" (arXiv:1405.0312); cocodataset.org, "Detection Evaluation". Category ids are
the labels and image ids the positions of the images; both start at 0.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfeff.boxes import xywh_from_yxyx
from tfeff.evaluation.average_precision import mean_average_precision
from tfeff.evaluation.matching import Detections, GroundTruth, validate

METRICS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
"""The twelve metrics, in the order of pycocotools: average precision (AP), the mean over the IoU thresholds .50, .55,
..., .95 and over classes; AP at an IoU of .5 and of .75, and of small, medium and large objects; average recall (AR),
the mean over the same thresholds and classes, with at most 1, 10 and 100 detections per image and class; AR of small,
medium and large objects with at most 100. Sizes are box areas in square pixels: small below 32², large above 96²."""


def coco_scores(detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int) -> dict[str, Any]:
    """Computes COCO's metrics. Crowds are ignored; difficult objects are not, because COCO has no such flag.

    Returns:
        METRICS by name, and `ap_per_class`, float64 [classes], `ap` of each class. NaN if no object qualifies.

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
    per_class = mean_average_precision(np.where(precision < 0, np.nan, precision), axis=(0, 1))
    return {**dict(zip(METRICS, stats, strict=True)), "ap_per_class": per_class}


def to_coco_results(
    detections: Sequence[Detections],
    image_ids: Sequence[int | float | str],
    category_ids: Sequence[int | float | str] | None = None,
) -> list[dict[str, Any]]:
    """Converts detections to COCO's results format, ready for `json.dump`.

    Args:
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
