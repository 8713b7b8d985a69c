"""Images with boxes around their objects: what every detection data set becomes.

Boxes are `yxyx` in pixels of the image as it is stored: (top, left, bottom, right), right and bottom exclusive, so that
a box of the whole image is (0, 0, height, width).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tfeff.errors import UserError

OnDefect = Literal["fix", "error"]
"""What to do with an annotation that cannot be as it is: mend or leave it out, and count it; or end with a message."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The n objects of one image.

    Attributes:
        boxes_yxyx: float32 [n, 4].
        labels: int32 [n], indices into the class names.
        difficult: bool [n]; those that VOC's measures pass over.
        crowd: bool [n]; boxes around many objects, which COCO's measures pass over.
    """

    boxes_yxyx: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


class Collector:
    """Gathers the objects of one image, mending what can be mended.

    Args:
        where: the annotation file, for messages.
        size: (height, width) of the image.
        report: counts the defects.
        origin: what the first row and column are called. 0: corners are edges, right and bottom exclusive. 1: corners
            are pixels that belong to the box, as VOC writes them, so that two corners in one row make a slip of the
            hand, without area.
    """

    def __init__(self, where: str, size: tuple[int, int], report: "Report", *, origin: Literal[0, 1] = 0) -> None:
        self._where, (self._height, self._width), self._report = where, size, report
        self._origin = origin
        self._rows: list[tuple[tuple[float, float, float, float], int, bool, bool]] = []

    def add(
        self,
        number: int,
        yxyx: tuple[float, float, float, float],
        label: int,
        *,
        difficult: bool = False,
        crowd: bool = False,
    ) -> None:
        """Adds object `number` (counted from 1, for messages), unless nothing can be made of its box."""
        top, left, bottom, right = yxyx
        if not all(np.isfinite(yxyx)):
            self._report.defect("box that is not finite", f"{self._where}, object {number}: {yxyx}")
            return
        if bottom < top or right < left:
            self._report.defect("swapped corners", f"{self._where}, object {number}: {yxyx}")
            top, bottom = min(top, bottom), max(top, bottom)
            left, right = min(left, right), max(left, right)
        if bottom > top and right > left:
            top, left = top - self._origin, left - self._origin
        inside = max(top, 0.0), max(left, 0.0), min(bottom, float(self._height)), min(right, float(self._width))
        outside = False
        if inside != (top, left, bottom, right):
            outside = inside[0] >= inside[2] or inside[1] >= inside[3]
            what = "box outside the image" if outside and bottom > top and right > left else "box partly outside"
            self._report.defect(what, f"{self._where}, object {number}: {yxyx} of {self._height} x {self._width}")
        # In single precision, as boxes are kept, a sliver may have no area.
        kept = np.array(inside, np.float32)
        if (kept[:2] >= kept[2:]).any():
            if not outside or bottom <= top or right <= left:
                self._report.defect("box without area", f"{self._where}, object {number}: {yxyx}")
            return
        self._rows.append((inside, label, difficult, crowd))

    def objects(self) -> Objects:
        """What was added."""
        boxes, labels, difficult, crowd = zip(*self._rows, strict=True) if self._rows else ((), (), (), ())
        return Objects(
            boxes_yxyx=np.array(boxes, np.float32).reshape(-1, 4),
            labels=np.array(labels, np.int32),
            difficult=np.array(difficult, bool),
            crowd=np.array(crowd, bool),
        )


@dataclass
class Report:
    """Defects of a data set's annotations.

    Attributes:
        on_defect: what to do with them.
        counts: how many of each kind.
        examples: where the first of each kind is.
    """

    on_defect: OnDefect = "fix"
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def defect(self, kind: str, where: str) -> None:
        """Counts a defect.

        Raises:
            UserError: where defects are to end the run.
        """
        if self.on_defect == "error":
            raise UserError(f"{where}: {kind}; mend the annotation, or let such be mended (on_defect=fix)")
        self.counts[kind] += 1
        self.examples.setdefault(kind, where)

    def text(self) -> str:
        """All kinds in a line each; empty where there are none."""
        return "\n".join(
            f"{count} x {kind}, the first: {self.examples[kind]}" for kind, count in sorted(self.counts.items())
        )


@dataclass(frozen=True, eq=False)
class AnnotatedSource:
    """n images with objects, each readable by its index.

    Attributes:
        name: what messages call it, for instance `voc:BCCD/test`.
        class_names: one a class; a label is an index into them.
        ids: one an image, all different: what stores and results name it by.
        objects: of each image.
        encoded: index -> the file's bytes.
        report: the defects found.
    """

    name: str
    class_names: tuple[str, ...]
    ids: Sequence[str]
    objects: Sequence[Objects]
    encoded: Callable[[int], bytes]
    report: Report

    def __post_init__(self) -> None:
        if not self.ids:
            raise UserError(f"{self.name}: no images")
        twice = [name for name, count in Counter(self.ids).items() if count > 1]
        if twice:
            raise UserError(f"{self.name}: {len(twice)} images share their names with others, the first is {twice[0]}")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: np.ndarray) -> "AnnotatedSource":
        """The subset of images at `indices` (int [m]), in that order."""
        chosen = [int(index) for index in indices]
        encoded = self.encoded
        return AnnotatedSource(
            name=self.name,
            class_names=self.class_names,
            ids=[self.ids[index] for index in chosen],
            objects=[self.objects[index] for index in chosen],
            encoded=lambda index: encoded(chosen[index]),
            report=self.report,
        )
