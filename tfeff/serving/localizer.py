"""A SavedModel of a localizer: the class and the box of the single object in an image.

It is loaded and called like a classifier's (`tfeff.serving.savedmodel`). Besides `probabilities` and `label` it returns
`box` (float32 [batch, 4]), yxyx in pixels of the original image.
"""

from typing import Any

import keras
import tensorflow as tf

from tfeff.boxes import yxyx_from_relative
from tfeff.data.images import graph_decoding
from tfeff.models.heads.classifier import CLASSIFIER
from tfeff.models.heads.localizer import LOGITS
from tfeff.serving.savedmodel import Classifier
from tfeff.tasks import Localization


class Localizer(Classifier):
    """The contents of the SavedModel. Arguments are those of `Classifier`; the model is a localizer network."""

    @staticmethod
    def classes(model: keras.Model) -> tuple[object, keras.layers.Layer]:
        """Shape of the logits, and the layer that outputs them."""
        layer = model.get_layer(CLASSIFIER)
        return tuple(layer.output.shape), layer

    def _outputs_of(self, outputs: Any) -> dict[str, tf.Tensor]:
        return {**super()._outputs_of(outputs[LOGITS]), "box": Localization.decode(outputs)["box"]}

    def _from_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        sizes = tf.broadcast_to(tf.shape(images)[1:3], (tf.shape(images)[0], 2))
        return _in_pixels(super()._from_images(images), sizes)

    def _from_bytes(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        def load(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image = graph_decoding.decode(file, self._channels)
            return self._fit(image), tf.shape(image)[:2]

        batch = self._batch()
        signature = tf.TensorSpec(batch.shape[1:], batch.dtype), tf.TensorSpec((2,), tf.int32)
        images, sizes = tf.map_fn(load, encoded, fn_output_signature=signature)
        return _in_pixels(self._predict(images), sizes)


def _in_pixels(outputs: dict[str, tf.Tensor], sizes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Converts relative boxes to pixels of images of `sizes`, int32 [batch, 2]."""
    height, width = tf.unstack(tf.cast(sizes, tf.float32), axis=1)
    return outputs | {"box": yxyx_from_relative(outputs["box"], (height, width), ops=tf)}
