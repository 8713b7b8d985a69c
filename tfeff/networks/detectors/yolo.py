"""YOLO: detectors that predict for the cells of a pyramid, without anchors, with anchors, and on a single grid.

As everywhere in this package, the levels share the head's convolutions; YOLOv3's reference implementation (darknet) has
a head per level.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tfeff.boxes.anchors import Points, shape_iou
from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import by_name, check_integer, level_number
from tfeff.networks.backbones.resnet import TABLE as RESNETS
from tfeff.networks.detectors.detector import Detector
from tfeff.networks.heads import BOX_HEAD, CLASS_HEAD, ONE_TO_MANY, PRIOR_BIAS
from tfeff.networks.layers import FeatureMap, Layers

LOGITS, DISTANCES, CODES, CELLS = "logits", "distances", "codes", "cells"
"""Names of the outputs: `Yolo` has the first two, `AnchorYolo` `CODES`, `Grid` `CELLS`, which is also its head's."""


@dataclass(frozen=True, kw_only=True)
class Yolo(Detector):
    """A YOLO without anchors.

    A decoupled head (Ge et al., "YOLOX", arXiv:2107.08430, section 2.1) predicts, for the center of each cell, a logit
    per class and a distribution of the distance to each side of the box (Li et al., "Generalized Focal Loss",
    arXiv:2006.04388, section 3.2). The levels share the head's convolutions, as in TOOD (arXiv:2108.07755).

    Outputs, for the n cells of all levels (`points`):

    - "logits": (batch, n, num_classes) float32, one logistic regression per class;
    - "distances": (batch, n, 4 * bins) float32, logits of the distances from the cell's center to top, left, bottom and
      right, each distributed over 0, 1, ..., bins - 1 strides.

    With `end_to_end`, a single cell learns each object, so that there are no duplicates to suppress (Wang et al.,
    "YOLOv10", arXiv:2405.14458, section 3.1). So few positive cells would train the rest of the network badly; it is
    trained by a second pair of heads of the same form, from which several cells learn each object, while the gradient
    of the first pair ends at its input. The outputs of the second pair are "one_to_many_logits" and
    "one_to_many_distances". Only training uses them.

    Attributes:
        bins: of each distance; at least 2.
        end_to_end: predictions need no non-maximum suppression.
    """

    bins: int = 16
    end_to_end: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("bins", self.bins, minimum=2)

    @property
    def points(self) -> Points:
        """The centers of the cells of all levels."""
        return Points(tuple(map(level_number, self.levels)))

    @property
    def training_outputs(self) -> tuple[str, ...]:
        """Those of the second pair of heads."""
        return (ONE_TO_MANY + LOGITS, ONE_TO_MANY + DISTANCES) if self.end_to_end else ()

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Defines the two heads, or two pairs of them."""
        if not self.end_to_end:
            return self._heads(layers, fused, num_classes)
        detached = layers.stop_gradient(list(fused.values()), name="detached")
        return {
            **self._heads(layers, dict(zip(fused, detached, strict=True)), num_classes),
            **self._heads(layers, fused, num_classes, ONE_TO_MANY),
        }

    def _heads(
        self, layers: Layers, maps: Mapping[str, FeatureMap], num_classes: int, prefix: str = ""
    ) -> dict[str, FeatureMap]:
        """Returns a pair of heads; the names of its layers and outputs begin with the prefix."""
        classes, boxes = (self.head(layers, prefix + name) for name in (CLASS_HEAD, BOX_HEAD))
        return {
            prefix + LOGITS: classes(maps, boxes=1, values=num_classes, bias_value=PRIOR_BIAS),
            prefix + DISTANCES: boxes(maps, boxes=1, values=4 * self.bins),
        }


SMALL: dict[str, Any] = {
    "backbone": dataclasses.replace(RESNETS["resnet"], resolution=320, width=16, stage_blocks=(1, 1, 1, 1), stem="7x7"),
    "levels": ("P3", "P4", "P5"),
    "neck": "panet",
    "neck_channels": 64,
    "neck_repeats": 1,
    "fusion": "sum",
    "head_repeats": 2,
    "separable": False,
}
"""Fields of the detectors of this family."""
TABLE: dict[str, Yolo] = by_name(Yolo(name="yolo", **SMALL))


ANCHORS_PER_LEVEL = 3
ALIKE = 0.5
"""Smallest IoU of an anchor with the one it replaces for which its predictions are kept; a usual one for assignment."""


def placeholder_anchors(count: int) -> tuple[float, ...]:
    """Returns squares from 1/32 of the image's side to all of it, until anchors are found for a dataset.

    >>> placeholder_anchors(2)
    (0.03125, 0.03125, 1.0, 1.0)
    """
    sides = 32.0 ** np.linspace(-1.0, 0.0, count)
    return tuple(np.repeat(sides, 2).tolist())


@dataclass(frozen=True, kw_only=True)
class AnchorYolo(Detector):
    """A YOLO with anchors: Redmon and Farhadi, "YOLOv3: An Incremental Improvement" (arXiv:1804.02767).

    Each level predicts relative to its own anchors. Outputs, for n anchors, ordered by level, row, column and anchor of
    the level:

    - "logits": (batch, n, 1 + num_classes) float32: objectness, then one logistic regression per class;
    - "codes": (batch, n, 4) float32: ty, tx, th, tw. The center is at (sigmoid(t) + cell), the sides are those of the
      anchor times exp(t).

    Attributes:
        anchors: height, width, height, width, ... relative to the image's side, from small to large; the first ones
            belong to the first level. Their number is a multiple of that of the levels. Empty: they are found for a
            dataset; until then, ANCHORS_PER_LEVEL `placeholder_anchors` of each level take their place.
    """

    BEFORE_CLASSES = 1

    anchors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.anchors) % (2 * len(self.levels)) or not all(0 < side < math.inf for side in self.anchors):
            raise UserError(
                f"anchors {self.anchors}: must be heights and widths above 0 and finite, as many pairs for each of the "
                f"{len(self.levels)} levels"
            )

    @property
    def per_position(self) -> int:
        """Number of anchors at each position."""
        return self.shapes.shape[1]

    @property
    def shapes(self) -> np.ndarray:
        """Height and width of the anchors of each level, relative to the image's side: float64 [levels, anchors, 2]."""
        anchors = self.anchors or placeholder_anchors(ANCHORS_PER_LEVEL * len(self.levels))
        return np.array(anchors).reshape(len(self.levels), -1, 2)

    @property
    def points(self) -> Points:
        """The centers of the cells of all levels."""
        return Points(tuple(map(level_number, self.levels)))

    def other_predictions(self, source: Self) -> str | None:
        """See `Detector`. Anchors that are found for other images, but overlap those of before, mean the same."""
        ours, theirs = (each.shapes.reshape(-1, 2) for each in (self, source))
        if len(ours) != len(theirs):
            return f"{self.per_position} anchors per level instead of {source.per_position}"
        overlap = shape_iou(ours, theirs).diagonal().min()
        return None if overlap >= ALIKE else f"anchors of other sizes (IoU from {overlap:.2f})"

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Defines the two heads."""
        boxes = self.per_position
        return {
            LOGITS: self.head(layers, CLASS_HEAD)(fused, boxes=boxes, values=1 + num_classes, bias_value=PRIOR_BIAS),
            CODES: self.head(layers, BOX_HEAD)(fused, boxes=boxes, values=4),
        }


ANCHOR_TABLE: dict[str, AnchorYolo] = by_name(AnchorYolo(name="anchor-yolo", **SMALL))


@dataclass(frozen=True, kw_only=True)
class Grid(Detector):
    """A grid of cells: Redmon et al., "You Only Look Once" (arXiv:1506.02640), section 2.

    The cells are the positions of the finest level. The paper ends in dense layers; here the last layer is a
    convolution, so that any backbone and resolution fit.

    Output: "cells", (batch, n, num_classes + 5 * boxes) float32, all linear: a value per class; a confidence per box;
    y, x, square root of the height and of the width of each box. y and x are the center's position in the cell, from 0
    to 1; height and width are relative to the image.

    Attributes:
        boxes: per cell.
    """

    boxes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("boxes", self.boxes, minimum=1)

    @property
    def points(self) -> Points:
        """The centers of the cells."""
        return Points((level_number(self.levels[0]),))

    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Defines the head."""
        finest = {self.levels[0]: fused[self.levels[0]]}
        return {CELLS: self.head(layers, CELLS)(finest, boxes=1, values=num_classes + 5 * self.boxes)}


GRID_TABLE: dict[str, Grid] = by_name(Grid(name="grid", **SMALL | {"levels": ("P4", "P5")}))
