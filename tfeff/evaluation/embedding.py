"""Evaluation report of a network that maps images to vectors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.bootstrap import bootstrap_mean, percentile_interval
from tfeff.evaluation.classification import plain
from tfeff.evaluation.confusion import ratio
from tfeff.evaluation.paired import wilson_interval
from tfeff.evaluation.retrieval import ROUNDING, Retrieval, chunks, retrieval
from tfeff.evaluation.verification import Verification, mean, pairs_of, verification

NO_INTERVAL = (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class GalleryAccuracy:
    """How often the nearest image of a gallery has the class of an image.

    Attributes:
        images: number of images whose class is in the gallery.
        gallery: images in the gallery.
        accuracy: share of the images whose nearest gallery image is of their class.
        accuracy_interval: 95 % Wilson interval.
    """

    images: int
    gallery: int
    accuracy: float
    accuracy_interval: tuple[float, float]


@dataclass(frozen=True, eq=False)
class EmbeddingReport:
    """Metrics of vectors on a labeled split.

    Attributes:
        class_names: names of the classes that have images in the split.
        class_images: int64 [classes], images of each class.
        class_recall: float64 [classes], recall at 1 of each class; NaN for classes without queries.
        examples: images in the split.
        queries: images whose neighbors among all other images were found; see `retrieval`. Without any, because no
            class has two images, the measures of neighbors are NaN.
        recall_at_1: share of queries whose nearest image is of their class.
        recall_at_1_interval: 95 % Wilson interval.
        recall_at_5: share of queries with an image of their class among the nearest five.
        map_at_r: MAP@R, see `Retrieval`.
        map_at_r_interval: 95 % bootstrap interval over queries.
        r_precision: mean R-precision, see `Retrieval`.
        pairs: verification of pairs.
        threshold: the run's minimum cosine similarity of images of one class; None if it has none.
        false_accept_rate: share of the pairs of different classes that reach the threshold; NaN without one.
        false_reject_rate: share of the pairs of one class that do not reach it; NaN without one.
        gallery: accuracy with the training images as the gallery; None if no class of the split was trained on, or if
            it holds training images.
    """

    class_names: tuple[str, ...]
    class_images: npt.NDArray[np.int64]
    class_recall: npt.NDArray[np.float64]
    examples: int
    queries: int
    recall_at_1: float
    recall_at_1_interval: tuple[float, float]
    recall_at_5: float
    recall_at_5_interval: tuple[float, float]
    map_at_r: float
    map_at_r_interval: tuple[float, float]
    r_precision: float
    pairs: Verification
    threshold: float | None
    false_accept_rate: float
    false_reject_rate: float
    gallery: GalleryAccuracy | None

    def to_json(self) -> dict[str, Any]:
        """Returns the report as dicts, lists, strings and numbers. Undefined values are None."""
        return plain(asdict(self))


def embedding_report(
    vectors: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float | None = None,
    gallery: GalleryAccuracy | None = None,
    found: Retrieval | None = None,
) -> EmbeddingReport:
    """Evaluates vectors against the classes of their images.

    Args:
        vectors: float [n, d], of length 1.
        labels: int [n], classes, indices into `class_names`.
        threshold: minimum cosine similarity of images of one class.
        gallery: result of `gallery_accuracy`; None if there is none.
        found: `retrieval(vectors, labels)`, if it is known.

    Raises:
        UserError: vectors are not finite.
    """
    label = np.asarray(labels, np.int64)
    found = found or retrieval(vectors, label)
    queries, first, fifth = len(found.queries), found.found_within(1), found.found_within(5)
    images = np.bincount(label, minlength=len(class_names))
    asked = np.bincount(label[found.queries], minlength=len(class_names)).astype(np.float64)
    right = np.bincount(label[found.queries], weights=first, minlength=len(class_names))
    present, pairs = np.flatnonzero(images), pairs_of(vectors, label)
    rates = (np.nan, np.nan) if threshold is None else pairs.rates(threshold)
    return EmbeddingReport(
        class_names=tuple(class_names[int(index)] for index in present),
        class_images=images[present],
        class_recall=ratio(right, asked)[present],
        examples=len(label),
        queries=queries,
        recall_at_1=mean(first),
        recall_at_1_interval=wilson_interval(mean(first), queries) if queries else NO_INTERVAL,
        recall_at_5=mean(fifth),
        recall_at_5_interval=wilson_interval(mean(fifth), queries) if queries else NO_INTERVAL,
        map_at_r=mean(found.average_precision),
        map_at_r_interval=(
            percentile_interval(bootstrap_mean(found.average_precision), queries) if queries else NO_INTERVAL
        ),
        r_precision=mean(found.r_precision),
        pairs=verification(pairs),
        threshold=threshold,
        false_accept_rate=rates[0],
        false_reject_rate=rates[1],
        gallery=gallery,
    )


def gallery_accuracy(
    vectors: npt.ArrayLike, labels: npt.ArrayLike, gallery: npt.ArrayLike, gallery_labels: npt.ArrayLike
) -> GalleryAccuracy | None:
    """Classifies images by their nearest gallery image (1-NN); None if no image is of a class of the gallery.

    An image that is as similar to an image of another class, up to ROUNDING, is an error.

    Args:
        vectors: float [n, d], of length 1.
        labels: int [n], classes; images of classes that are not in the gallery are left out.
        gallery: float [m, d], of length 1.
        gallery_labels: int [m], classes.
    """
    label, known = np.asarray(labels), np.asarray(gallery_labels)
    among = np.flatnonzero(np.isin(label, known))
    if not len(among):
        return None
    vector, others, right = np.asarray(vectors, np.float32), np.asarray(gallery, np.float32), 0
    for chunk in chunks(among, len(others)):
        same = label[chunk, np.newaxis] == known
        order = (vector[chunk] @ others.T).astype(np.float64) - ROUNDING * same
        right += int(np.take_along_axis(same, order.argmax(axis=1, keepdims=True), axis=1).sum())
    accuracy, count = right / len(among), len(among)
    return GalleryAccuracy(count, len(known), accuracy, wilson_interval(accuracy, count))
