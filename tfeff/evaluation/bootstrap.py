"""How far a mean, or mean average precision, might have come out differently, had other images of the same kind been
chosen.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile interval). Images are
drawn with replacement, since the detections of one image are not independent of each other.
"""

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.average_precision import mean_average_precision
from tfeff.evaluation.matching import Matching

CHUNK = 2**22  # numbers held at a time in each of a few arrays


def bootstrap_mean_average_precision(
    matching: Matching, *, resamples: int = 1000, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Mean average precision (all points) of resampled images.

    What a detection is does not depend on other images, so that nothing is matched anew: an image that is drawn k times
    counts k times. Classes that have no objects in a resample are left out of its mean.

    Args:
        matching: the detections of n > 0 images, judged.
        resamples: how often n images are drawn of the n.
        seed: of the draws.

    Returns:
        float64 [resamples]; NaN where no drawn image has an object.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(matching.images, np.full(matching.images, 1 / matching.images), size=resamples)
    often = drawn.astype(np.int32)
    return mean_average_precision(np.stack([_of_class(matching, label, often) for label in range(matching.classes)], 1))


def percentile_interval(values: npt.NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) between which so large a share of the values lies; NaN values are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _of_class(matching: Matching, label: int, drawn: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """float64 [resamples], average precision of a class, given how often each image is drawn, [resamples, images]."""
    judged = np.flatnonzero((matching.label == label) & ~matching.passed_over)
    images, hits = matching.image[judged], np.flatnonzero(matching.hit[judged])
    of_class = matching.object_counts & (matching.object_label == label)
    of_images = np.bincount(matching.object_image[of_class], minlength=matching.images)
    objects = drawn @ of_images

    areas = np.zeros(len(drawn))
    rows = max(1, CHUNK // max(1, len(judged)))
    for start in range(0, len(drawn) if len(hits) else 0, rows):
        part = slice(start, start + rows)
        weight = np.take(drawn[part], images, axis=1)
        # Precision at its hits is all that the area below the envelope depends on.
        gained = np.take(weight, hits, axis=1)
        said = np.take(np.cumsum(weight, axis=1, dtype=np.int32), hits, axis=1)
        right = np.cumsum(gained, axis=1, dtype=np.int32)
        precision = right / np.maximum(said, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        areas[part] = np.einsum("rh,rh->r", gained, envelope)
    return np.divide(areas, objects, out=np.full(len(drawn), np.nan), where=objects > 0)


def bootstrap_mean(values: npt.ArrayLike, *, resamples: int = 1000, seed: int = 0) -> npt.NDArray[np.float64]:
    """Means of values drawn with replacement, as many as there are.

    Args:
        values: float [n], n > 0, one an image.
        resamples: how often they are drawn.
        seed: of the draws.

    Returns:
        float64 [resamples].
    """
    value = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // len(value))
    parts = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([value[rng.integers(len(value), size=(part, len(value)))].mean(axis=1) for part in parts])
