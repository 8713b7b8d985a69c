"""Verification: do two images show the same class? They do if the similarity of their vectors reaches a threshold.

The false accept rate is the share of pairs of different classes that reach it, the false reject rate that of pairs of
one class that do not. At the equal error rate, both are the same. Intervals are of bootstrap resamples of the images,
because pairs with an image in common are not independent.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.bootstrap import percentile_interval
from tfeff.evaluation.retrieval import checked, sample, spread

PAIRED = 1_000
"""Images whose pairs are compared at most: half a million pairs."""
_RESAMPLES = 200
_BINS = 2_000  # similarities of each kind of pair at which bins of resamples start, at most
_CURVE, _HISTOGRAM = 200, 40


@dataclass(frozen=True, eq=False)
class Verification:
    """How well a threshold separates pairs of the same class from pairs of different ones.

    Attributes:
        images: whose pairs were compared.
        same: pairs of one class.
        different: pairs of different classes.
        auc: area under the ROC curve: the probability that a pair of one class is more similar than one of different
            classes, where equal ones count half. NaN, as all other numbers, if there are no pairs of one of the kinds.
        auc_interval: 95 % bootstrap interval over images.
        equal_error_rate: the mean of both rates at the threshold where they differ least.
        equal_error_rate_interval: 95 % bootstrap interval over images.
        threshold: this threshold, a cosine similarity.
        false_accept_rate: float64 [m], along the ROC curve, falling.
        true_accept_rate: float64 [m], 1 - the false reject rate.
        edges: float64 [bins + 1], of bins of similarities.
        same_counts: int64 [bins], pairs of one class in each bin.
        different_counts: int64 [bins], pairs of different classes.
    """

    images: int
    same: int
    different: int
    auc: float
    auc_interval: tuple[float, float]
    equal_error_rate: float
    equal_error_rate_interval: tuple[float, float]
    threshold: float
    false_accept_rate: npt.NDArray[np.float64]
    true_accept_rate: npt.NDArray[np.float64]
    edges: npt.NDArray[np.float64]
    same_counts: npt.NDArray[np.int64]
    different_counts: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """The p pairs of some images.

    Attributes:
        first: int64 [p], an image.
        second: int64 [p], another one.
        similarity: float32 [p], cosine similarity.
        same: bool [p], whether they are of one class.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]
    same: npt.NDArray[np.bool_]

    def rates(self, threshold: float) -> tuple[float, float]:
        """Returns the false accept rate and the false reject rate.

        NaN without pairs of different classes, or of one.
        """
        accepted = self.similarity >= threshold
        return mean(accepted[~self.same]), mean(~accepted[self.same])


def pairs_of(vectors: npt.ArrayLike, labels: npt.ArrayLike, limit: int = PAIRED) -> Pairs:
    """Returns all pairs of at most `limit` images.

    Of more images, `retrieval.sample` takes those of classes with at least two; at least a quarter of the places is for
    images that are alone in their class, as far as there are any, since they form pairs of different classes only.

    Args:
        vectors: float [n, d], of length 1.
        labels: int [n], classes.
        limit: maximum number of images.

    Raises:
        UserError: vectors are not finite.
    """
    vector, label = checked(vectors, labels)
    chosen = _paired(label, limit)
    places = np.triu_indices(len(chosen), 1)
    first, second = (chosen[side] for side in places)
    similarity = (vector[chosen] @ vector[chosen].T)[places]
    return Pairs(first, second, similarity, label[first] == label[second])


