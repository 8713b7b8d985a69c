"""Confusion matrix of a detector at a score threshold."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfeff.boxes import iou
from tfeff.evaluation.detections import Detections, GroundTruth
from tfeff.evaluation.matching import Matching


def best_f1_threshold(matching: Matching) -> float:
    """The score threshold with the highest micro-averaged F1; of several that tie, the one that accepts the fewest.

    It is the midpoint between the lowest accepted score and the next lower one, or 1 % below the lowest accepted score
    if there is no other, so that rounding in another runtime changes nothing. Results at this threshold are optimistic
    on the images it was chosen on. Choose it on other images.
    """
    rows = ~matching.ignored
    score, true_positives = matching.score[rows], np.cumsum(matching.true_positive[rows])
    if not len(score):
        return 0.0
    f1 = 2 * true_positives / (np.arange(1, len(score) + 1) + matching.objects.sum())
    last_of_score = np.append(score[1:] != score[:-1], True)
    lowest = int(np.where(last_of_score, f1, -1.0).argmax())
    if lowest + 1 < len(score):
        return float(score[lowest : lowest + 2].mean())
    return float(score[lowest] - 0.01 * abs(score[lowest]))


def detection_confusion(
    matching: Matching,
    detections: Sequence[Detections],
    objects: Sequence[GroundTruth],
    *,
    score_threshold: float,
) -> npt.NDArray[np.int64]:
    """Counts pairs of objects and detections by (class of the object, class of the detection); background is last.

    The diagonal contains the true positives. In order of descending score, each false positive is then paired with the
    unmatched object of another class that it overlaps most, if their IoU reaches the matching's threshold. Remaining
    detections count as background detected as an object, remaining objects as missed (detected as background). Ignored
    detections and objects are excluded.

    Args:
        matching: the result of `matching.match`.
        detections: detections of each image.
        objects: ground truth of each image.
        score_threshold: minimum score of the detections to count.

    Returns:
        int64 [classes + 1, classes + 1], classes of the objects in rows; 0 at (background, background).
    """
    background = matching.classes
    matrix = np.zeros((background + 1, background + 1), np.int64)
    accepted = matching.score >= score_threshold
    true_positives = matching.true_positive & accepted
    np.add.at(matrix, (matching.label[true_positives], matching.label[true_positives]), 1)

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
        matrix[true_label, label] += 1
    np.add.at(matrix[:, background], matching.object_label[free], 1)
    return matrix
