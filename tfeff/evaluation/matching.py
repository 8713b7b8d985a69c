"""Which detections are right, by the rules of Pascal VOC.

Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2, and the development kit's
`VOCevaldet.m`. The kit counts both border pixels of a box and hence adds 1 to every side; bottom and right are
exclusive here, so that areas and overlaps are the same without.

D: detections of all images together. O: objects of all images together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.boxes import iou
from tfeff.evaluation.detections import Detections, GroundTruth, check

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matching:
    """What became of every detection and of every object.

    Detections are in the order in which they were judged: by falling score, of equal scores the earlier image first,
    within an image the lower index.

    Attributes:
        classes: number of classes.
        images: number of images.
        overlap: intersection over union from which on a box is right.
        image: int64 [D], which image each detection is of.
        index: int64 [D], which detection of that image it is.
        label: int64 [D], its class.
        score: float64 [D].
        best: int64 [D], the object of its class and image that it overlaps most, as an index into the objects; -1 where
            there is none.
        best_overlap: float64 [D], that overlap; 0 where there is none.
        hit: bool [D], whether it is right.
        passed_over: bool [D], whether it is neither right nor wrong, since it is on an object that does not count.
        object_image: int64 [O], which image each object is in; objects are in the order of the images.
        object_index: int64 [O], which object of that image it is.
        object_label: int64 [O], its class.
        object_counts: bool [O], false for those that are difficult or a crowd.
        object_found: bool [O], whether a hit is on it.
    """

    classes: int
    images: int
    overlap: float
    image: Ints
    index: Ints
    label: Ints
    score: npt.NDArray[np.float64]
    best: Ints
    best_overlap: npt.NDArray[np.float64]
    hit: Bools
    passed_over: Bools
    object_image: Ints
    object_index: Ints
    object_label: Ints
    object_counts: Bools
    object_found: Bools

    @property
    def false(self) -> Bools:
        """bool [D], the detections that are wrong."""
        return ~self.hit & ~self.passed_over

    @property
    def objects(self) -> Ints:
        """int64 [classes], how many objects of each class count."""
        return np.bincount(self.object_label[self.object_counts], minlength=self.classes)


def match(
    detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int, *, overlap: float = 0.5
) -> Matching:
    """Judges all detections of some images.

    The surest detection is judged first. Each looks at the object of its class that it overlaps most (of equal ones the
    first), and no other: it is right if that overlap is enough and the object was not found before; found again it is
    wrong. On an object that is difficult, or a crowd, it is neither right nor wrong.

    Args:
        detections: of each image.
        objects: of each image, for instance `data.annotations.Objects`.
        classes: number of classes.
        overlap: intersection over union that is enough.

    Raises:
        UserError: as `detections.check` says.
    """
    check(detections, objects, classes)
    starts = np.cumsum([0, *(len(there.labels) for there in objects)])
    bests, overlaps = [np.zeros(0, np.int64)], [np.zeros(0)]
    for found, there, start in zip(detections, objects, starts, strict=False):
        best, best_overlap = _best(found, there)
        bests.append(np.where(best < 0, -1, best + start))
        overlaps.append(best_overlap)

    score = _joined([found.scores for found in detections], np.float64)
    order = np.argsort(-score, kind="stable")
    best, best_overlap = np.concatenate(bests)[order], np.concatenate(overlaps)[order]
    counts = _joined([~(there.difficult | there.crowd) for there in objects], np.bool_)

    close = np.flatnonzero((best >= 0) & (best_overlap >= overlap))
    on_counting = counts[best[close]]
    passed_over, hit = np.zeros(len(score), bool), np.zeros(len(score), bool)
    passed_over[close[~on_counting]] = True
    candidates = close[on_counting]
    found_objects, first = np.unique(best[candidates], return_index=True)
    hit[candidates[first]] = True
    object_found = np.zeros(len(counts), bool)
    object_found[found_objects] = True

    image, index = _positions([len(found) for found in detections])
    object_image, object_index = _positions([len(there.labels) for there in objects])
    return Matching(
        classes=classes,
        images=len(detections),
        overlap=overlap,
        image=image[order],
        index=index[order],
        label=_joined([found.labels for found in detections], np.int64)[order],
        score=score[order],
        best=best,
        best_overlap=best_overlap,
        hit=hit,
        passed_over=passed_over,
        object_image=object_image,
        object_index=object_index,
        object_label=_joined([there.labels for there in objects], np.int64),
        object_counts=counts,
        object_found=object_found,
    )


def _best(found: Detections, there: GroundTruth) -> tuple[Ints, npt.NDArray[np.float64]]:
    """The object of its own class that each detection overlaps most (-1: there is none of it), and how much."""
    if not len(there.labels):
        return np.full(len(found), -1), np.zeros(len(found))
    overlaps = np.where(found.labels[:, None] == there.labels[None], iou(found.boxes_yxyx, there.boxes_yxyx), -1.0)
    best, most = overlaps.argmax(axis=1), overlaps.max(axis=1)
    return np.where(most < 0, -1, best), np.maximum(most, 0.0)


def _joined(parts: Sequence[npt.NDArray], dtype: type) -> npt.NDArray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def _positions(lengths: Sequence[int]) -> tuple[Ints, Ints]:
    """(image, index within the image) of all items of images that have so many."""
    image = np.repeat(np.arange(len(lengths)), lengths)
    return image, np.arange(len(image)) - np.repeat(np.cumsum([0, *lengths])[:-1], lengths)
