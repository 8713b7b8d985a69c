"""Features of regions: of boxes on a pyramid (RoIAlign) or a feature map (RoI max-pooling), and of whole crops."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

INDEX_DTYPE = "int64" if keras.backend.backend() == "tensorflow" else "int32"
"""Type of positions in maps. On GPUs, TensorFlow computes with int32 on the host; JAX has no int64 by default."""


class _RegionFeatures(keras.layers.Layer):
    """size x size features of each box: (map or maps, boxes (batch, n, 4)) -> (batch, n, size, size, channels)."""

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # boxes need float32
        self.size = size
        self.built = True

    def compute_output_spec(self, inputs: tuple[Any, Any]) -> keras.KerasTensor:
        """Returns (batch, n, size, size, channels), in the compute dtype."""
        maps, boxes = inputs
        channels = keras.tree.flatten(maps)[0].shape[-1]
        return keras.KerasTensor((*boxes.shape[:2], self.size, self.size, channels), dtype=self.compute_dtype)


CANONICAL_LEVEL, CANONICAL_SIDE = 4, 224.0
"""A box of 224 x 224 pixels, the usual size of ImageNet's images, is read from P4."""
_LEVEL_MARGIN = 1e-6  # so that rounding errors do not move a box of exactly a canonical side to the finer level


