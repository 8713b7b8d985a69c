"""What a detector takes for what, once it has to say what it believes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfeff.boxes import iou
from tfeff.evaluation.detections import Detections, GroundTruth
from tfeff.evaluation.matching import Matching


def best_f1_threshold(matching: Matching) -> float:
    """The score from which on detections are to be believed, so that F1 over all classes together is greatest.

    Of equal ones the highest score. Chosen on the images that it is then used on it flatters; choose it on others.
    """
    judged = ~matching.passed_over
    score, hits = matching.score[judged], np.cumsum(matching.hit[judged])
    if not len(score):
        return 0.0
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + matching.objects.sum())
    last_of_its_score = np.append(score[1:] != score[:-1], True)
    return float(score[np.where(last_of_its_score, f1, -1.0).argmax()])


def detection_confusion(
    matching: Matching,
    detections: Sequence[Detections],
    objects: Sequence[GroundTruth],
    *,
    score_threshold: float,
) -> npt.NDArray[np.int64]:
    """Counts of every (class of the object, class of the detection), with background as the last of both.

    The diagonal holds the detections that are right. The others, the surest first, are then held against the objects
    that are left: each goes with the free object of another class that it overlaps most, if that is enough. What is
    left of the detections is on background, what is left of the objects was taken for it. Detections and objects that
    do not count are left out.

    Args:
        matching: what `matching.match` made of them; its overlap is what is enough.
        detections: of each image.
        objects: of each image.
        score_threshold: detections with this score or a higher one are believed.

    Returns:
        int64 [classes + 1, classes + 1], rows are the objects' classes; 0 at (background, background).
    """
    background = matching.classes
    matrix = np.zeros((background + 1, background + 1), np.int64)
    believed = matching.score >= score_threshold
    right, wrong = matching.hit & believed, np.flatnonzero(matching.false & believed)
    np.add.at(matrix, (matching.label[right], matching.label[right]), 1)

    free = matching.object_counts.copy()
    free[matching.best[right]] = False
    first_object = np.searchsorted(matching.object_image, np.arange(matching.images))
    for detection in wrong:
        image, label = matching.image[detection], matching.label[detection]
        there = objects[image]
        of_image = slice(first_object[image], first_object[image] + len(there.labels))
        open_to_it = free[of_image] & (there.labels != label)
        taken_for = background
        if open_to_it.any():
            box = detections[image].boxes_yxyx[matching.index[detection]]
            overlaps = iou(box[None], there.boxes_yxyx)[0] * open_to_it
            most = overlaps.argmax()
            if overlaps[most] >= matching.overlap:
                taken_for = there.labels[most]
                free[first_object[image] + most] = False
        matrix[taken_for, label] += 1
    np.add.at(matrix[:, background], matching.object_label[free], 1)
    return matrix
