"""What each region is to learn, by its overlap with the objects of its image."""

from dataclasses import dataclass

import numpy as np

from tfeff.boxes import area, intersection, iou
from tfeff.boxes.coding import encode


@dataclass(frozen=True, eq=False)
class Regions:
    """n regions of one or several images, each seen from the object of its image that it overlaps most.

    Attributes:
        overlap: float32 [n], intersection over union with that object; 0 where the image has none.
        label: int32 [n], that object's class; -1 where there is none.
        code: float32 [n, 4], that object's box as seen from the region (`boxes.coding`); 0 where there is none.
        is_object: bool [n], whether the region is an object's own box, no proposal.
        ignored: bool [n], whether it lies on an object marked difficult or crowd: neither object nor background.
        image: int32 [n], which image it is of.
    """

    overlap: np.ndarray
    label: np.ndarray
    code: np.ndarray
    is_object: np.ndarray
    ignored: np.ndarray
    image: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def take(self, indices: np.ndarray) -> "Regions":
        """Those at `indices` (int [m], or bool [n]), in that order."""
        return Regions(*(getattr(self, name)[indices] for name in self.__dataclass_fields__))


IGNORED_OVERLAP = 0.3
"""Share of a region that lies in a difficult or crowd object, from which on it teaches nothing."""


def assign(
    boxes_yxyx: np.ndarray, objects_yxyx: np.ndarray, labels: np.ndarray, left_out: np.ndarray, image: int = 0
) -> Regions:
    """The regions of one image: the boxes of its objects, then its proposals.

    Args:
        boxes_yxyx: float32 [n, 4], the proposals.
        objects_yxyx: float32 [m, 4].
        labels: int [m].
        left_out: bool [m], objects that are difficult or crowd; they give no regions of their own.
        image: number of the image.

    Returns:
        Regions of `together(boxes_yxyx, objects_yxyx, left_out)`.
    """
    kept, aside = objects_yxyx[~left_out], objects_yxyx[left_out]
    boxes = together(boxes_yxyx, objects_yxyx, left_out)
    count = len(boxes)
    own = np.arange(count) < len(kept)
    on_aside = aside_overlap(boxes, aside)
    common = {"is_object": own, "image": np.full(count, image, np.int32)}
    if not len(kept):
        return Regions(
            overlap=np.zeros(count, np.float32),
            label=np.full(count, -1, np.int32),
            code=np.zeros((count, 4), np.float32),
            ignored=on_aside > IGNORED_OVERLAP,
            **common,
        )
    overlaps = iou(boxes, kept)
    nearest = overlaps.argmax(axis=1)
    nearest[: len(kept)] = np.arange(len(kept))  # of two objects with one box, each is its own
    best = overlaps[np.arange(count), nearest]
    return Regions(
        overlap=best.astype(np.float32),
        label=labels[~left_out][nearest].astype(np.int32),
        code=encode(kept[nearest].astype(np.float64), boxes.astype(np.float64)).astype(np.float32),
        ignored=(on_aside > IGNORED_OVERLAP) & (on_aside > best),
        **common,
    )


def aside_overlap(boxes_yxyx: np.ndarray, aside_yxyx: np.ndarray) -> np.ndarray:
    """Largest share of each box [n, 4] that lies in one of `aside_yxyx` [m, 4]: float64 [n], as COCO judges crowds."""
    common = intersection(boxes_yxyx, aside_yxyx)
    own = area(boxes_yxyx)[:, None]
    return np.divide(common, own, out=np.zeros_like(common), where=own > 0).max(axis=1, initial=0.0)


def together(boxes_yxyx: np.ndarray, objects_yxyx: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """The boxes that an image is learned from: its objects', then its proposals; float32 [n, 4]."""
    return np.concatenate([objects_yxyx[~left_out], boxes_yxyx]).astype(np.float32).reshape(-1, 4)
