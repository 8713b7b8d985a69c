"""Panoptic quality of the detections in each image, to find images for error analysis."""

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.matching import Matching


def image_quality(matching: Matching, score_threshold: float) -> npt.NDArray[np.float64]:
    """float64 [images], from 0 (no true positive) to 1 (perfect detections); NaN without detections and objects.

    This is panoptic quality (Kirillov et al. 2019, arXiv:1801.00868, equation 1) of boxes, over all classes: the sum of
    the true positives' IoUs divided by the mean of the numbers of detections and objects. Like F1, it decreases with
    each false positive and each missed object; unlike F1, it also measures how well the boxes fit.

    Args:
        matching: the matched detections.
        score_threshold: minimum score of the detections to count.
    """
    accepted = ~matching.ignored & (matching.score >= score_threshold)
    right = accepted & matching.true_positive
    overlaps = np.bincount(matching.image[right], matching.best_overlap[right], minlength=matching.images)
    detections = np.bincount(matching.image[accepted], minlength=matching.images)
    objects = np.bincount(matching.object_image[matching.object_counted], minlength=matching.images)
    mean = (detections + objects) / 2
    return np.divide(overlaps, mean, out=np.full(matching.images, np.nan), where=mean > 0)


def worst_first(quality: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Images in order of ascending quality, int64 [images without NaN]; images with equal quality keep their order.

    >>> worst_first(np.array([0.5, np.nan, 0.25, 0.5])).tolist()
    [2, 0, 3]
    """
    return np.argsort(quality, kind="stable")[: np.count_nonzero(~np.isnan(quality))]
