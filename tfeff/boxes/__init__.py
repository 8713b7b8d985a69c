"""Pure functions on boxes, on NumPy arrays and, where they take `ops`, on the tensors of a Keras graph.

They do not call `keras.utils.bounding_boxes` or KerasCV, which would load TensorFlow for every caller. Both serve as
references in the tests.
"""

from tfeff.boxes.anchors import OCTAVE, Anchors, Points
from tfeff.boxes.coding import FAST_RCNN_WEIGHTS, decode, encode
from tfeff.boxes.formats import (
    clip,
    cyxhw_from_yxyx,
    relative_from_yxyx,
    xywh_from_yxyx,
    yxyx_from_cyxhw,
    yxyx_from_relative,
)
from tfeff.boxes.overlap import area, intersection, iou, paired_iou, share_inside
from tfeff.boxes.tiling import Tiling

__all__ = [
    "FAST_RCNN_WEIGHTS",
    "OCTAVE",
    "Anchors",
    "Points",
    "Tiling",
    "area",
    "clip",
    "cyxhw_from_yxyx",
    "decode",
    "encode",
    "intersection",
    "iou",
    "paired_iou",
    "relative_from_yxyx",
    "share_inside",
    "xywh_from_yxyx",
    "yxyx_from_cyxhw",
    "yxyx_from_relative",
]
