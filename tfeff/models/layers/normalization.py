"""Batch normalization with TensorFlow's fused operators in training; standardization with fixed statistics."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from tfeff.models.layers.operators import compiles_with_xla, has_gpu

CHANNELS = {"float32": 4, "bfloat16": 16}
"""On CPUs, oneDNN's kernels are faster than Keras' operators for multiples of these numbers of channels, and slower for
others; so are those for float16."""


@keras.saving.register_keras_serializable(package="tfeff")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer (Ioffe and Szegedy, arXiv:1502.03167), with one operator for each pass through it in training.

    Keras builds each pass from a dozen elementwise operators, which read and write whole feature maps, in float32 even
    under mixed precision. The fused operators need the TensorFlow backend without XLA, maps of shape (batch, height,
    width, channels), statistics of one replica and float32 variables; on CPUs, also multiples of `CHANNELS`. Otherwise,
    and at inference, the layer does what Keras does. The results are the same up to rounding.

    Input and output: (batch, ..., channels) in the layer's compute dtype.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalizes with the batch's statistics and updates the moving ones in training; else uses the moving ones."""
        if not (training and self.trainable and mask is None and self._can_fuse(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=self.gamma, offset=self.beta, mean=[], variance=[], epsilon=self.epsilon, is_training=True
        )
        # Keras keeps the biased variance, the operator returns the unbiased one.
        values = tf.cast(tf.size(inputs) // inputs.shape[-1], variance.dtype)
        variance *= tf.maximum(values - 1.0, 1.0) / values
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs

    def _can_fuse(self, inputs: Any) -> bool:
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        return (
            keras.backend.backend() == "tensorflow"
            and not (self.synchronized or self.renorm)
            and (self.scale and self.center)
            and (len(inputs.shape) == 4 and self.axis in (-1, 3))
            and keras.backend.standardize_dtype(self.variable_dtype) == "float32"
            and dtype in ("float32", "bfloat16", "float16")
            and (has_gpu() or inputs.shape[-1] % CHANNELS.get(dtype, math.inf) == 0)
            # XLA computes the variance as the difference of two large numbers, so it loses all digits of channels whose
            # mean is much larger than their deviation.
            and not compiles_with_xla()
        )


@keras.saving.register_keras_serializable(package="tfeff")
class Standardize(keras.layers.Layer):
    """Standardization of features with a fixed mean and standard deviation, weights that are set before training."""

    def build(self, shape: Sequence[int | None]) -> None:
        """Creates the mean, 0, and the scale, 1 / standard deviation, 1."""
        self.mean = self.add_weight(name="mean", shape=shape[-1:], initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=shape[-1:], initializer="ones", trainable=False)

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Returns standardized features [n, D]."""
        return (features - self.mean) * self.scale
