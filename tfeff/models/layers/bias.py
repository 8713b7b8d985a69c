"""Biases whose gradients do not lose values in bfloat16, and the dense layer with such a bias."""

from typing import Any

import keras
from keras import ops

from tfeff.models.layers.operators import has_gpu


def loses_gradient(layer: keras.Layer, training: bool | None) -> bool:
    """Returns whether the gradient of the layer's bias would be summed in bfloat16.

    TensorFlow's BiasAdd does that on CPUs, and the sum soon stops growing: that of 16,384 equal values is a 64th of the
    true one. For convolutions without groups, oneDNN computes it in float32, with the gradient of the
    kernel.
    """
    return bool(
        training
        and layer.use_bias
        and layer.compute_dtype == "bfloat16"
        and keras.backend.backend() == "tensorflow"
        and not has_gpu()
    )


def biased(layer: keras.Layer, outputs: Any) -> Any:
    """Returns the outputs with the layer's bias and activation, for a gradient that is summed in float32.

    Args:
        layer: a layer with a bias.
        outputs: its outputs without bias and activation, (..., channels).
    """
    outputs = ops.add(layer.bias, outputs)  # Keras replaces the sum in the other order by BiasAdd
    return outputs if layer.activation is None else layer.activation(outputs)


@keras.saving.register_keras_serializable(package="tfeff")
class Dense(keras.layers.Dense):
    """Keras' dense layer; in bfloat16, the gradient of its bias is summed in float32.

    Input: (..., features). Output: (..., units) in the layer's compute dtype.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the product with the kernel, with bias and activation if the layer has them."""
        if not loses_gradient(self, training):
            return super().call(inputs)
        return biased(self, ops.matmul(inputs, self.kernel))
