"""Detections and ground truth, the inputs of all detection metrics, matched by the rules of Pascal VOC.

Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2, and the development kit's
`VOCevaldet.m`. The kit treats the bottom and right coordinates as inclusive and adds 1 to each side. Here they are
exclusive, which gives the same areas and IoUs. VOC has no crowds; those follow the rule of COCO.

D: number of detections in all images. O: number of objects in all images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tfeff.boxes import iou, share_inside
from tfeff.errors import UserError
from tfeff.evaluation.confusion import ratio


@dataclass(frozen=True, eq=False)
class Detections:
    """The n detections of one image, in any order.

    Attributes:
        boxes_yxyx: float32 [n, 4], in pixels of the image, bottom and right exclusive.
        labels: int32 [n], class indices.
        scores: float32 [n], finite, higher for more confident detections. Without a score threshold, only the order
            matters.
    """

    boxes_yxyx: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_yxyx.shape != (n, 4) or self.labels.shape != (n,) or self.scores.shape != (n,):
            raise UserError(
                f"boxes, labels and scores must have shapes (n, 4), (n,) and (n,), not {self.boxes_yxyx.shape}, "
                f"{self.labels.shape} and {self.scores.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Detections":
        """Selects detections by indices, int [m], or by a mask, bool [n]."""
        return Detections(self.boxes_yxyx[indices], self.labels[indices], self.scores[indices])


class GroundTruth(Protocol):
    """The m objects of one image."""

    @property
    def boxes_yxyx(self) -> npt.NDArray[np.float32]:
        """float32 [m, 4]."""

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """int32 [m]."""

    @property
    def difficult(self) -> npt.NDArray[np.bool_]:
        """bool [m]; VOC's metrics ignore these objects."""

    @property
    def crowd(self) -> npt.NDArray[np.bool_]:
        """bool [m], boxes around groups of objects; all metrics ignore them."""

    @property
    def areas(self) -> npt.NDArray[np.float64] | None:
        """float64 [m], by which COCO's metrics distinguish sizes; NaN or None: those of the boxes."""


def validate(detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int) -> None:
    """Checks that detections can be compared with the ground truth.

    Raises:
        UserError: the numbers of images differ, a label is out of range, or a box or score is not finite.
    """
    if len(detections) != len(objects):
        raise UserError(f"there are detections for {len(detections)} images but ground truth for {len(objects)}")
    for image, (predicted, truth) in enumerate(zip(detections, objects, strict=True)):
        for name, labels in (("a detection", predicted.labels), ("an object", truth.labels)):
            if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
                wrong = labels[(labels < 0) | (labels >= classes)][0]
                raise UserError(f"image {image}: {name} has class {wrong}; classes must be in [0, {classes})")
        if not (np.isfinite(predicted.scores).all() and np.isfinite(predicted.boxes_yxyx).all()):
            raise UserError(f"image {image}: a detection has a NaN or infinite box or score: the network has diverged")


