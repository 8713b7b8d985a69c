"""What a frozen backbone sees in regions."""

import keras
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.models.heads.classifier import POOL
from tfeff.rcnn.warping import warp

BATCH = 128
"""Regions that go through the backbone at once."""


class RegionFeatures(tf.Module):
    """Image and regions -> features.

    Args:
        model: a network of `tfeff.models` with its classifier; images [n, resolution, resolution, channels] in
            [0, 255].
        grid: cells each way to which the last feature map is averaged: a box regressor needs to know where in the
            region things are. None gives what the network's own classifier sees.
        context: pixels of the network's input, on each side, that show what surrounds the region.

    Raises:
        UserError: a context that leaves nothing of the region, or a grid that the feature map is too small for.
    """

    def __init__(self, model: keras.Model, *, grid: int | None = 3, context: int = 0) -> None:
        super().__init__()
        side = model.resolution
        if 2 * context >= side:
            raise UserError(f"a context of {context} pixels leaves nothing of a region at {side} x {side}")
        # Some families have a layer between the pyramid and the classifier.
        last = model.get_layer(POOL).input if grid is None else list(model.pyramid.values())[-1]
        grid = grid or 1
        if grid > last.shape[1]:
            raise UserError(
                f"a grid of {grid} x {grid} cells; the last feature map has {last.shape[1]} x {last.shape[2]}"
            )
        self.backbone = keras.Model(model.inputs, last)
        self.backbone.trainable = False
        self.side, self.grid, self.context = side, grid, context
        self.channels = model.inputs[0].shape[-1]
        self.size = grid * grid * int(last.shape[-1])
        """Numbers a region."""

    def __call__(self, image: tf.Tensor, boxes_yxyx: tf.Tensor) -> tf.Tensor:
        """Features float32 [n, size] of regions float [n, 4] of an image [height, width, channels] in [0, 255]."""
        count = tf.shape(boxes_yxyx)[0]
        batches = -(-count // BATCH)
        # A whole number of batches, so that one graph serves any number of regions.
        padded = tf.pad(tf.cast(boxes_yxyx, tf.float32), [[0, batches * BATCH - count], [0, 0]])
        parts = tf.reshape(padded, (batches, BATCH, 4))
        found = tf.map_fn(
            lambda boxes: self.of(self.warped(image, boxes)),
            parts,
            fn_output_signature=tf.TensorSpec((BATCH, self.size), tf.float32),
            parallel_iterations=1,
        )
        return tf.reshape(found, (batches * BATCH, self.size))[:count]

    def warped(self, image: tf.Tensor, boxes_yxyx: tf.Tensor) -> tf.Tensor:
        """Regions as the backbone's input: float32 [n, side, side, channels]."""
        return warp(image, boxes_yxyx, self.side, self.context)

    def of(self, pixels: tf.Tensor) -> tf.Tensor:
        """Features float32 [n, size] of such inputs."""
        map_ = tf.cast(self.backbone(pixels, training=False), tf.float32)
        side = map_.shape[1]
        # Cells of equal size up to rounding, as adaptive pooling has them.
        edges = [(index * side // self.grid, -(-(index + 1) * side // self.grid)) for index in range(self.grid)]
        cells = [
            tf.reduce_mean(map_[:, top:bottom, left:right], axis=(1, 2))
            for top, bottom in edges
            for left, right in edges
        ]
        return tf.concat(cells, axis=-1)