def _paired(label: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Returns indices of the images that form pairs, rising."""
    if len(label) <= limit:
        return np.arange(len(label))
    alone = np.bincount(label)[label] == 1
    several = np.flatnonzero(~alone)
    single = spread(np.flatnonzero(alone), max(limit // 4, limit - len(several)))
    return np.sort(np.concatenate([single, several[sample(label[several], limit - len(single))]]))


def equal_error_threshold(pairs: Pairs) -> tuple[float, float]:
    """Returns the threshold at the equal error rate, and this rate; NaN without pairs of one of the kinds.

    The threshold is halfway between two similarities.

    >>> pairs = Pairs(np.arange(4), np.arange(4), np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, True, True]))
    >>> equal_error_threshold(pairs)
    (0.25, 0.0)
    """
    values, same, different = _grouped(pairs)
    if not same.sum() or not different.sum():
        return np.nan, np.nan
    place, rate = _equal_error(same, different)
    return float((values[max(place - 1, 0)] + values[place]) / 2), rate


def verification(pairs: Pairs) -> Verification:
    """Measures how well similarities separate the pairs."""
    values, same, different = _grouped(pairs)
    threshold, rate = equal_error_threshold(pairs)
    auc, resampled = _area(same, different), _resampled(pairs)
    images = len(np.union1d(pairs.first, pairs.second))
    # Pairs that are accepted if the threshold is at a place, from none rejected to all rejected.
    accepted = [np.concatenate([np.cumsum(each[::-1])[::-1], [0]]) for each in (same, different)]
    shown = spread(np.arange(len(values) + 1), _CURVE)
    edges = np.linspace(-1, 1, _HISTOGRAM + 1)
    counts = [np.histogram(np.clip(pairs.similarity[kind], -1, 1), edges)[0] for kind in (pairs.same, ~pairs.same)]
    with np.errstate(invalid="ignore"):
        true_accept, false_accept = (each[shown] / each[0] for each in accepted)
    return Verification(
        images=images,
        same=int(same.sum()),
        different=int(different.sum()),
        auc=auc,
        auc_interval=percentile_interval(resampled[:, 0], images),
        equal_error_rate=rate,
        equal_error_rate_interval=percentile_interval(resampled[:, 1], images),
        threshold=threshold,
        false_accept_rate=false_accept,
        true_accept_rate=true_accept,
        edges=edges,
        same_counts=counts[0],
        different_counts=counts[1],
    )


def _grouped(pairs: Pairs) -> tuple[npt.NDArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the similarities that occur, rising, and for each the number of pairs of one and of two classes."""
    values, group = np.unique(pairs.similarity.astype(np.float64), return_inverse=True)
    same = np.bincount(group[pairs.same], minlength=len(values))
    return values, same, np.bincount(group[~pairs.same], minlength=len(values))


def _area(same: npt.NDArray, different: npt.NDArray) -> float:
    """Returns the area under the ROC curve, from the numbers of pairs by rising similarity.

    NaN if there are none of a kind.
    """
    below = np.cumsum(different) - different / 2
    total = float(same.sum()) * float(different.sum())
    return float((same * below).sum() / total) if total else np.nan


def _equal_error(same: npt.NDArray, different: npt.NDArray) -> tuple[int, float]:
    """Returns the first accepted place at the equal error rate (the lowest if there are several), and this rate.

    There must be pairs of both kinds.
    """
    rejected = (np.cumsum(same) - same) / same.sum()
    accepted = 1 - (np.cumsum(different) - different) / different.sum()
    place = int(np.abs(accepted - rejected).argmin())
    return place, float((accepted[place] + rejected[place]) / 2)


def _resampled(pairs: Pairs) -> npt.NDArray[np.float64]:
    """Returns area under the ROC curve and equal error rate of bootstrap resamples: float64 [resamples, 2].

    A pair counts as often as both of its images are drawn; an image and itself are no pair. Similarities are binned by
    their ranks among pairs of one class, and among pairs of different ones. If a kind has few pairs, each of their
    similarities has its own bin, because a bin with both kinds blurs the order of its pairs.
    """
    images, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
    first, second = np.split(places, 2)
    kinds = [np.sort(pairs.similarity[kind]) for kind in (pairs.same, ~pairs.same)]
    cuts = np.concatenate([each[:: 1 + len(each) // _BINS] for each in kinds])
    starts = np.unique(np.concatenate([cuts, np.nextafter(cuts, np.inf)]))
    bins = (np.searchsorted(starts, pairs.similarity, side="right") - 1) * 2 + pairs.same
    rng, found = np.random.default_rng(0), np.full((_RESAMPLES, 2), np.nan)
    for row in found:
        drawn = np.bincount(rng.integers(len(images), size=len(images)), minlength=len(images)).astype(np.float64)
        counts = np.bincount(bins, weights=drawn[first] * drawn[second], minlength=2 * len(starts)).reshape(-1, 2)
        different, same = counts.T
        if same.sum() and different.sum():
            row[:] = _area(same, different), _equal_error(same, different)[1]
    return found


def mean(values: npt.NDArray) -> float:
    """Returns the mean of some values; NaN if there are none."""
    return float(values.mean()) if len(values) else np.nan
