"""Inputs and outputs of layers at sampled positions, for statistics and regressions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfeff.models.graph import Node

ROWS = 12288
"""Positions per layer, over all images."""
_PIXELS = 16 * 224**2


def chunks(images: Mapping[str, np.ndarray]) -> list[slice]:
    """Returns parts of the inputs of a network, the first of which are images, that are computed at once."""
    pixels = next(iter(images.values()))
    size = max(1, _PIXELS // (pixels.shape[1] * pixels.shape[2]))
    return [slice(start, start + size) for start in range(0, len(pixels), size)]


def run(nodes: Mapping[str, Node], known: dict[str, Any], wanted: Iterable[str]) -> None:
    """Applies the operations that some outputs depend on, at inference.

    Args:
        nodes: operations by name, in the order of execution.
        known: outputs by name, to which further ones are added.
        wanted: names of operations that are known afterwards.
    """
    needed = {name for name in wanted if name not in known}
    for name in reversed(list(nodes)):
        if name in needed:
            needed.update(each for each in nodes[name].inputs if each not in known)
    for name, node in nodes.items():
        if name in needed:
            known[name] = node(known)


def positions(size: Sequence[int], images: int, of: int, rng: np.random.Generator) -> np.ndarray:
    """Returns positions of a map: int (images, n, 2), each at most once per image.

    Args:
        size: height and width of the map.
        images: number of images in this part.
        of: number of all images.
    """
    height, width = size
    wanted = min(height * width, max(1, ROWS // of))
    flat = np.stack([rng.permutation(height * width)[:wanted] for _ in range(images)])
    return np.stack(np.divmod(flat, width), axis=-1)


def inputs_at(x: Any, layer: keras.Layer, places: np.ndarray) -> np.ndarray:
    """Returns what a linear layer reads for some positions of its output.

    Args:
        x: its input, (images, height, width, channels), (images, regions, channels) or (images, channels).
        places: int (images, n, 2), see `positions`.

    Returns:
        float32 (images * n, kernel height * kernel width * channels), in the order of its kernel's elements.
    """
    if isinstance(layer, keras.layers.Dense):
        return values_at(x, places)
    array = ops.convert_to_numpy(x)
    kernel, strides = layer.kernel_size, layer.strides
    margins = [(0, 0)] * 4
    if layer.padding == "same":
        for axis in (0, 1):
            side = array.shape[1 + axis]
            total = max((math.ceil(side / strides[axis]) - 1) * strides[axis] + kernel[axis] - side, 0)
            margins[1 + axis] = (total // 2, total - total // 2)
        array = np.pad(array, margins)
    window = np.stack(np.meshgrid(np.arange(kernel[0]), np.arange(kernel[1]), indexing="ij"), axis=-1)
    places = places[:, :, None, None] * np.asarray(strides) + window
    image = np.arange(len(array))[:, None, None, None]
    return array[image, places[..., 0], places[..., 1]].reshape(places.shape[0] * places.shape[1], -1)


def values_at(x: Any, places: np.ndarray) -> np.ndarray:
    """Returns a map at some positions: float32 (images * n, channels)."""
    array = ops.convert_to_numpy(x)
    if array.ndim == 2:
        return array
    image = np.arange(len(array))[:, None]
    found = array[image, places[..., 0]] if array.ndim == 3 else array[image, places[..., 0], places[..., 1]]
    return found.reshape(-1, array.shape[-1])


def size_of(x: Any) -> tuple[int, int]:
    """Returns the height and width of a map; (regions, 1) of features of regions, (1, 1) of vectors."""
    shape = x.shape
    return (shape[1], shape[2]) if len(shape) == 4 else (shape[1], 1) if len(shape) == 3 else (1, 1)


def output_size(node: Node, x: Any) -> tuple[int, int]:
    """Returns the height and width of the output of a linear layer that reads a map."""
    if len(node.shape) < 4:
        return size_of(x)
    height, width = node.shape[1:3]
    assert height is not None
    assert width is not None
    return height, width


class Moments:
    """Means and covariances of rows that come in parts, accumulated in float64 around the mean of the first part."""

    def __init__(self) -> None:
        self._count = 0
        self._centers: list[np.ndarray] = []

    def add(self, rows: np.ndarray, others: np.ndarray | None = None) -> None:
        """Adds rows, (n, variables), and rows of other variables, whose covariance with them is wanted."""
        every = [rows] if others is None else [rows, others]
        if not self._centers:
            self._centers = [each.mean(axis=0, dtype=np.float64).astype(np.float32) for each in every]
            self._sums = [np.zeros(each.shape[1]) for each in every]
            self._squares = [np.zeros(each.shape[1]) for each in every]
            self._products = [np.zeros((rows.shape[1], each.shape[1])) for each in every]
        every = [each - center for each, center in zip(every, self._centers, strict=True)]
        self._count += len(rows)
        for part, total, square, product in zip(every, self._sums, self._squares, self._products, strict=True):
            total += part.sum(axis=0, dtype=np.float64)
            square += np.einsum("io,io->o", part, part)
            product += every[0].T @ part

    def mean(self, which: int = 0) -> np.ndarray:
        """Returns float64 (variables,), of the rows or, 1, of the others."""
        found: np.ndarray = self._centers[which] + self._sums[which] / self._count
        return found

    def covariance(self, which: int = 0) -> np.ndarray:
        """Returns float64 (variables, variables) of the rows, with themselves or, 1, with the others."""
        offset = np.outer(self._sums[0], self._sums[which]) / self._count**2
        found: np.ndarray = self._products[which] / self._count - offset
        return found

    def variance(self, which: int = 0) -> np.ndarray:
        """Returns float64 (variables,), of the rows or, 1, of the others."""
        found: np.ndarray = self._squares[which] / self._count - (self._sums[which] / self._count) ** 2
        return found
