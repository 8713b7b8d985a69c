"""RoIAlign: features of boxes, sampled bilinearly from the levels of a feature pyramid.

He et al., "Mask R-CNN" (arXiv:1703.06870), section 3. The level of a box: Lin et al., "Feature Pyramid Networks"
(arXiv:1612.03144), equation 1.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

CANONICAL_LEVEL, CANONICAL_SIDE = 4, 224.0
"""A box of 224 x 224 pixels, the usual size of ImageNet's images, is read from P4."""
_LEVEL_MARGIN = 1e-6  # so that rounding errors do not move a box of exactly a canonical side to the finer level


@keras.saving.register_keras_serializable(package="tfeff")
class RoIAlign(keras.layers.Layer):
    """Divides each box into size x size bins and averages sampling x sampling bilinear samples in each.

    Input: ([map of each level, (batch, h, w, channels)], boxes_yxyx (batch, n, 4) in pixels of the image).
    Output: (batch, n, size, size, channels), in the layer's compute dtype. Boxes have no gradient.

    Pixel (0, 0) of a map of stride s lies at (0, 0) of the image, or at (s / 2, s / 2) if `aligned`. Samples up to one
    pixel outside a map read its border, those beyond are 0.

    Each bin is one row of a matrix product with the 4 * sampling^2 pixels that it reads: n * size^2 * 4 * sampling^2
    pixels are gathered, whatever the sizes of maps and boxes.

    Args:
        levels: n of each map, for the stride 2^n.
        size: bins along each side.
        sampling: samples per bin along each side.
        aligned: as in Detectron2, move boxes by half a pixel of the map, and allow boxes smaller than that pixel.
            Otherwise, as in torchvision's detectors, boxes are at least one pixel of the map high and wide.
        **kwargs: passed to `keras.layers.Layer`.
    """

    def __init__(
        self, levels: Sequence[int], size: int = 7, sampling: int = 2, aligned: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # boxes need float32
        self.levels = tuple(levels)
        self.size = size
        self.sampling = sampling
        self.aligned = aligned
        self.built = True

    def call(self, inputs: tuple[Sequence[Any], Any]) -> Any:
        """Features of the boxes."""
        maps, boxes = inputs
        maps, boxes = list(maps), ops.stop_gradient(boxes)
        shapes = np.array([feature_map.shape[1:3] for feature_map in maps])
        areas = shapes.prod(axis=1)
        level, dtype = box_levels(boxes, self.levels), keras.backend.standardize_dtype(boxes.dtype)

        def of_level(values: Any) -> Any:
            """The value of each box's level, [batch, n]."""
            return ops.take(ops.convert_to_tensor(values), level, axis=0)

        scale = of_level(np.array([0.5**n for n in self.levels], dtype))
        rows, row_weights = self._taps(boxes[..., 0], boxes[..., 2], scale, of_level(shapes[:, 0].astype(np.int32)))
        width = of_level(shapes[:, 1].astype(np.int32))
        columns, column_weights = self._taps(boxes[..., 1], boxes[..., 3], scale, width)

        # All maps as one table of pixels; the pixels of an image follow each other, level by level.
        channels = maps[0].shape[-1]
        table = ops.concatenate(
            [ops.reshape(each, (-1, int(a), channels)) for each, a in zip(maps, areas, strict=True)], 1
        )
        first = of_level(np.concatenate([[0], np.cumsum(areas)[:-1]]).astype(np.int32))
        batch = ops.shape(boxes)[0]
        first = first + ops.expand_dims(ops.arange(batch, dtype="int32") * int(areas.sum()), 1)
        width, first = (ops.reshape(each, (-1, boxes.shape[1], 1, 1, 1, 1)) for each in (width, first))
        index = first + rows[:, :, :, None, :, None] * width + columns[:, :, None, :, None, :]
        weight = row_weights[:, :, :, None, :, None] * column_weights[:, :, None, :, None, :]

        taps = (2 * self.sampling) ** 2
        pixels = ops.take(ops.reshape(table, (-1, channels)), ops.reshape(index, (-1, taps)), axis=0)
        weight = ops.cast(ops.reshape(weight, (-1, 1, taps)), self.compute_dtype)
        bins = ops.matmul(weight, ops.cast(pixels, self.compute_dtype))
        return ops.reshape(bins, (-1, boxes.shape[1], self.size, self.size, channels))

    def _taps(self, start: Any, end: Any, scale: Any, length: Any) -> tuple[Any, Any]:
        """Pixels that the bins read along one axis, and their weights.

        Args:
            start: first edge of each box in pixels of the image, [batch, n].
            end: last edge.
            scale: pixels of the box's map per pixel of the image.
            length: pixels of the map along this axis.

        Returns:
            int32 and float [batch, n, size, 2 * sampling].
        """
        shift = 0.5 if self.aligned else 0.0
        start, end = start * scale - shift, end * scale - shift
        extent = end - start if self.aligned else ops.maximum(end - start, 1.0)
        samples = self.size * self.sampling
        places = (np.arange(samples) + 0.5) / samples
        position = start[..., None] + extent[..., None] * ops.cast(places, start.dtype)
        last = ops.expand_dims(length - 1, -1)
        inside = (position >= -1.0) & (position <= ops.cast(last + 1, position.dtype))
        position = ops.clip(position, 0.0, ops.cast(last, position.dtype))
        low = ops.cast(ops.floor(position), "int32")
        above = position - ops.cast(low, position.dtype)
        share = ops.cast(inside, position.dtype) / self.sampling
        pixels = ops.stack([low, ops.minimum(low + 1, last)], axis=-1)
        weights = ops.stack([(1.0 - above) * share, above * share], axis=-1)
        shape = (-1, start.shape[1], self.size, 2 * self.sampling)
        return ops.reshape(pixels, shape), ops.reshape(weights, shape)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """(batch, n, size, size, channels)."""
        maps, boxes = input_shape
        return (*boxes[:2], self.size, self.size, maps[0][-1])

    def compute_output_spec(self, inputs: tuple[Sequence[Any], Any]) -> keras.KerasTensor:
        """See `compute_output_shape`."""
        maps, boxes = inputs
        shape = self.compute_output_shape(([each.shape for each in maps], boxes.shape))
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"levels": self.levels, "size": self.size, "sampling": self.sampling, "aligned": self.aligned}
        config = {**super().get_config(), **own}
        config.pop("autocast", None)
        return config


def box_levels(boxes_yxyx: Any, levels: Sequence[int]) -> Any:
    """The pyramid level from which the features of each box are read.

    Args:
        boxes_yxyx: float [..., 4], in pixels of the image.
        levels: n of the available levels, in ascending order.

    Returns:
        int32 [...], positions in `levels`: floor(4 + log2(sqrt(area) / 224)), limited to the available ones.
    """
    sides = ops.maximum(boxes_yxyx[..., 2:] - boxes_yxyx[..., :2], 0.0)
    side = ops.sqrt(sides[..., 0] * sides[..., 1])
    # A box without area belongs to the finest level; its logarithm would be minus infinity.
    octave = ops.log(ops.maximum(side, 1e-3) / CANONICAL_SIDE) / math.log(2)
    level = ops.floor(CANONICAL_LEVEL + octave + _LEVEL_MARGIN)
    return ops.cast(ops.clip(level, levels[0], levels[-1]) - levels[0], "int32")
