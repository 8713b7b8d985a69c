"""How well a detector did on each image by itself, to find those worth looking at."""

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.matching import Matching


def image_quality(matching: Matching, score_threshold: float) -> npt.NDArray[np.float64]:
    """float64 [images], from 0 (nothing right) to 1 (every object found, each box exact, nothing else said).

    The sum of the right boxes' overlaps, divided by the mean number of detections and objects: panoptic quality
    (Kirillov et al. 2019, arXiv:1801.00868, equation 1) of boxes, all classes together. Like F1 it falls with each
    wrong detection and each object not found; and it tells good boxes from just sufficient ones. NaN where nothing is
    said and nothing is there.

    Args:
        matching: the detections, judged.
        score_threshold: detections with this score or a higher one are believed.
    """
    judged = ~matching.passed_over & (matching.score >= score_threshold)
    right = judged & matching.hit
    overlaps = np.bincount(matching.image[right], matching.best_overlap[right], minlength=matching.images)
    said = np.bincount(matching.image[judged], minlength=matching.images)
    there = np.bincount(matching.object_image[matching.object_counts], minlength=matching.images)
    both = (said + there) / 2
    return np.divide(overlaps, both, out=np.full(matching.images, np.nan), where=both > 0)


def from_worst_to_best(quality: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """int64 [images with a quality], those of equal quality in their order.

    >>> from_worst_to_best(np.array([0.5, np.nan, 0.25, 0.5])).tolist()
    [2, 0, 3]
    """
    return np.argsort(quality, kind="stable")[: np.count_nonzero(~np.isnan(quality))]
