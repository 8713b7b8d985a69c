"""How similar is an image of an unknown class to the nearest image of a gallery?

The more images a gallery has, the more similar the nearest one is by chance. So there is a threshold for each of some
sizes of galleries, which a stated share of images of unknown classes reaches. It is measured on images of known
classes: each is compared with random galleries of images of other classes, drawn without replacement.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.retrieval import checked, sample

ACCEPTED = 0.05
"""Share of images of unknown classes that reach the threshold."""
SIZES = (1, 8, 64, 512)
"""Images of the galleries."""
COMPARED = 1_000
"""Images that are compared with each other at most."""


def unknown_thresholds(vectors: npt.ArrayLike, labels: npt.ArrayLike) -> dict[int, float]:
    """Returns the similarity that a share of ACCEPTED of images reaches in a gallery of other classes.

    The similarity of an image is that to its nearest image in the gallery.

    Args:
        vectors: float [n, d], of length 1.
        labels: int [n], classes.

    Returns:
        Size of the gallery -> threshold, for those of SIZES for which all images have as many images of other classes.
        Empty, unless there are two such sizes and at least 1 / ACCEPTED images.

    Raises:
        UserError: vectors are not finite.
    """
    vector, label = checked(vectors, labels)
    chosen = sample(label, COMPARED, per_class=1)
    vector, label = vector[chosen], label[chosen]
    others = len(label) - np.bincount(label)[label]
    sizes = [size for size in SIZES if size <= min(others, default=0)]
    if len(sizes) < 2 or len(label) * ACCEPTED < 1:
        return {}
    similarity = (vector @ vector.T).astype(np.float64)
    similarity[label[:, np.newaxis] == label] = -np.inf
    ranked = -np.sort(-similarity, axis=1)
    order = np.argsort(-ranked, axis=None, kind="stable")
    values = ranked.ravel()[order]
    rank, found = np.arange(len(label)), dict[int, float]()
    for size in sizes:
        # The image at a rank is the nearest one of the gallery if it is drawn, and none of those before it.
        left = others[:, np.newaxis] - rank
        missed = np.cumprod(np.clip(1 - size / np.maximum(left, 1), 0, 1) * (left > 0), axis=1)
        nearest = -np.diff(missed, axis=1, prepend=1.0)
        reached = np.cumsum(nearest.ravel()[order]) / len(label)
        found[size] = float(min(values[np.searchsorted(reached, ACCEPTED)], 1.0))
    return found


def unknown_threshold(thresholds: Mapping[int, float], images: int) -> float | None:
    """Returns the threshold for a gallery with a number of images; None if fewer than two thresholds are known.

    It is linear in the logarithm of the number, between and beyond the known thresholds.

    >>> round(unknown_threshold({1: 0.2, 8: 0.5}, 64), 6)
    0.8
    """
    known = sorted(thresholds.items())
    if len(known) < 2:
        return None
    after = next((place for place, (size, _) in enumerate(known[1:-1], 1) if size >= images), len(known) - 1)
    (low, start), (high, end) = known[after - 1], known[after]
    return min(1.0, start + (end - start) * math.log(images / low) / math.log(high / low))
