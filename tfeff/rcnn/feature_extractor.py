"""Features of regions: cut from an image, warped to the network's input, and passed through the frozen backbone."""

import keras
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.rcnn.warping import pyramid, sampled

BATCH = 128
"""Regions per forward pass of the backbone."""


class FeatureExtractor(tf.Module):
    """Image and regions -> features.

    Args:
        backbone: regions [n, side, side, channels] in [0, 255] -> features float32 [n, D].
        context: pixels of the network's input, on each side, that show the surroundings of the region.

    Raises:
        UserError: the context leaves no pixels for the region.
    """

    def __init__(self, backbone: keras.Model, *, context: int = 0) -> None:
        super().__init__()
        self.side, self.channels = backbone.inputs[0].shape[1], backbone.inputs[0].shape[-1]
        self.size = int(backbone.output.shape[-1])
        """Features per region, D."""
        self.context = context
        self._backbone = backbone
        self.check(self.side, context)

    @staticmethod
    def check(side: int, context: int) -> None:
        """Requires that the context leaves pixels for the region; raises UserError."""
        if 2 * context >= side:
            raise UserError(
                f"config: task.features.context: {context} pixels on each side leave none for the region; the "
                f"backbone's input is {side} x {side}"
            )

    def __call__(self, image: tf.Tensor, boxes_yxyx: tf.Tensor) -> tf.Tensor:
        """Returns features float32 [n, D] of regions float [n, 4] of an image [height, width, channels] in [0, 255]."""
        levels, count = pyramid(image), tf.shape(boxes_yxyx)[0]
        batches = tf.maximum(1, -(-count // BATCH))
        # Padded to whole batches, so that one graph serves any number of regions.
        padded = tf.pad(tf.cast(boxes_yxyx, tf.float32), [[0, batches * BATCH - count], [0, 0]])
        features = tf.map_fn(
            lambda boxes: self._backbone(sampled(levels, boxes, self.side, self.context), training=False),
            tf.reshape(padded, (batches, BATCH, 4)),
            fn_output_signature=tf.TensorSpec((BATCH, self.size), tf.float32),
            parallel_iterations=1,
        )
        return tf.reshape(features, (batches * BATCH, self.size))[:count]
