"""Error types of a detector, and how much mean average precision each of them costs.

Source: Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors" (arXiv:2008.08115), section
2, after Hoiem et al. 2012, "Diagnosing Error in Object Detectors". With the matching's IoU threshold t_f and a
background threshold t_b, a false positive has the first of these types whose condition holds:

- `box`: t_b <= IoU < t_f with an object of its class (localization error);
- `class`: IoU >= t_f with an object of another class (classification error);
- `duplicate`: IoU >= t_f with an object of its class that another detection has matched;
- `background`: IoU < t_b with all objects;
- `both`: t_b <= IoU < t_f with an object of another class only (classification and localization error).

An object is `missed` if it has no true positive and is not the target of a `box` or `class` error. Types and their
order are the paper's. Unlike its code, this module matches detections and computes average precision (all points) by
VOC's rules, and fixes each type independently; in the code, a `class` error with a higher score prevents a `box` error
of the same object from being fixed, and vice versa. Difficult objects and crowds are ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tfeff.boxes import iou
from tfeff.evaluation.average_precision import average_precisions, mean_average_precision
from tfeff.evaluation.confusion import ConfusionMatrix, confusion_matrix
from tfeff.evaluation.matching import Detections, GroundTruth, Matching, in_parts

KINDS = ("class", "box", "both", "duplicate", "background", "missed")
CLASS, BOX, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(KINDS))
NO_ERROR = -1
DEFAULT_THRESHOLD = 0.5
"""Score threshold if no detections choose one."""
BACKGROUND_IOU = 0.1
"""The paper's t_b: below it, a detection is background."""


@dataclass(frozen=True, eq=False)
class DetectionErrors:
    """The errors of a detector; rows are KINDS.

    Attributes:
        counts: int64 [kinds, classes], number of errors by the class of the detection or of the missed object.
        gains: float64 [kinds], increase of mean average precision if all errors of this type were fixed: `class` and
            `box` errors get the class or box of their target (only the one with the highest score per target; those
            with matched targets are removed), other false positives are removed, and missed objects are not counted.
            A class whose objects are all missed keeps an average precision of 0.
        kind: int64 [D], index into KINDS of each detection, in the matching's order; -1 if it is no error.
        target: int64 [D], target object of each `class` or `box` error, as an index into the matching's objects; -1
            for all other detections.
        missed: bool [O].
    """

    counts: npt.NDArray[np.int64]
    gains: npt.NDArray[np.float64]
    kind: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    missed: npt.NDArray[np.bool_]

    def counts_at(self, matching: Matching, score_threshold: float) -> npt.NDArray[np.int64]:
        """Returns the number of errors of each of KINDS if detections below a score are left out, int64 [kinds].

        The others keep their types, because these do not depend on detections with lower scores. An object that only
        lower scores find is missed.
        """
        accepted = matching.score >= score_threshold
        kinds = self.kind[accepted & (self.kind != NO_ERROR)]
        missed = matching.object_counted.copy()
        missed[matching.best_object[matching.true_positive & accepted]] = False
        missed[self.target[accepted & (self.target >= 0)]] = False
        counts = np.bincount(kinds, minlength=len(KINDS))
        counts[MISSED] = missed.sum()
        return counts


def detection_errors(
    matching: Matching, detections: Sequence[Detections], objects: Sequence[GroundTruth]
) -> DetectionErrors:
    """Classifies the errors of a detector."""
    own, own_overlap, other, other_overlap = _best_overlaps(matching, detections, objects)
    kind = np.select(
        [
            ~matching.false_positive,
            (own_overlap >= BACKGROUND_IOU) & (own_overlap < matching.iou_threshold),
            other_overlap >= matching.iou_threshold,
            own_overlap >= matching.iou_threshold,
            other_overlap < BACKGROUND_IOU,
        ],
        [NO_ERROR, BOX, CLASS, DUPLICATE, BACKGROUND],
        default=BOTH,
    )
    target = np.select([kind == BOX, kind == CLASS], [own, other], default=-1)
    missed = matching.object_counted & ~matching.object_found
    missed[target[target >= 0]] = False

    counts = np.zeros((len(KINDS), matching.classes), np.int64)
    error = kind != NO_ERROR
    np.add.at(counts, (kind[error], matching.label[error]), 1)
    np.add.at(counts[MISSED], matching.object_label[missed], 1)

    before = average_precisions(matching)
    gains = []
    for number in range(len(KINDS)):
        if number == MISSED:
            fixed = replace(matching, object_counted=matching.object_counted & ~missed)
        else:
            fixed = _fixed(matching, kind == number, target)
        after = average_precisions(fixed)
        after = np.where(np.isnan(after), before, after)
        gains.append(mean_average_precision(after) - mean_average_precision(before))
    # Rounded, because the order of summation causes differences of about 1e-17.
    return DetectionErrors(counts=counts, gains=np.round(gains, 12) + 0.0, kind=kind, target=target, missed=missed)


