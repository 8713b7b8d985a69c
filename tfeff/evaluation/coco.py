"""COCO's detection metrics.

Source: Lin et al. 2014, "Microsoft COCO" (arXiv:1405.0312); cocodataset.org, "Detection Evaluation". The rules are
those of the reference implementation, pycocotools (`COCOeval`), also for equal scores and overlaps. It takes each image
and class in a loop; here, classes are evaluated one after the other, with all images, IoU thresholds and sizes at once.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tfeff.boxes import xywh_from_yxyx
from tfeff.evaluation.average_precision import mean_average_precision
from tfeff.evaluation.bootstrap import CHUNK, draws
from tfeff.evaluation.matching import Bools, Detections, GroundTruth, Ints, grouped, validate

METRICS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
"""The twelve metrics, in the order of pycocotools: average precision (AP), the mean over the IoU thresholds .50, .55,
..., .95 and over classes; AP at an IoU of .5 and of .75, and of small, medium and large objects; average recall (AR),
the mean over the same thresholds and classes, with at most 1, 10 and 100 detections per image and class; AR of small,
medium and large objects with at most 100. Sizes are areas in square pixels: small below 32², large above 96². Those of
objects are as annotated (COCO's: of the masks), else those of their boxes."""


Floats = npt.NDArray[np.float64]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which precision is averaged."""
AREAS = np.array([(0, 1e5**2), (0, 32**2), (32**2, 96**2), (96**2, 1e5**2)])
"""(smallest, largest) area of all, small, medium and large objects, in square pixels."""
_AP = "ap", "ap_small", "ap_medium", "ap_large"  # of AREAS
MOST = 100
"""Detections per image and class that count."""
PAIRS = 2**15
"""Pairs of a detection and an object that are matched at once, about: a tensor then has about 10 MB."""


def coco_scores(detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int) -> dict[str, Any]:
    """Computes COCO's metrics. Crowds are ignored; difficult objects are not, because COCO has no such flag.

    Returns:
        METRICS by name, and `ap_per_class`, float64 [classes], `ap` of each class; NaN if no object qualifies. Also
        `capped`, the number of images with more than MOST objects of a class, of which some cannot be found; and
        `difficult`, the number of difficult objects, which count as objects to be found.

    Raises:
        UserError: as in `matching.validate`.
    """
    validate(detections, objects, classes)
    precision = np.full((classes, len(AREAS), len(THRESHOLDS)), np.nan)  # averaged over RECALLS
    recall = np.full((classes, len(AREAS), len(THRESHOLDS)), np.nan)
    few = {most: np.full((classes, len(THRESHOLDS)), np.nan) for most in (1, 10)}
    capped = np.zeros(len(objects), bool)
    for label, (found, truth) in enumerate(_by_class(detections, objects, classes)):
        judged = _judged(found, truth)
        counted = judged.counted.sum(axis=1)
        capped |= np.bincount(truth.image[~truth.crowd], minlength=len(objects)) > MOST
        for area in np.flatnonzero(counted):
            hits = judged.right[area]
            precision[label, area] = _mean_precisions(hits, judged.wrong[area], int(counted[area]))
            recall[label, area] = hits.sum(axis=1) / counted[area]
        for most, values in few.items():
            if counted[0]:
                values[label] = judged.right[0][:, judged.rank < most].sum(axis=1) / counted[0]
    ap, ar = (mean_average_precision(values, axis=(0, 2)).tolist() for values in (precision, recall))
    at = mean_average_precision(precision[:, 0], axis=0)
    ar_few = [float(mean_average_precision(values, axis=(0, 1))) for values in few.values()]
    means = [ap[0], float(at[0]), float(at[5]), *ap[1:], *ar_few, *ar]
    per_class = mean_average_precision(precision[:, 0], axis=1)
    counts = {
        "capped": int(capped.sum()),
        "difficult": sum(int(np.count_nonzero(each.difficult & ~each.crowd)) for each in objects),
    }
    return {**dict(zip(METRICS, means, strict=True)), "ap_per_class": per_class, **counts}


def bootstrap_coco_ap(
    detections: Sequence[Detections],
    objects: Sequence[GroundTruth],
    classes: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Floats]:
    """Computes COCO AP, of all objects and by their size, on the resamples of `bootstrap_average_precisions`.

    Returns:
        `ap`, `ap_small`, `ap_medium` and `ap_large` (see METRICS), float64 [resamples]; NaN if no object qualifies.

    Raises:
        UserError: as in `matching.validate`.
    """
    validate(detections, objects, classes)
    judged = [_judged(*each) for each in _by_class(detections, objects, classes)]
    parts = list[Floats]()
    for drawn in draws(len(objects), resamples, seed):
        times = np.ascontiguousarray(drawn.T)
        parts.append(mean_average_precision(np.stack([_resampled(each, times) for each in judged], axis=-1)))
    return dict(zip(_AP, np.concatenate(parts, axis=1), strict=True))


def images_by_size(objects: Sequence[GroundTruth]) -> dict[str, int]:
    """Returns the number of images with objects that COCO AP counts, of any size and by their size.

    Keys are those of `bootstrap_coco_ap`.
    """
    with_objects = [(~each.crowd & ~_outside(areas(each))).any(axis=1) for each in objects]
    return dict(zip(_AP, np.sum(with_objects, axis=0).tolist(), strict=True))


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
            predicted.labels.tolist(), _xywh(predicted.boxes_yxyx).tolist(), predicted.scores.tolist(), strict=True
        )
    ]


class _Found(NamedTuple):
    """Detections of a class, at most MOST per image: by image, then by descending score.

    Attributes:
        rank: position in its image.
        xywh: float64 [n, 4].
    """

    image: Ints
    rank: Ints
    score: Floats
    xywh: Floats


class _Truth(NamedTuple):
    """Objects of a class, by image."""

    image: Ints
    crowd: Bools
    xywh: Floats
    area: Floats


class _Judged(NamedTuple):
    """The detections of a class by descending score, and which objects of the class count, for each of AREAS.

    Attributes:
        rank: position in its image.
        right: true positives, bool [areas, thresholds, detections].
        wrong: false positives, of the same shape; detections that are neither do not count.
        object_image: image of each object.
        counted: objects to be found, bool [areas, objects].
    """

    image: Ints
    rank: Ints
    right: Bools
    wrong: Bools
    object_image: Ints
    counted: Bools


def _judged(found: _Found, truth: _Truth) -> _Judged:
    ignored = truth.crowd | _outside(truth.area)
    order = np.argsort(-found.score, kind="stable")
    right, wrong = (each[..., order] for each in _matched(found, truth, ignored))
    return _Judged(found.image[order], found.rank[order], right, wrong, truth.image, ~ignored)


def _by_class(
    detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int
) -> Iterator[tuple[_Found, _Truth]]:
    """Returns the detections and the objects of each class."""
    images = [np.repeat(np.arange(len(each)), [len(one.labels) for one in each]) for each in (detections, objects)]
    labels = [_concatenated([one.labels for one in each], np.int64) for each in (detections, objects)]
    boxes = [
        np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes_yxyx for one in each)])
        for each in (detections, objects)
    ]
    scores = _concatenated([each.scores for each in detections], np.float32)
    crowd = _concatenated([each.crowd for each in objects], np.bool_)
    sizes = _concatenated([areas(each) for each in objects], np.float64)
    rows = zip(*(grouped(each, np.ones(len(each), bool), classes) for each in labels), strict=True)
    for found, truth in rows:
        found = found[np.lexsort((-scores[found], images[0][found]))]
        image = images[0][found]
        rank = np.arange(len(found)) - np.searchsorted(image, image)
        kept = found[rank < MOST]
        yield (
            _Found(images[0][kept], rank[rank < MOST], scores[kept].astype(np.float64), _xywh(boxes[0][kept])),
            _Truth(images[1][truth], crowd[truth], _xywh(boxes[1][truth]), sizes[truth]),
        )


def _xywh(boxes_yxyx: npt.NDArray[np.float32]) -> Floats:
    """Returns float64 [n, 4] as [left, top, width, height]."""
    return xywh_from_yxyx(boxes_yxyx.astype(np.float64))


def areas(objects: GroundTruth) -> Floats:
    """Returns float64 [m], the areas of the objects, or else of their boxes."""
    boxes = _box_areas(_xywh(objects.boxes_yxyx))
    return boxes if objects.areas is None else np.where(np.isnan(objects.areas), boxes, objects.areas)


def _box_areas(xywh: Floats) -> Floats:
    return xywh[:, 2] * xywh[:, 3]


def _outside(area: Floats) -> Bools:
    """Returns bool [areas, n], whether areas [n] are outside of each of AREAS."""
    return (area < AREAS[:, :1]) | (area > AREAS[:, 1:])


def _matched(found: _Found, truth: _Truth, ignored: Bools) -> tuple[Bools, Bools]:
    """Matches the detections of a class to its objects.

    In order of descending score, each detection gets the free object with the highest IoU (the last one, if several
    tie) of those that are not ignored, or else of those that are; crowds are never used up. Detections of ignored
    objects, and unmatched ones whose area is outside, do not count.

    Args:
        ignored: bool [areas, objects].

    Returns:
        True and false positives, bool [areas, thresholds, detections].
    """
    shape = len(AREAS), len(THRESHOLDS)
    taken = np.zeros((*shape, len(truth.image)), bool)
    matched, uncounted = np.zeros((2, *shape, len(found.image)), bool)
    first, last = (np.searchsorted(truth.image, found.image, side) for side in ("left", "right"))
    paired = np.flatnonzero(last > first)
    for chunk in _chunks(paired, found.rank, last - first):
        number = last[chunk] - first[chunk]
        starts = np.cumsum(number) - number
        # Each detection of the chunk with each object of its image; the detections are of different images.
        detection, pair = np.repeat(np.arange(len(chunk)), number), np.arange(number.sum())
        target = first[chunk][detection] + pair - starts[detection]
        overlap = _iou(found.xywh[chunk][detection], truth.xywh[target], truth.crowd[target])
        fits = overlap >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
        fits = fits & (~taken[:, :, target] | truth.crowd[target])
        real = fits & ~ignored[:, None, target]
        has_real = np.logical_or.reduceat(real, starts, axis=2)
        fits = np.where(has_real[:, :, detection], real, fits)
        value = np.where(fits, overlap, -1.0)
        best = fits & (value == np.maximum.reduceat(value, starts, axis=2)[:, :, detection])
        chosen = np.maximum.reduceat(np.where(best, pair, -1), starts, axis=2)
        area, threshold, number = np.nonzero(chosen >= 0)
        object_ = target[chosen[area, threshold, number]]
        taken[area, threshold, object_] = True
        matched[area, threshold, chunk[number]] = True
        uncounted[area, threshold, chunk[number]] = ignored[area, object_]
    return matched & ~uncounted, ~matched & ~_outside(_box_areas(found.xywh))[:, None]


def _chunks(rows: Ints, rank: Ints, pairs: Ints) -> Iterator[Ints]:
    """Parts of detections of equal rank, and so of different images: the highest scores first.

    Args:
        rows: the detections.
        rank: position of each detection in its image.
        pairs: number of objects that each detection is compared with.
    """
    order = rows[np.argsort(rank[rows], kind="stable")]
    for part in np.split(order, np.flatnonzero(np.diff(rank[order])) + 1):
        chunk = np.cumsum(pairs[part]) // PAIRS
        yield from np.split(part, np.flatnonzero(np.diff(chunk)) + 1)


def _iou(first: Floats, second: Floats, crowd: Bools) -> Floats:
    """Returns float64 [n], IoU of pairs of boxes [left, top, width, height]; of crowds, the share of the first box."""
    near = np.maximum(first[:, :2], second[:, :2])
    far = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    common = np.maximum(far - near, 0.0).prod(axis=1)
    own, other = first[:, 2] * first[:, 3], second[:, 2] * second[:, 3]
    union = np.where(crowd, own, own + other - common)
    return np.divide(common, union, out=np.zeros(len(common)), where=common > 0)


def _mean_precisions(right: Bools, wrong: Bools, objects: int) -> Floats:
    """Returns float64 [thresholds], mean over RECALLS of the highest precision at this recall or above; 0 beyond.

    Args:
        right: bool [thresholds, n], true positives, by descending score.
        wrong: bool [thresholds, n], false positives.
    """
    hits = np.cumsum(right, axis=1)
    precision = hits / np.maximum(hits + np.cumsum(wrong, axis=1), 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = [np.searchsorted(row / objects, RECALLS) for row in hits]
    return np.array([np.append(row, 0.0)[at].mean() for row, at in zip(envelope, reached, strict=True)])


def _resampled(judged: _Judged, times: npt.NDArray[np.int32]) -> Floats:
    """Returns float64 [areas, resamples], AP of a class, the mean over the thresholds.

    Args:
        times: how often each image is drawn, [images, resamples].
    """
    values = np.full((len(AREAS), times.shape[1]), np.nan)
    for area, counted in enumerate(judged.counted):
        objects = np.bincount(judged.object_image[counted], minlength=len(times)) @ times
        some = np.flatnonzero(objects)
        if len(some):
            at = [
                _resampled_precisions(judged.image, right, wrong, times, objects)
                for right, wrong in zip(judged.right[area], judged.wrong[area], strict=True)
            ]
            values[area, some] = np.mean(at, axis=0)[some]
    return values


def _resampled_precisions(
    image: Ints, right: Bools, wrong: Bools, times: npt.NDArray[np.int32], objects: Ints
) -> Floats:
    """Returns float64 [resamples], the mean precision of `_mean_precisions` in each resample.

    Args:
        image: image of each detection, by descending score.
        right: bool [n], true positives at one threshold.
        wrong: bool [n], false positives.
        times: how often each image is drawn, [images, resamples].
        objects: number of objects in each resample.
    """
    hits, values = np.flatnonzero(right), np.zeros(times.shape[1])
    # Precision matters only at hits: detections are counted together with the next hit, by image.
    counted = np.flatnonzero(right | wrong)
    nearest = np.searchsorted(hits, counted)
    before = nearest < len(hits)
    cells = nearest[before], image[counted[before]]
    number = sparse.csr_array((np.ones(before.sum(), np.int32), cells), shape=(len(hits), len(times)))
    step = max(1, CHUNK // max(1, len(hits)))
    for start in range(0, len(values) if len(hits) else 0, step):
        part = slice(start, start + step)
        found = np.cumsum(times[image[hits], part], axis=0, dtype=np.int32)
        precision = found / np.maximum(np.cumsum(number @ times[:, part], axis=0, dtype=np.int32), 1)
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        reached = np.searchsorted(RECALLS, found / np.maximum(objects[part], 1), side="right")
        values[part] = (np.diff(reached, axis=0, prepend=0) * envelope).sum(axis=0) / len(RECALLS)
    return values


def _concatenated(parts: Sequence[npt.NDArray], dtype: type) -> npt.NDArray:
    return np.concatenate([np.zeros(0, dtype), *parts])
