"""RoI max-pooling: the largest values in the bins of boxes, on one feature map.

Girshick, "Fast R-CNN" (arXiv:1504.08083), section 2.1. RoIAlign replaced it, because rounding moves boxes by up to half
a pixel of the map.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="tfeff")
class RoIMaxPool(keras.layers.Layer):
    """Divides each box into size x size bins of whole pixels and takes the maximum of each; empty bins are 0.

    Input: (map (batch, h, w, channels), boxes_yxyx (batch, n, 4) in pixels of the image).
    Output: (batch, n, size, size, channels), in the layer's compute dtype. Boxes have no gradient.

    Edges are rounded to pixels of the map, and the last one belongs to the box, as in the original implementation.

    The maximum of any window is that of four windows whose sides are powers of two. These are computed once for the
    whole map, so that the cost of a bin does not depend on its size.

    Args:
        level: n of the map, for the stride 2^n.
        size: bins along each side.
        **kwargs: passed to `keras.layers.Layer`.
    """

    def __init__(self, level: int, size: int = 7, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # boxes need float32
        self.level = level
        self.size = size
        self.built = True

    def call(self, inputs: tuple[Any, Any]) -> Any:
        """Features of the boxes."""
        feature_map, boxes = inputs
        boxes = ops.stop_gradient(boxes)
        height, width, channels = feature_map.shape[1:]
        edges = ops.cast(ops.floor(boxes * 0.5**self.level + 0.5), "int32")
        rows = self._windows(edges[..., 0], edges[..., 2], height)
        columns = self._windows(edges[..., 1], edges[..., 3], width)

        powers = [self._powers(side) for side in (height, width)]
        table = ops.stack(self._maxima(ops.cast(feature_map, self.compute_dtype), *powers), axis=1)
        batch = ops.reshape(ops.arange(ops.shape(boxes)[0], dtype="int32"), (-1, 1, 1, 1))
        result: Any = None
        for y in rows.places:
            for x in columns.places:
                kind = rows.power[..., :, None] * powers[1] + columns.power[..., None, :]
                index = ((batch * (powers[0] * powers[1]) + kind) * height + y[..., :, None]) * width + x[..., None, :]
                values = ops.take(ops.reshape(table, (-1, channels)), index, axis=0)
                result = values if result is None else ops.maximum(result, values)
        filled = ops.logical_not(ops.logical_or(rows.empty[..., :, None], columns.empty[..., None, :]))
        return ops.where(filled[..., None], result, ops.zeros_like(result))

    def _powers(self, side: int) -> int:
        """How many powers of two, from 1, fit into the largest bin along a side."""
        return 1 + int(math.log2(math.ceil(side / self.size) + 1))

    def _maxima(self, x: Any, down: int, across: int) -> list[Any]:
        """Maxima over windows of 2^i x 2^j pixels whose top left is each pixel, in the order of i * across + j."""
        maxima = []
        for i in range(down):
            x = x if i == 0 else ops.maximum(x, _moved(x, 2 ** (i - 1), axis=1))
            y = x
            for j in range(across):
                y = y if j == 0 else ops.maximum(y, _moved(y, 2 ** (j - 1), axis=2))
                maxima.append(y)
        return maxima

    def _windows(self, first: Any, last: Any, side: int) -> "_Windows":
        """The bins along one axis, from the first and the last pixel of each box, int32 [batch, n]."""
        length = ops.maximum(last - first + 1, 1)[..., None]
        bins = np.arange(self.size, dtype=np.int32)
        start = ops.clip(ops.floor_divide(length * bins, self.size) + first[..., None], 0, side)
        end = ops.clip(-ops.floor_divide(-length * (bins + 1), self.size) + first[..., None], 0, side)
        return _Windows(start, end, self._powers(side))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """(batch, n, size, size, channels)."""
        feature_map, boxes = input_shape
        return (*boxes[:2], self.size, self.size, feature_map[-1])

    def compute_output_spec(self, inputs: tuple[Any, Any]) -> keras.KerasTensor:
        """See `compute_output_shape`."""
        shape = self.compute_output_shape(tuple(each.shape for each in inputs))
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {**super().get_config(), "level": self.level, "size": self.size}
        config.pop("autocast", None)
        return config


class _Windows:
    """Windows [start, end) along one axis as two that overlap, of 2^power pixels each: int32 [batch, n, size]."""

    def __init__(self, start: Any, end: Any, powers: int) -> None:
        self.empty = end <= start
        length = end - start
        self.power = sum(ops.cast(length >= 2**power, "int32") for power in range(1, powers))
        side = sum(ops.cast(length >= 2**power, "int32") * 2 ** (power - 1) for power in range(1, powers)) + 1
        # An empty window may start behind the last pixel; what it reads there is not used.
        self.places = [ops.maximum(place, 0) for place in (start - ops.cast(self.empty, "int32"), end - side)]


def _moved(x: Any, pixels: int, axis: int) -> Any:
    """The map's values `pixels` further along an axis; at its end, the map's own, which change no maximum of windows
    within the map."""
    if pixels >= x.shape[axis]:
        return x
    ahead, rest = (slice(None),) * axis + (slice(pixels, None),), (slice(None),) * axis + (slice(-pixels, None),)
    return ops.concatenate([x[ahead], x[rest]], axis=axis)