def _fixed(matching: Matching, errors: npt.NDArray[np.bool_], target: npt.NDArray[np.int64]) -> Matching:
    """Turns errors into true positives of their targets; those without an unmatched target are ignored."""
    rows = np.flatnonzero(errors & (target >= 0))
    rows = rows[~matching.object_found[target[rows]]]
    targets, first = np.unique(target[rows], return_index=True)
    true_positive, label = matching.true_positive.copy(), matching.label.copy()
    true_positive[rows[first]] = True
    label[rows[first]] = matching.object_label[targets]
    ignored = matching.ignored | (errors & ~true_positive)
    return replace(matching, true_positive=true_positive, label=label, ignored=ignored)


def _best_overlaps(
    matching: Matching, detections: Sequence[Detections], objects: Sequence[GroundTruth]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Finds the best objects of the same and of another class for each detection, [D] each.

    Returns (object of the same class, IoU, object of another class, IoU).

    Ignores difficult objects and crowds; the IoU is 0 if there is no object.
    """
    columns: list[list[npt.NDArray]] = [[], [], [], []]
    objects_before = 0
    for predicted, truth in zip(detections, objects, strict=True):
        for part in in_parts(predicted, truth):
            overlaps = iou(part.boxes_yxyx, truth.boxes_yxyx) * ~(truth.difficult | truth.crowd)
            same = part.labels[:, None] == truth.labels[None]
            if not len(truth.labels):
                overlaps, same = np.zeros((len(part), 1)), np.ones((len(part), 1), bool)
            for column, values in zip((0, 2), (overlaps * same, overlaps * ~same), strict=True):
                columns[column].append(values.argmax(axis=1) + objects_before)
                columns[column + 1].append(values.max(axis=1))
        objects_before += len(truth.labels)
    starts = np.cumsum([0, *map(len, detections)])
    order = starts[matching.image] + matching.index
    own, own_overlap, other, other_overlap = (np.concatenate([np.zeros(0), *parts])[order] for parts in columns)
    return own.astype(np.int64), own_overlap, other.astype(np.int64), other_overlap


def best_f1_threshold(matching: Matching) -> float:
    """Finds the score threshold with the highest micro-averaged F1.

    If several tie, it is the one that accepts the fewest.

    It is the midpoint between the lowest accepted score and the next lower one, or 1 % below the lowest accepted score
    if there is no other, so that rounding in another runtime changes nothing. Results at this threshold are optimistic
    on the images it was chosen on. Choose it on other images. If no detection is right, it is DEFAULT_THRESHOLD.
    """
    rows = ~matching.ignored
    score, true_positives = matching.score[rows], np.cumsum(matching.true_positive[rows])
    if not true_positives.any():
        return DEFAULT_THRESHOLD
    f1 = 2 * true_positives / (np.arange(1, len(score) + 1) + matching.objects.sum())
    last_of_score = np.append(score[1:] != score[:-1], True)
    lowest = int(np.where(last_of_score, f1, -1.0).argmax())
    if lowest + 1 < len(score):
        return float(score[lowest : lowest + 2].mean())
    return float(score[lowest] - 0.01 * abs(score[lowest]))


def detection_confusion(
    matching: Matching, detections: Sequence[Detections], objects: Sequence[GroundTruth], *, score_threshold: float
) -> ConfusionMatrix:
    """Counts pairs of objects and detections by (class of the object, class of the detection); background is last.

    The diagonal contains the true positives. In order of descending score, each false positive is then paired with the
    unmatched object of another class that it overlaps most, if their IoU reaches the matching's threshold. Remaining
    detections count as background detected as an object, remaining objects as not found (detected as background).
    Ignored detections and objects are excluded.

    Returns:
        The matrix of classes + 1 classes, with the classes of the objects as true classes.
    """
    background = matching.classes
    accepted = matching.score >= score_threshold
    true_positives = matching.true_positive & accepted
    true, predicted = list[int](), list[int]()

    free = matching.object_counted.copy()
    free[matching.best_object[true_positives]] = False
    first_object = np.searchsorted(matching.object_image, np.arange(matching.images))
    for detection in np.flatnonzero(matching.false_positive & accepted):
        image, label = matching.image[detection], matching.label[detection]
        truth = objects[image]
        in_image = slice(first_object[image], first_object[image] + len(truth.labels))
        candidates = free[in_image] & (truth.labels != label)
        true_label = background
        if candidates.any():
            box = detections[image].boxes_yxyx[matching.index[detection]]
            overlaps = iou(box[None], truth.boxes_yxyx)[0] * candidates
            best = overlaps.argmax()
            if overlaps[best] >= matching.iou_threshold:
                true_label = truth.labels[best]
                free[first_object[image] + best] = False
        true.append(true_label)
        predicted.append(label)
    found, missed = matching.label[true_positives], matching.object_label[free]
    return confusion_matrix(
        np.concatenate([found, np.array(true, np.int64), missed]),
        np.concatenate([found, np.array(predicted, np.int64), np.full(len(missed), background)]),
        background + 1,
    )
