"""Assignment of an image's regions to its objects, by overlap."""

from dataclasses import dataclass

import numpy as np

from tfeff.boxes import iou, share_inside
from tfeff.boxes.coding import encode


@dataclass(frozen=True, eq=False)
class Regions:
    """n regions of one or several images, each assigned to the object that it overlaps most.

    Attributes:
        overlap: float32 [n], intersection over union with the assigned object; 0 if the image has no objects.
        label: int32 [n], class of the assigned object; -1 if the image has no objects.
        code: float32 [n, 4], box of the assigned object encoded relative to the region (`boxes.coding`); 0 if the image
            has no objects.
        is_object: bool [n], whether the region is the box of an object, not a proposal.
        covered: bool [n], whether more than IGNORED_OVERLAP of the region lies in a difficult or crowd object.
            Such a region is never used as background.
        image: int32 [n], index of the image.
    """

    overlap: np.ndarray
    label: np.ndarray
    code: np.ndarray
    is_object: np.ndarray
    covered: np.ndarray
    image: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def take(self, indices: np.ndarray) -> "Regions":
        """Selects regions by `indices`: int [m], or bool [n]."""
        return Regions(*(getattr(self, name)[indices] for name in self.__dataclass_fields__))


IGNORED_OVERLAP = 0.3
"""A region is not used as background if more than this fraction of its area lies in a difficult or crowd object."""


def assign(
    proposals_yxyx: np.ndarray, objects_yxyx: np.ndarray, labels: np.ndarray, ignored: np.ndarray, image: int = 0
) -> Regions:
    """Assigns the regions of one image to its objects. The regions are the boxes of `region_boxes`.

    Args:
        proposals_yxyx: float32 [n, 4].
        objects_yxyx: float32 [m, 4].
        labels: int [m], classes of the objects.
        ignored: bool [m], which objects are difficult or crowd. No region is assigned to them.
        image: index of the image.
    """
    objects = objects_yxyx[~ignored]
    boxes = region_boxes(proposals_yxyx, objects_yxyx, ignored)
    count = len(boxes)
    common = {
        "is_object": np.arange(count) < len(objects),
        "covered": ignored_overlap(boxes, objects_yxyx[ignored]) > IGNORED_OVERLAP,
        "image": np.full(count, image, np.int32),
    }
    if not len(objects):
        return Regions(
            overlap=np.zeros(count, np.float32),
            label=np.full(count, -1, np.int32),
            code=np.zeros((count, 4), np.float32),
            **common,
        )
    overlaps = iou(boxes, objects)
    assigned = overlaps.argmax(axis=1)
    assigned[: len(objects)] = np.arange(len(objects))  # also if two objects have the same box
    best = overlaps[np.arange(count), assigned]
    return Regions(
        overlap=best.astype(np.float32),
        label=labels[~ignored][assigned].astype(np.int32),
        code=encode(objects[assigned].astype(np.float64), boxes.astype(np.float64)).astype(np.float32),
        **common,
    )


def ignored_overlap(boxes_yxyx: np.ndarray, ignored_yxyx: np.ndarray) -> np.ndarray:
    """Returns the largest share of each box that one ignored object covers, as COCO computes it for crowds.

    Args:
        boxes_yxyx: float [n, 4].
        ignored_yxyx: float [m, 4].

    Returns:
        float64 [n], from 0 to 1; 0 if there are no ignored objects.
    """
    boxes, ignored = boxes_yxyx.astype(np.float64), ignored_yxyx.astype(np.float64)
    return share_inside(boxes[:, None], ignored[None]).max(axis=1, initial=0.0)


def region_boxes(proposals_yxyx: np.ndarray, objects_yxyx: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Returns boxes of the regions of an image: objects that are not ignored, then proposals; float32 [n, 4]."""
    return np.concatenate([objects_yxyx[~ignored], proposals_yxyx]).astype(np.float32).reshape(-1, 4)
