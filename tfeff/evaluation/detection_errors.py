"""Why detections are wrong and objects not found, and what each kind of error costs.

Source: Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors" (arXiv:2008.08115), section
2, after Hoiem et al. 2012, "Diagnosing Error in Object Detectors". A wrong detection is of the first of these kinds
that it fits:

- `box`: it lies on an object of its class, but with an overlap from `background` up to (not including) `overlap`;
- `class`: it overlaps an object of another class enough;
- `duplicate`: it overlaps an object of its class enough, which a surer detection has found;
- `background`: it overlaps no object by as much as `background`;
- `both`: it overlaps an object of another class only, and not enough.

An object is `missed` if no detection found it, and none of the kinds `box` and `class` was meant for it. Kinds and
their order are the paper's. Different from its code, average precision is VOC's (all points), and so is the judgement
of what is right; and each kind is mended by itself, where the code lets a surer error of kind `class` on the same
object keep one of kind `box` from being mended, and the reverse. Objects that are difficult, or a crowd, are not looked
at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tfeff.boxes import iou
from tfeff.evaluation.average_precision import average_precisions, mean_average_precision
from tfeff.evaluation.detections import Detections, GroundTruth
from tfeff.evaluation.matching import Matching

KINDS = ("class", "box", "both", "duplicate", "background", "missed")
CLASS, BOX, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(KINDS))
NO_ERROR = -1


@dataclass(frozen=True, eq=False)
class DetectionErrors:
    """The errors among some detections; rows are KINDS.

    Attributes:
        counts: int64 [kinds, classes], errors by the class that the detection says (of missed objects: by their own).
        gains: float64 [kinds], by how much mean average precision would rise if all errors of that kind alone were
            mended: the class or box set right (of several such detections of one object the surest; the others, and
            those of objects found already, left out), other wrong detections left out, missed objects not counted. A
            class of which every object is missed keeps its 0.
        kind: int64 [D], index into KINDS of each detection, in the matching's order; -1 for those that are not wrong.
        target: int64 [D], the object that an error of the kinds `class` and `box` was meant for, as an index into the
            matching's objects; -1 for all others.
        missed: bool [O], which objects are missed.
    """

    counts: npt.NDArray[np.int64]
    gains: npt.NDArray[np.float64]
    kind: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    missed: npt.NDArray[np.bool_]


def detection_errors(
    matching: Matching,
    detections: Sequence[Detections],
    objects: Sequence[GroundTruth],
    *,
    background: float = 0.1,
) -> DetectionErrors:
    """Sorts the errors of some detections by kind.

    Args:
        matching: what `matching.match` made of them.
        detections: of each image.
        objects: of each image.
        background: intersection over union below which a detection is on none.
    """
    own, own_overlap, other, other_overlap = _neighbours(matching, detections, objects)
    kind = np.select(
        [
            ~matching.false,
            (own_overlap >= background) & (own_overlap < matching.overlap),
            other_overlap >= matching.overlap,
            own_overlap >= matching.overlap,
            other_overlap < background,
        ],
        [NO_ERROR, BOX, CLASS, DUPLICATE, BACKGROUND],
        default=BOTH,
    )
    target = np.select([kind == BOX, kind == CLASS], [own, other], default=-1)
    missed = matching.object_counts & ~matching.object_found
    missed[target[target >= 0]] = False

    counts = np.zeros((len(KINDS), matching.classes), np.int64)
    wrong = kind != NO_ERROR
    np.add.at(counts, (kind[wrong], matching.label[wrong]), 1)
    np.add.at(counts[MISSED], matching.object_label[missed], 1)

    before = average_precisions(matching)
    gains = []
    for number in range(len(KINDS)):
        if number == MISSED:
            mended = replace(matching, object_counts=matching.object_counts & ~missed)
        else:
            mended = _mended(matching, kind == number, target)
        after = average_precisions(mended)
        after = np.where(np.isnan(after), before, after)
        gains.append(mean_average_precision(after) - mean_average_precision(before))
    # Rounded, since sums taken in another order would leave a dust of 1e-17.
    return DetectionErrors(counts=counts, gains=np.round(gains, 12) + 0.0, kind=kind, target=target, missed=missed)


def _mended(matching: Matching, wrong: npt.NDArray[np.bool_], target: npt.NDArray[np.int64]) -> Matching:
    """The matching in which the wrong ones find their targets, or are passed over if they have none or come late."""
    aimed = np.flatnonzero(wrong & (target >= 0))
    aimed = aimed[~matching.object_found[target[aimed]]]
    reached, first = np.unique(target[aimed], return_index=True)
    hit, label = matching.hit.copy(), matching.label.copy()
    hit[aimed[first]] = True
    label[aimed[first]] = matching.object_label[reached]
    return replace(matching, hit=hit, label=label, passed_over=matching.passed_over | (wrong & ~hit))


def _neighbours(
    matching: Matching, detections: Sequence[Detections], objects: Sequence[GroundTruth]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The objects of its own class, and of others, that each detection overlaps most, and how much: [D] each.

    Only objects that count; 0 where there is none.
    """
    columns: list[list[npt.NDArray]] = [[], [], [], []]
    objects_before = 0
    for found, there in zip(detections, objects, strict=True):
        overlaps = iou(found.boxes_yxyx, there.boxes_yxyx) * ~(there.difficult | there.crowd)
        same = found.labels[:, None] == there.labels[None]
        if not len(there.labels):
            overlaps, same = np.zeros((len(found), 1)), np.ones((len(found), 1), bool)
        for column, values in zip((0, 2), (overlaps * same, overlaps * ~same), strict=True):
            columns[column].append(values.argmax(axis=1) + objects_before)
            columns[column + 1].append(values.max(axis=1))
        objects_before += len(there.labels)
    starts = np.cumsum([0, *map(len, detections)])
    place = starts[matching.image] + matching.index
    own, own_overlap, other, other_overlap = (np.concatenate([np.zeros(0), *parts])[place] for parts in columns)
    return own.astype(np.int64), own_overlap, other.astype(np.int64), other_overlap