@keras.saving.register_keras_serializable(package="tfeff")
class RoIAlign(_RegionFeatures):
    """RoIAlign: divides each box into size x size bins and averages sampling x sampling bilinear samples in each.

    He et al., "Mask R-CNN" (arXiv:1703.06870), section 3.

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
    """

    def __init__(
        self, levels: Sequence[int], size: int = 7, sampling: int = 2, aligned: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(size, **kwargs)
        self.levels = tuple(levels)
        self.sampling = sampling
        self.aligned = aligned

    def call(self, inputs: tuple[Sequence[Any], Any], training: bool | None = None) -> Any:
        """Returns features of the boxes."""
        maps, boxes = inputs
        maps, boxes = list(maps), ops.stop_gradient(boxes)
        shapes = np.array([feature_map.shape[1:3] for feature_map in maps])
        areas = shapes.prod(axis=1)
        level, dtype = box_levels(boxes, self.levels), keras.backend.standardize_dtype(boxes.dtype)

        def of_level(values: Any) -> Any:
            """Returns the value of each box's level, [batch, n]."""
            return ops.take(ops.convert_to_tensor(values), level, axis=0)

        scale = of_level(np.array([0.5**n for n in self.levels], dtype))
        rows, row_weights = self._taps(boxes[..., 0], boxes[..., 2], scale, of_level(shapes[:, 0].astype(INDEX_DTYPE)))
        width = of_level(shapes[:, 1].astype(INDEX_DTYPE))
        columns, column_weights = self._taps(boxes[..., 1], boxes[..., 3], scale, width)

        # All maps as one table of pixels; the pixels of an image follow each other, level by level.
        channels = maps[0].shape[-1]
        table = ops.concatenate(
            [ops.reshape(each, (-1, int(a), channels)) for each, a in zip(maps, areas, strict=True)], 1
        )
        first = of_level(np.concatenate([[0], np.cumsum(areas)[:-1]]).astype(INDEX_DTYPE))
        first = first + ops.expand_dims(ops.arange(ops.shape(boxes)[0], dtype=INDEX_DTYPE) * int(areas.sum()), 1)
        width, first = (ops.reshape(each, (-1, boxes.shape[1], 1, 1, 1, 1)) for each in (width, first))
        # Not by slices with None: in LiteRT, those have at most five axes.
        rows, row_weights = (ops.expand_dims(each, (3, 5)) for each in (rows, row_weights))
        columns, column_weights = (ops.expand_dims(each, (2, 4)) for each in (columns, column_weights))
        index, weight = first + rows * width + columns, row_weights * column_weights

        taps = (2 * self.sampling) ** 2
        index, weight = _computed_once(ops.reshape(index, (-1, taps)), ops.reshape(weight, (-1, 1, taps)))
        pixels = _pixels(ops.reshape(table, (-1, channels)), index, training)
        weight = ops.cast(weight, self.compute_dtype)
        bins = ops.matmul(weight, ops.cast(pixels, self.compute_dtype))
        return ops.reshape(bins, (-1, boxes.shape[1], self.size, self.size, channels))

    def _taps(self, start: Any, end: Any, scale: Any, length: Any) -> tuple[Any, Any]:
        """Returns pixels that the bins read along one axis, and their weights.

        Args:
            start: first edge of each box in pixels of the image, [batch, n].
            end: last edge.
            scale: pixels of the box's map per pixel of the image.
            length: pixels of the map along this axis.

        Returns:
            `INDEX_DTYPE` and float [batch, n, size, 2 * sampling].
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
        whole = ops.floor(position)
        low, above = ops.cast(whole, INDEX_DTYPE), position - whole
        share = ops.cast(inside, position.dtype) / self.sampling
        pixels = ops.stack([low, ops.minimum(low + 1, last)], axis=-1)
        weights = ops.stack([(1.0 - above) * share, above * share], axis=-1)
        shape = (-1, start.shape[1], self.size, 2 * self.sampling)
        return ops.reshape(pixels, shape), ops.reshape(weights, shape)


def _pixels(table: Any, index: Any, training: bool | None) -> Any:
    """Returns pixels of maps. In training, the gradient of maps in half precision is summed in float32.

    Hundreds of boxes read the same pixel, and a sum in half precision soon stops growing.

    Args:
        table: pixels of all maps, [rows, channels].
        index: `INDEX_DTYPE` [...], rows of the table.
        training: whether gradients are needed.

    Returns:
        [..., channels] in the type of the table.
    """
    if not training or keras.backend.standardize_dtype(table.dtype) not in ("bfloat16", "float16"):
        return ops.take(table, index, axis=0)

    @ops.custom_gradient
    def pixels(table: Any, index: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, None]:
            rows = ops.reshape(ops.cast(upstream, "float32"), (-1, table.shape[-1]))
            total = ops.segment_sum(rows, ops.reshape(index, (-1,)), ops.shape(table)[0])
            return ops.cast(total, table.dtype), None

        return ops.take(table, index, axis=0), gradient

    return pixels(table, index)


def _computed_once(*values: Any) -> tuple[Any, ...]:
    """Returns the values. Under JAX, XLA does not compute them again in each operation on what they select.

    Otherwise it computes the pixels and weights of a bin anew for every channel: on a GPU, RoIAlign then takes 26 times
    as long.
    """
    if keras.backend.backend() != "jax":
        return values
    import jax

    return jax.lax.optimization_barrier(values)


def box_levels(boxes_yxyx: Any, levels: Sequence[int]) -> Any:
    """Returns the pyramid level from which the features of each box are read (arXiv:1612.03144, equation 1).

    Args:
        boxes_yxyx: float [..., 4], in pixels of the image.
        levels: n of the available levels, in ascending order.

    Returns:
        `INDEX_DTYPE` [...], positions in `levels`: floor(4 + log2(sqrt(area) / 224)), limited to the available ones.
    """
    sides = ops.maximum(boxes_yxyx[..., 2:] - boxes_yxyx[..., :2], 0.0)
    side = ops.sqrt(sides[..., 0] * sides[..., 1])
    # A box without area belongs to the finest level; its logarithm would be minus infinity.
    octave = ops.log(ops.maximum(side, 1e-3) / CANONICAL_SIDE) / math.log(2)
    level = ops.floor(CANONICAL_LEVEL + octave + _LEVEL_MARGIN)
    return ops.cast(ops.clip(level, levels[0], levels[-1]) - levels[0], INDEX_DTYPE)


@keras.saving.register_keras_serializable(package="tfeff")
class RoIMaxPool(_RegionFeatures):
    """RoI max-pooling: divides each box into size x size bins of whole pixels and takes the maximum; empty bins are 0.

    Girshick, "Fast R-CNN" (arXiv:1504.08083), section 2.1. RoIAlign replaced it, because rounding moves boxes by up to
    half a pixel of the map.

    Input: (map (batch, h, w, channels), boxes_yxyx (batch, n, 4) in pixels of the image).
    Output: (batch, n, size, size, channels), in the layer's compute dtype. Boxes have no gradient.

    Edges are rounded to pixels of the map, and the last one belongs to the box, as in the original implementation.

    The maximum of any window is that of four windows whose sides are powers of two. These are computed once for the
    whole map, so that the cost of a bin does not depend on its size.

    Args:
        level: n of the map, for the stride 2^n.
        size: bins along each side.
    """

    def __init__(self, level: int, size: int = 7, **kwargs: Any) -> None:
        super().__init__(size, **kwargs)
        self.level = level

    def call(self, inputs: tuple[Any, Any], training: bool | None = None) -> Any:
        """Returns features of the boxes."""
        feature_map, boxes = inputs
        boxes = ops.stop_gradient(boxes)
        height, width, channels = feature_map.shape[1:]
        edges = ops.floor(boxes * 0.5**self.level + 0.5)
        rows = self._windows(edges[..., 0], edges[..., 2], height)
        columns = self._windows(edges[..., 1], edges[..., 3], width)

        powers = [self._powers(side) for side in (height, width)]
        table = ops.stack(self._maxima(ops.cast(feature_map, self.compute_dtype), *powers), axis=1)
        batch = ops.reshape(ops.arange(ops.shape(boxes)[0], dtype=INDEX_DTYPE), (-1, 1, 1, 1))
        result: Any = None
        for y in rows.places:
            for x in columns.places:
                kind = rows.power[..., :, None] * powers[1] + columns.power[..., None, :]
                index = ((batch * (powers[0] * powers[1]) + kind) * height + y[..., :, None]) * width + x[..., None, :]
                (index,) = _computed_once(index)
                values = _pixels(ops.reshape(table, (-1, channels)), index, training)
                result = values if result is None else ops.maximum(result, values)
        filled = ops.logical_not(ops.logical_or(rows.empty[..., :, None], columns.empty[..., None, :]))
        return ops.where(filled[..., None], result, ops.zeros_like(result))

    def _powers(self, side: int) -> int:
        """Returns how many powers of two, from 1, fit into the largest bin along a side."""
        return 1 + int(math.log2(math.ceil(side / self.size) + 1))

    def _maxima(self, x: Any, down: int, across: int) -> list[Any]:
        """Computes maxima over windows of 2^i x 2^j pixels whose top left is each pixel, ordered by i * across + j."""
        maxima = []
        for i in range(down):
            x = x if i == 0 else ops.maximum(x, _moved(x, 2 ** (i - 1), axis=1))
            y = x
            for j in range(across):
                y = y if j == 0 else ops.maximum(y, _moved(y, 2 ** (j - 1), axis=2))
                maxima.append(y)
        return maxima

    def _windows(self, first: Any, last: Any, side: int) -> "_Windows":
        """Returns the bins along one axis, from the first and the last pixel of each box: whole numbers as float32,
        [batch, n]."""
        length = ops.maximum(last - first + 1, 1)[..., None]
        bins = np.arange(self.size, dtype=np.float32)
        # Compilers multiply by the rounded reciprocal of `size`. No number here is within 0.5 / size of a whole one.
        start = ops.floor((length * bins + 0.5) / self.size)
        end = ops.floor((length * (bins + 1) + (self.size - 0.5)) / self.size)
        start, end = (ops.clip(edge + first[..., None], 0, side) for edge in (start, end))
        return _Windows(start, end, self._powers(side))


class _Windows:
    """Windows [start, end) along one axis as two that overlap, of 2^power pixels each: `INDEX_DTYPE` [batch, n, size].

    Args:
        start: whole numbers as float32 [batch, n, size].
        end: likewise.
        powers: how many powers of two there are.
    """

    def __init__(self, start: Any, end: Any, powers: int) -> None:
        self.empty = end <= start
        length = end - start
        reached = [ops.cast(length >= 2**power, length.dtype) for power in range(1, powers)]
        self.power = ops.cast(sum(reached), INDEX_DTYPE) if reached else ops.zeros_like(length, dtype=INDEX_DTYPE)
        side = 1 + sum(each * 2**power for power, each in enumerate(reached))
        # An empty window may start behind the last pixel; what it reads there is not used.
        places = start - ops.cast(self.empty, start.dtype), end - side
        self.places = [ops.cast(ops.maximum(place, 0), INDEX_DTYPE) for place in places]


def _moved(x: Any, pixels: int, axis: int) -> Any:
    """Returns the map's values `pixels` further along an axis.

    Beyond the end, the map's own values stand, which change no maximum of windows within the map.
    """
    if pixels >= x.shape[axis]:
        return x
    ahead, rest = (slice(None),) * axis + (slice(pixels, None),), (slice(None),) * axis + (slice(-pixels, None),)
    return ops.concatenate([x[ahead], x[rest]], axis=axis)


@keras.saving.register_keras_serializable(package="tfeff")
class Cells(keras.layers.Layer):
    """Averages of a feature map [n, height, width, channels] over grid x grid cells, as in adaptive average pooling.

    The cells have equal sizes up to rounding. The output is [n, grid * grid * channels], cell by cell.

    Args:
        grid: cells along each axis, at most the height and width of the map.
    """

    def __init__(self, grid: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = grid

    def call(self, feature_map: Any) -> Any:
        """Returns the averages."""
        rows, columns = map(self._edges, feature_map.shape[1:3])
        cells = [
            ops.mean(feature_map[:, top:bottom, left:right], axis=(1, 2))
            for top, bottom in rows
            for left, right in columns
        ]
        return ops.concatenate(cells, axis=-1)

    def _edges(self, side: int) -> list[tuple[int, int]]:
        """Returns the first pixel of each cell along an axis, and the one after its last."""
        return [(index * side // self.grid, -(-(index + 1) * side // self.grid)) for index in range(self.grid)]