_PAIRS = 2**20
"""Pairs of a detection and an object that are compared at once; each takes about 40 bytes."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matching:
    """All detections and objects of some images, with the result of their matching.

    Detections are sorted by descending score, then by image, then by index in the image.

    Attributes:
        iou_threshold: minimum IoU of a true positive.
        image: int64 [D], image of each detection.
        index: int64 [D], position of each detection in its image.
        label: int64 [D], class of each detection.
        score: float64 [D].
        best_object: int64 [D], the object of the same class and image with the highest IoU, as an index into the
            objects; -1 if there is none. Crowds do not count.
        best_overlap: float64 [D], IoU with that object; 0 if there is none.
        true_positive: bool [D].
        ignored: bool [D], true for detections of an ignored object: neither true nor false positives.
        object_image: int64 [O], image of each object, in ascending order.
        object_index: int64 [O], position of each object in its image.
        object_label: int64 [O], class of each object.
        object_counted: bool [O], false for ignored objects: those that are difficult or a crowd.
        object_found: bool [O], true for objects with a true positive.
    """

    classes: int
    images: int
    iou_threshold: float
    image: Ints
    index: Ints
    label: Ints
    score: npt.NDArray[np.float64]
    best_object: Ints
    best_overlap: npt.NDArray[np.float64]
    true_positive: Bools
    ignored: Bools
    object_image: Ints
    object_index: Ints
    object_label: Ints
    object_counted: Bools
    object_found: Bools

    @property
    def false_positive(self) -> Bools:
        """bool [D]."""
        return ~self.true_positive & ~self.ignored

    @property
    def objects(self) -> Ints:
        """int64 [classes], number of objects of each class, without ignored ones."""
        return np.bincount(self.object_label[self.object_counted], minlength=self.classes)

    @property
    def class_images(self) -> Ints:
        """int64 [classes], number of images with objects of each class, without ignored ones."""
        counted = self.object_counted
        labels, _ = np.unique(np.stack([self.object_label[counted], self.object_image[counted]]), axis=1)
        return np.bincount(labels, minlength=self.classes)

    @property
    def images_with_objects(self) -> int:
        """Number of images with objects that are not ignored: what average precisions are measured from."""
        return len(np.unique(self.object_image[self.object_counted]))

    @property
    def by_class(self) -> list[Ints]:
        """Detections of each class, without ignored ones: indices, by descending score."""
        return grouped(self.label, ~self.ignored, self.classes)


def grouped(labels: Ints, chosen: Bools, classes: int) -> list[Ints]:
    """Positions of the chosen items of each class, ascending.

    >>> [part.tolist() for part in grouped(np.array([1, 0, 1, 1]), np.array([True, True, False, True]), 3)]
    [[1], [0, 3], []]
    """
    rows = np.flatnonzero(chosen)
    order = rows[np.argsort(labels[rows], kind="stable")]
    return np.split(order, np.cumsum(np.bincount(labels[rows], minlength=classes))[:-1])


def match(
    detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int, *, iou_threshold: float = 0.5
) -> Matching:
    """Matches the detections of some images to their objects.

    In order of descending score, each detection is compared only to the object of its class with the highest IoU (the
    first one, if several tie). If that IoU reaches the threshold, the detection is a true positive, or a false positive
    if the object is matched already. Detections that match a difficult object are ignored, and so are those that match
    nothing, if the share of their area inside a crowd of their class reaches the threshold.

    Raises:
        UserError: as in `matching.validate`.
    """
    validate(detections, objects, classes)
    starts = np.cumsum([0, *(len(truth.labels) for truth in objects)])
    bests, overlaps, shares = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)]
    for predicted, truth, start in zip(detections, objects, starts, strict=False):
        for part in in_parts(predicted, truth):
            best, best_overlap = _best(part, truth)
            bests.append(np.where(best < 0, -1, best + start))
            overlaps.append(best_overlap)
            shares.append(_share_in_crowd(part, truth))

    score = _concatenate([predicted.scores for predicted in detections], np.float64)
    order = np.argsort(-score, kind="stable")
    best, best_overlap = np.concatenate(bests)[order], np.concatenate(overlaps)[order]
    counted = _concatenate([~(truth.difficult | truth.crowd) for truth in objects], np.bool_)

    matched = np.flatnonzero((best >= 0) & (best_overlap >= iou_threshold))
    to_counted = counted[best[matched]]
    true_positive = np.zeros(len(score), bool)
    candidates = matched[to_counted]
    found_objects, first = np.unique(best[candidates], return_index=True)
    true_positive[candidates[first]] = True
    ignored = (np.concatenate(shares)[order] >= iou_threshold) & ~true_positive
    ignored[matched[~to_counted]] = True
    object_found = np.zeros(len(counted), bool)
    object_found[found_objects] = True

    image, index = _positions([len(predicted) for predicted in detections])
    object_image, object_index = _positions([len(truth.labels) for truth in objects])
    return Matching(
        classes=classes,
        images=len(detections),
        iou_threshold=iou_threshold,
        image=image[order],
        index=index[order],
        label=_concatenate([predicted.labels for predicted in detections], np.int64)[order],
        score=score[order],
        best_object=best,
        best_overlap=best_overlap,
        true_positive=true_positive,
        ignored=ignored,
        object_image=object_image,
        object_index=object_index,
        object_label=_concatenate([truth.labels for truth in objects], np.int64),
        object_counted=counted,
        object_found=object_found,
    )


def in_parts(predicted: Detections, truth: GroundTruth) -> Iterator[Detections]:
    """Yields the detections of an image, so many at a time that few have pairs with all objects in memory at once."""
    step = max(1, _PAIRS // max(1, len(truth.labels)))
    for first in range(0, len(predicted), step):
        yield predicted.take(np.arange(first, min(first + step, len(predicted))))


def _best(predicted: Detections, truth: GroundTruth) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Finds, for each detection, the object of its class with the highest IoU (-1 if there is none), and that IoU."""
    if not len(truth.labels):
        return np.full(len(predicted), -1), np.zeros(len(predicted))
    candidates = (predicted.labels[:, None] == truth.labels[None]) & ~truth.crowd
    overlaps = np.where(candidates, iou(predicted.boxes_yxyx, truth.boxes_yxyx), -1.0)
    best, highest = overlaps.argmax(axis=1), overlaps.max(axis=1)
    return np.where(highest < 0, -1, best), np.maximum(highest, 0.0)


