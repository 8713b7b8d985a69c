"""The object of each cell, for detectors in which an object belongs to the cell that contains its center."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

CELL_PAIRS = 2**24
"""Pairs of a cell and an object of which a tensor is computed at most, except those of one image; see `by_image`."""


def containing(corners: tf.Tensor, strides: tf.Tensor, boxes_yxyx: tf.Tensor) -> tf.Tensor:
    """Returns whether each cell contains the center of each box.

    A center on the lower or right border of the image belongs to the last cell.

    Args:
        corners: top left of each cell in pixels, [1, n, 2].
        strides: height and width of each cell, [1, n, 2].
        boxes_yxyx: [b, k, 4].

    Returns:
        bool [b, n, k].
    """
    ends = corners + strides
    last = tf.reduce_max(ends, axis=1, keepdims=True)
    ends = tf.where(ends >= last, tf.cast(np.inf, ends.dtype), ends)
    centers = ((boxes_yxyx[..., :2] + boxes_yxyx[..., 2:]) / 2)[:, tf.newaxis]
    return tf.reduce_all((centers >= corners[:, :, tf.newaxis]) & (centers < ends[:, :, tf.newaxis]), axis=-1)


def inside(centers: tf.Tensor, boxes_yxyx: tf.Tensor) -> tf.Tensor:
    """Returns whether each center [1, n, 2] lies in each box [b, k, 4]: bool [b, n, k]."""
    centers, boxes = centers[:, :, tf.newaxis], boxes_yxyx[:, tf.newaxis]
    return tf.reduce_all((centers > boxes[..., :2]) & (centers < boxes[..., 2:]), axis=-1)


def learning(centers: tf.Tensor, strides: tf.Tensor, boxes_yxyx: tf.Tensor, usable: tf.Tensor) -> tf.Tensor:
    """Returns which cells can learn each object: those whose centers lie in it.

    If an object is so small that it contains none, they are the cells that contain its center, one of each level.

    Args:
        centers: those of the cells in pixels, [1, n, 2].
        strides, boxes_yxyx: see `containing`.
        usable: whether the object is to be learned, bool [b, k].

    Returns:
        bool [b, n, k].
    """
    found = inside(centers, boxes_yxyx) & usable[:, tf.newaxis]
    small = usable & ~tf.reduce_any(found, axis=1)

    def with_small() -> tf.Tensor:
        return found | (containing(centers - strides / 2, strides, boxes_yxyx) & small[:, tf.newaxis])

    return tf.cond(tf.reduce_any(small), with_small, lambda: found)


def hidden(corners: tf.Tensor, strides: tf.Tensor, boxes_yxyx: tf.Tensor, ignored: tf.Tensor) -> tf.Tensor:
    """Returns whether a cell is part of an ignored object, so that it is no background.

    Its center lies in the box, or the center of the box in it, as that of a box that is smaller than the cell.

    Args:
        corners, strides, boxes_yxyx: see `containing`.
        ignored: whether the object is ignored, bool [b, k].

    Returns:
        bool [b, n].
    """

    def covered() -> tf.Tensor:
        part = inside(corners + strides / 2, boxes_yxyx) | containing(corners, strides, boxes_yxyx)
        return tf.reduce_any(part & ignored[:, tf.newaxis], axis=-1)

    shape = tf.shape(boxes_yxyx)[0], corners.shape[1]
    return tf.cond(tf.reduce_any(ignored), covered, lambda: tf.zeros(shape, tf.bool))


def owners(indices: tf.Tensor, wanted: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first object of each cell.

    Args:
        indices: the cell of each object, int [b, k].
        wanted: whether the object counts, bool [b, k].
        count: n, number of cells.

    Returns:
        whether a cell has an object, bool [b, n]; the index of its object, 0 if it has none, int64 [b, n].
    """
    cells = tf.range(count, dtype=indices.dtype)[tf.newaxis, :, tf.newaxis]
    mine = tf.equal(cells, tf.where(wanted, indices, -1)[:, tf.newaxis])
    return tf.reduce_any(mine, axis=-1), tf.argmax(mine, axis=-1)


def images_with_shared_cells(boxes: Sequence[np.ndarray], rows: int, columns: int) -> int:
    """Returns the number of images in which two objects have their centers in one cell of a grid.

    Args:
        boxes: one array per image, float [k, 4], yxyx relative to the grid.
        rows: number of rows of the grid.
        columns: number of columns of the grid.
    """
    centers = [(each[:, :2] + each[:, 2:]) / 2 for each in boxes]
    counts = np.array([rows, columns])
    cells = [np.minimum((each * counts).astype(int), counts - 1) for each in centers]
    return sum(len(np.unique(each, axis=0)) < len(each) for each in cells)
