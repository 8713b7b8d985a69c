"""Pure functions on boxes."""

from tfeff.boxes.overlap import area, iou

__all__ = ["area", "iou"]
