"""What a detector says of an image, and what is there: the two sides that every measure of detection compares."""

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
        boxes_yxyx: float32 [n, 4], pixels of the image, bottom and right exclusive.
        labels: int32 [n], indices into the class names.
        scores: float32 [n], finite; higher is surer. Only their order counts, except where a threshold is named.
    """

    boxes_yxyx: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes_yxyx.shape != (n, 4) or self.labels.shape != (n,) or self.scores.shape != (n,):
            raise UserError(
                f"boxes {self.boxes_yxyx.shape}, labels {self.labels.shape} and scores {self.scores.shape} are not "
                f"those of the same detections: shapes (n, 4), (n,) and (n,) would be"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def none(cls) -> "Detections":
        """Those of an image in which nothing was found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))

    def take(self, indices: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Detections":
        """Those at some indices, int [m], in that order; or where a mask, bool [n], is true."""
        return Detections(self.boxes_yxyx[indices], self.labels[indices], self.scores[indices])


class GroundTruth(Protocol):
    """The m objects of one image, as `tfeff.data.annotations.Objects` has them."""

    @property
    def boxes_yxyx(self) -> npt.NDArray[np.float32]:
        """float32 [m, 4]."""

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """int32 [m]."""

    @property
    def difficult(self) -> npt.NDArray[np.bool_]:
        """bool [m]; VOC's measures pass over these."""

    @property
    def crowd(self) -> npt.NDArray[np.bool_]:
        """bool [m], boxes around many objects; COCO's measures pass over these."""


def check(detections: Sequence[Detections], objects: Sequence[GroundTruth], classes: int) -> None:
    """Refuses what cannot be compared.

    Args:
        detections: of each image.
        objects: of each image.
        classes: number of classes.

    Raises:
        UserError: the numbers of images differ, a label is no class, or a box or score is not finite.
    """
    if len(detections) != len(objects):
        raise UserError(
            f"detections of {len(detections)} images and objects of {len(objects)}: one each would be right"
        )
    for image, (found, there) in enumerate(zip(detections, objects, strict=True)):
        for what, labels in (("detections", found.labels), ("objects", there.labels)):
            if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
                wrong = labels[(labels < 0) | (labels >= classes)][0]
                raise UserError(f"image {image}: {what} of class {wrong}; 0 to {classes - 1} would be right")
        if not (np.isfinite(found.scores).all() and np.isfinite(found.boxes_yxyx).all()):
            raise UserError(f"image {image}: detections whose box or score is not finite: the network has diverged")
