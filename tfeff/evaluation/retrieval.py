"""Nearest neighbors of images by their vectors: recall and precision.

Musgrave et al., "A Metric Learning Reality Check" (arXiv:2003.08505), section 3.2: recall at k, R-precision and MAP@R.
Vectors have length 1, so their dot product is the cosine similarity.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.errors import UserError

QUERIES = 10_000
"""Images whose neighbors are found at most, evenly spaced, each among all images: the cost is linear in images."""
NEAREST = 5
"""Neighbors of each query that are kept."""
ROUNDING = 1e-6
"""Similarities that differ by less are equal. Among these, images of other classes come first, so that a network with
one vector for all images does not seem to be right."""
_CHUNK = 2**22  # similarities computed together


@dataclass(frozen=True, eq=False)
class Retrieval:
    """The neighbors of q images among all other images of a split.

    Attributes:
        queries: int64 [q], indices of the images, which all have another image of their class.
        nearest: int64 [q, m], indices of the nearest images, m at most NEAREST.
        correct: bool [q, m], whether these are of the class of the query.
        similarity: float32 [q, m], cosine similarities.
        r_precision: float64 [q], share of images of the query's class among its R nearest ones; R is the number of
            other images of this class.
        average_precision: float64 [q], mean over these R places of the precision up to the place, counted as 0 where
            the image is of another class; its mean is MAP@R.
    """

    queries: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]
    similarity: npt.NDArray[np.float32]
    r_precision: npt.NDArray[np.float64]
    average_precision: npt.NDArray[np.float64]

    def found_within(self, k: int) -> npt.NDArray[np.bool_]:
        """Returns bool [q], whether one of the k nearest images is of the query's class.

        Its mean is the recall at k.
        """
        return np.any(self.correct[:, :k], axis=1)


def retrieval(vectors: npt.ArrayLike, labels: npt.ArrayLike, limit: int = QUERIES) -> Retrieval:
    """Finds the nearest other images of each image that has another one of its class, if there are several classes.

    Args:
        vectors: float [n, d], of length 1.
        labels: int [n], classes.
        limit: maximum number of queries.

    Raises:
        UserError: vectors are not finite.
    """
    vector, label = checked(vectors, labels)
    others = np.bincount(label)[label] - 1 if len(np.unique(label)) > 1 else np.zeros_like(label)
    queries = spread(np.flatnonzero(others > 0), limit)
    kept = min(NEAREST, len(vector) - 1)
    parts = list[tuple[npt.NDArray, ...]]()
    if not len(queries):
        none = np.zeros((0, max(1, kept)))  # of a single image, too
        parts.append((none.astype(np.int64), none.astype(bool), none.astype(np.float32), np.zeros(0), np.zeros(0)))
    for chunk in chunks(queries, len(vector)):
        wanted = others[chunk][:, np.newaxis]
        similarity = (vector[chunk] @ vector.T).astype(np.float64)
        same = label[chunk][:, np.newaxis] == label
        order = similarity - ROUNDING * same
        order[np.arange(len(chunk)), chunk] = -np.inf
        near = _largest(order, max(kept, int(wanted.max())))
        correct, place = np.take_along_axis(same, near, axis=1), np.arange(1, near.shape[1] + 1)
        counted = correct & (place <= wanted)
        precision = np.cumsum(correct, axis=1) / place
        parts.append(
            (
                near[:, :kept],
                correct[:, :kept],
                np.take_along_axis(similarity, near[:, :kept], axis=1).astype(np.float32),
                counted.sum(axis=1) / wanted[:, 0],
                (precision * counted).sum(axis=1) / wanted[:, 0],
            )
        )
    return Retrieval(queries, *map(np.concatenate, zip(*parts, strict=True)))


def contrastive_loss(vectors: npt.ArrayLike, labels: npt.ArrayLike, temperature: float, limit: int = QUERIES) -> float:
    """Returns the supervised contrastive loss of images (arXiv:2004.11362, equation 2).

    Each image is compared with all others. The loss is the mean over the images that have another one of their class.

    Args:
        vectors: float [n, d], of length 1.
        labels: int [n], classes.
        temperature: cosine similarities are divided by it.
        limit: maximum number of images in the mean.
    """
    vector, label = checked(vectors, labels)
    others = np.bincount(label)[label] - 1
    losses = list[npt.NDArray[np.float64]]()
    for chunk in chunks(spread(np.flatnonzero(others > 0), limit), len(vector)):
        rows, logits = np.arange(len(chunk)), (vector[chunk] @ vector.T).astype(np.float64) / temperature
        same = label[chunk][:, np.newaxis] == label
        same[rows, chunk] = False
        attracted = (logits * same).sum(axis=1) / others[chunk]
        logits[rows, chunk] = -np.inf
        highest = logits.max(axis=1)
        losses.append(highest + np.log(np.exp(logits - highest[:, np.newaxis]).sum(axis=1)) - attracted)
    return float(np.concatenate(losses).mean())


def checked(vectors: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Returns float32 [n, d] and int64 [n].

    Raises:
        UserError: vectors are not finite.
    """
    vector = np.asarray(vectors, np.float32)
    bad = np.flatnonzero(~np.isfinite(vector).all(axis=1))
    if len(bad):
        raise UserError(
            f"the vectors of {len(bad):,} of {len(vector):,} images are not finite: the network has diverged"
        )
    return vector, np.asarray(labels, np.int64)


def spread(indices: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Returns at most `limit` of the indices, evenly spaced."""
    if len(indices) <= limit:
        return indices
    return indices[np.linspace(0, len(indices) - 1, limit).round().astype(np.int64)]


def sample(labels: npt.NDArray[np.int64], limit: int, per_class: int = 4) -> npt.NDArray[np.int64]:
    """Returns the indices of at most `limit` images, rising.

    Equally many of each class or, if these would be fewer than `per_class`, `per_class` of fewer classes.

    Classes with fewer images give all of them. Classes and images are evenly spaced.

    >>> sample(np.repeat([0, 1, 2], [50, 3, 50]), 30).tolist()[8:16]
    [44, 49, 50, 51, 52, 53, 58, 64]
    """
    if len(labels) <= limit:
        return np.arange(len(labels))
    classes = np.unique(labels)
    each = max(per_class, limit // len(classes))
    chosen = spread(classes, max(1, limit // each))
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], [chosen, chosen + 1])
    return np.sort(np.concatenate([spread(order[start:end], each) for start, end in ends.T]))


def chunks(queries: npt.NDArray[np.int64], images: int) -> Iterator[npt.NDArray[np.int64]]:
    """Returns the queries in parts whose similarities to all images fit into memory."""
    step = max(1, _CHUNK // images)
    return (queries[start : start + step] for start in range(0, len(queries), step))


def _largest(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Returns indices of the largest values of each row, the largest first: int64 [rows, count]."""
    found = np.argpartition(-values, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(values, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)
