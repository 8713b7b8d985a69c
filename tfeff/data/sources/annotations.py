"""Checks the annotated objects of one image and fixes what can be fixed."""

from typing import Literal

import numpy as np

from tfeff.data.dataset import Defects, Objects, Written


class ObjectCollector:
    """Collects the objects of one image.

    Args:
        where: the annotation file, for messages.
        size: (height, width) of the image.
        defects: where invalid annotations are counted.
        origin: index of the first row and column. 0: corners are edges, with right and bottom exclusive. 1: corners are
            pixels that belong to the box, as in VOC files; two corners in one row or column are a mistake, so such a
            box has no area.
    """

    def __init__(self, where: str, size: tuple[int, int], defects: Defects, *, origin: Literal[0, 1] = 0) -> None:
        self._where, (self._height, self._width), self._defects = where, size, defects
        self._origin = origin
        self._rows: list[tuple[tuple[float, float, float, float], int, bool, bool]] = []
        self._written: list[tuple[tuple[float, float, float, float], int]] = []

    def add(
        self,
        number: int,
        yxyx: tuple[float, float, float, float],
        label: int,
        *,
        difficult: bool = False,
        crowd: bool = False,
    ) -> None:
        """Adds object `number` (counted from 1, for messages), unless its box is beyond repair."""
        top, left, bottom, right = yxyx
        self._written.append((yxyx, label))
        if not all(np.isfinite(yxyx)):
            self._defects.add("box that is not finite", f"{self._where}, object {number}: {yxyx}")
            return
        if bottom < top or right < left:
            self._defects.add("swapped corners", f"{self._where}, object {number}: {yxyx}")
            top, bottom = min(top, bottom), max(top, bottom)
            left, right = min(left, right), max(left, right)
        if bottom > top and right > left:
            top, left = top - self._origin, left - self._origin
        clipped = max(top, 0.0), max(left, 0.0), min(bottom, float(self._height)), min(right, float(self._width))
        outside = False
        if clipped != (top, left, bottom, right):
            outside = clipped[0] >= clipped[2] or clipped[1] >= clipped[3]
            kind = "box outside the image" if outside and bottom > top and right > left else "box partly outside"
            self._defects.add(kind, f"{self._where}, object {number}: {yxyx} in {self._height} x {self._width}")
        # In single precision, as boxes are stored, a sliver may have no area.
        stored = np.array(clipped, np.float32)
        if (stored[:2] >= stored[2:]).any():
            if not outside or bottom <= top or right <= left:
                self._defects.add("box without area", f"{self._where}, object {number}: {yxyx}")
            return
        self._rows.append((clipped, label, difficult, crowd))

    def add_unnamed(self, yxyx: tuple[float, float, float, float], label: int) -> None:
        """Notes an object whose class is not among the dataset's, which `objects` lacks; see `Written.labels`."""
        self._written.append((yxyx, label))

    def written(self, image_size: tuple[int, int] | None = None) -> Written:
        """All objects of the annotation, also those that `objects` lacks.

        Args:
            image_size: see `Written`.
        """
        boxes, labels = zip(*self._written, strict=True) if self._written else ((), ())
        return Written(np.array(boxes, np.float64).reshape(-1, 4), np.array(labels, np.int64), image_size)

    def objects(self) -> Objects:
        """The objects added so far."""
        boxes, labels, difficult, crowd = zip(*self._rows, strict=True) if self._rows else ((), (), (), ())
        return Objects(
            boxes_yxyx=np.array(boxes, np.float32).reshape(-1, 4),
            labels=np.array(labels, np.int32),
            difficult=np.array(difficult, bool),
            crowd=np.array(crowd, bool),
        )
