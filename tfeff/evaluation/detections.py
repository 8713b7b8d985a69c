"""Detections and ground truth, the inputs of all detection metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tfeff.errors import UserError


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

    @classmethod
    def none(cls) -> "Detections":
        """No detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))

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


def validate(detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int) -> None:
    """Checks that detections can be compared with the ground truth.

    Args:
        detections: detections of each image.
        objects: ground truth of each image.
        classes: number of classes.

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
