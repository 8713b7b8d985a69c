"""Boxes that are probably annotated wrongly, by the detections of a trained detector.

After Tkachenko et al. 2023, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object Detection Data"
(arXiv:2309.00832), section 3: objects that were overlooked, badly located or given another class. Here, objects that no
detection confirms are a fourth kind, and each suspect is ranked on its own, not each image. Neighbors often overlap: a
detection that fits another annotation does not show that a box is misplaced. If it has the class of that annotation, it
does not show either that a class is wrong, unless nothing else was detected there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.boxes import iou, share_inside
from tfeff.evaluation.matching import Detections, GroundTruth

MISSING, CLASS, BOX, UNCONFIRMED = "missing", "class", "box", "unconfirmed"
KINDS = {
    MISSING: "a confident detection where nothing is annotated: the object may be missing",
    CLASS: "a detection of another class on the object, more confident than any of its class: the class may be wrong",
    BOX: "a detection of its class that fits the box poorly, and no other annotation: the box may be misplaced",
    UNCONFIRMED: "no confident detection near the object: there may be nothing",
}
SAME, NEAR = 0.5, 0.3
"""IoU of two boxes around one object; of a detection that an object explains, or that confirms one: at least."""
APART, WELL = 0.1, 0.6
"""IoU of a misplaced box with its object: at least, and less than."""
SUPPORTED = 0.5
"""Detections on an annotated object contradict it from this share of the threshold on: the annotation and the
detection agree that something is there."""


@dataclass(frozen=True)
class BoxSuspect:
    """A suspicious object, or the place of one that is missing.

    Attributes:
        kind: key of KINDS.
        image: index of the image.
        annotated: index of the object in the image; None if it is missing.
        detected: index of the detection in the image that contradicts it; None if there is none.
        suspicion: score in [0, 1] for ranking within a kind.
    """

    kind: str
    image: int
    annotated: int | None
    detected: int | None
    suspicion: float


def box_errors(
    detections: Sequence[Detections], objects: Sequence[GroundTruth], *, threshold: float
) -> dict[str, list[BoxSuspect]]:
    """Returns suspicious objects by kind, the most suspicious first.

    Args:
        detections: detections of each image, also those with low scores, in [0, 1].
        objects: objects of each image. Difficult objects and crowds are never suspicious, and explain detections on
            them.
        threshold: minimum score of a detection where nothing is annotated, and of one that confirms an object.
    """
    found = dict[str, list[BoxSuspect]]({kind: [] for kind in KINDS})
    for image, (predicted, truth) in enumerate(zip(detections, objects, strict=True)):
        overlaps = iou(predicted.boxes_yxyx, truth.boxes_yxyx).reshape(len(predicted), len(truth.labels))
        # A crowd explains every detection inside it.
        inside = share_inside(predicted.boxes_yxyx[:, None], truth.boxes_yxyx[None])
        found[MISSING] += _missing(image, predicted, np.where(truth.crowd, inside, overlaps), threshold)
        fits = overlaps >= SAME
        fitted = fits.sum(axis=1)
        explained = (fits & (predicted.labels[:, None] == truth.labels[None])).any(axis=1)
        for number in np.flatnonzero(~(truth.difficult | truth.crowd)).tolist():
            same, free = predicted.labels == truth.labels[number], fitted == fits[:, number]
            suspect = _contradicted(image, number, predicted, overlaps[:, number], same, free, explained, threshold)
            if suspect is not None:
                found[suspect.kind].append(suspect)
    misplaced = {(each.image, each.detected) for each in found[BOX]}
    found[MISSING] = [each for each in found[MISSING] if (each.image, each.detected) not in misplaced]
    return {kind: sorted(each, key=lambda suspect: -suspect.suspicion) for kind, each in found.items()}


def _missing(
    image: int, predicted: Detections, overlaps: npt.NDArray[np.floating], threshold: float
) -> list[BoxSuspect]:
    """Returns detections on nothing; of several at one place, the one with the highest score."""
    suspects, kept = list[BoxSuspect](), list[int]()
    nothing = overlaps.max(axis=1, initial=0.0) < NEAR
    for index in np.argsort(-predicted.scores, kind="stable").tolist():
        if not nothing[index] or predicted.scores[index] < threshold:
            continue
        boxes = predicted.boxes_yxyx
        if kept and iou(boxes[index : index + 1], boxes[kept]).max() >= SAME:
            continue
        kept.append(index)
        suspects.append(BoxSuspect(MISSING, image, None, index, float(predicted.scores[index])))
    return suspects


def _contradicted(
    image: int,
    number: int,
    predicted: Detections,
    overlaps: npt.NDArray[np.floating],
    same: npt.NDArray[np.bool_],
    free: npt.NDArray[np.bool_],
    explained: npt.NDArray[np.bool_],
    threshold: float,
) -> BoxSuspect | None:
    """What contradicts one object most, if anything does.

    Args:
        number: index of the object.
        overlaps: IoU of each detection with the object, [n].
        same: which detections have its class, [n].
        free: which detections fit no other object, [n].
        explained: which detections fit an object of their own class, [n].
    """
    if not len(predicted):
        return BoxSuspect(UNCONFIRMED, image, number, None, 1.0)
    scores = predicted.scores.astype(np.float64)
    on, well = overlaps >= SAME, overlaps >= WELL
    own, fitting = (float(scores[each & same].max(initial=0.0)) for each in (on, well))
    least = SUPPORTED * threshold
    others = np.where(on & ~same, scores, 0.0)
    unexplained = np.where(explained, 0.0, others)
    # The detection of a neighbor counts only if nothing else was detected here.
    other = unexplained if max(own, float(unexplained.max(initial=0.0))) >= least else others
    poor = np.where(same & free & ~well & (overlaps >= APART), scores, 0.0)
    index, misplaced = int(other.argmax()), int(poor.argmax())
    if other[index] >= least and other[index] > own and other[index] >= poor[misplaced]:
        return BoxSuspect(CLASS, image, number, index, float(other[index] - own))
    if fitting >= threshold:
        return None
    if poor[misplaced] >= least and poor[misplaced] > fitting:
        suspicion = (poor[misplaced] - fitting) * (1 - overlaps[misplaced])
        return BoxSuspect(BOX, image, number, misplaced, float(suspicion))
    near = float(scores[overlaps >= NEAR].max(initial=0.0))
    return BoxSuspect(UNCONFIRMED, image, number, None, 1 - near) if near < threshold else None