def _share_in_crowd(predicted: Detections, truth: GroundTruth) -> npt.NDArray[np.float64]:
    """Returns the largest share of each detection that lies in one crowd of its class, float64 [n]."""
    crowds = truth.boxes_yxyx[truth.crowd].astype(np.float64)
    shares = share_inside(predicted.boxes_yxyx[:, None].astype(np.float64), crowds[None])
    same_class = predicted.labels[:, None] == truth.labels[truth.crowd][None]
    return np.where(same_class, shares, 0.0).max(axis=1, initial=0.0)


def _concatenate(parts: Sequence[npt.NDArray], dtype: type) -> npt.NDArray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def _positions(lengths: Sequence[int]) -> tuple[Ints, Ints]:
    """Returns (image, index in the image) of each item, given the number of items of each image."""
    image = np.repeat(np.arange(len(lengths)), lengths)
    return image, np.arange(len(image)) - np.repeat(np.cumsum([0, *lengths])[:-1], lengths)


def image_quality(matching: Matching, score_threshold: float) -> npt.NDArray[np.float64]:
    """Computes float64 [images], from 0 (no true positive) to 1 (perfect detections).

    NaN without detections and objects.

    This is panoptic quality (Kirillov et al. 2019, arXiv:1801.00868, equation 1) of boxes, over all classes: the sum of
    the true positives' IoUs divided by the mean of the numbers of detections and objects. Like F1, it decreases with
    each false positive and each missed object; unlike F1, it also measures how well the boxes fit.
    """
    accepted = ~matching.ignored & (matching.score >= score_threshold)
    right = accepted & matching.true_positive
    overlaps = np.bincount(matching.image[right], matching.best_overlap[right], minlength=matching.images)
    detections = np.bincount(matching.image[accepted], minlength=matching.images)
    objects = np.bincount(matching.object_image[matching.object_counted], minlength=matching.images)
    return ratio(overlaps, (detections + objects) / 2)


def worst_first(quality: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Returns the images in order of ascending quality, int64 [images without NaN].

    Images with equal quality keep their order.

    >>> worst_first(np.array([0.5, np.nan, 0.25, 0.5])).tolist()
    [2, 0, 3]
    """
    return np.argsort(quality, kind="stable")[: np.count_nonzero(~np.isnan(quality))]
