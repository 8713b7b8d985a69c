"""Features of regions, computed by a frozen backbone."""

import keras
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.models.heads.classifier import POOL
from tfeff.rcnn.warping import warp

BATCH = 128
"""Regions per forward pass of the backbone."""


class FeatureExtractor(tf.Module):
    """Image and regions -> features.

    Args:
        model: a network of `tfeff.models` with its classifier; images [n, resolution, resolution, channels] in
            [0, 255].
        grid: number of cells along each axis to which the last feature map is averaged. A grid keeps location within
            the region, which box regression needs. None: the input of the network's own classifier.
        context: pixels of the network's input, on each side, that show the surroundings of the region.

    Raises:
        UserError: the context leaves no pixels for the region, or the feature map has fewer cells than the grid.
    """

    def __init__(self, model: keras.Model, *, grid: int | None = 3, context: int = 0) -> None:
        super().__init__()
        side = model.resolution
        if 2 * context >= side:
            raise UserError(
                f"features.context: {context} pixels on each side leave none for the region; the backbone's input is "
                f"{side} x {side}"
            )
        # Some families have a layer between the pyramid and the classifier.
        last = model.get_layer(POOL).input if grid is None else list(model.pyramid.values())[-1]
        grid = grid or 1
        if grid > last.shape[1]:
            raise UserError(
                f"features.grid: {grid} x {grid} cells are more than the backbone's last feature map has "
                f"({last.shape[1]} x {last.shape[2]})"
            )
        self.backbone = keras.Model(model.inputs, last)
        self.backbone.trainable = False
        self.side, self.grid, self.context = side, grid, context
        self.channels = model.inputs[0].shape[-1]
        self.size = grid * grid * int(last.shape[-1])
        """Features per region."""

    def __call__(self, image: tf.Tensor, boxes_yxyx: tf.Tensor) -> tf.Tensor:
        """Features float32 [n, size] of regions float [n, 4] of an image [height, width, channels] in [0, 255]."""
        count = tf.shape(boxes_yxyx)[0]
        batches = -(-count // BATCH)
        # Padded to whole batches, so that one graph serves any number of regions.
        padded = tf.pad(tf.cast(boxes_yxyx, tf.float32), [[0, batches * BATCH - count], [0, 0]])
        features = tf.map_fn(
            lambda boxes: self.features(self.warped(image, boxes)),
            tf.reshape(padded, (batches, BATCH, 4)),
            fn_output_signature=tf.TensorSpec((BATCH, self.size), tf.float32),
            parallel_iterations=1,
        )
        return tf.reshape(features, (batches * BATCH, self.size))[:count]

    def warped(self, image: tf.Tensor, boxes_yxyx: tf.Tensor) -> tf.Tensor:
        """Regions warped to the backbone's input: float32 [n, side, side, channels]."""
        return warp(image, boxes_yxyx, self.side, self.context)

    def features(self, pixels: tf.Tensor) -> tf.Tensor:
        """Features float32 [n, size] of warped regions."""
        feature_map = tf.cast(self.backbone(pixels, training=False), tf.float32)
        side = feature_map.shape[1]
        # Cells of equal size up to rounding, as in adaptive average pooling.
        edges = [(index * side // self.grid, -(-(index + 1) * side // self.grid)) for index in range(self.grid)]
        cells = [
            tf.reduce_mean(feature_map[:, top:bottom, left:right], axis=(1, 2))
            for top, bottom in edges
            for left, right in edges
        ]
        return tf.concat(cells, axis=-1)
