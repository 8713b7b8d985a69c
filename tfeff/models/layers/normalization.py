"""Batch normalization with TensorFlow's fused operators in training; standardization of pixels and features."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

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


@keras.saving.register_keras_serializable(package="tfeff")
class Rescaling(keras.layers.Rescaling):
    """Keras' layer, which computes rows of pixels with one scale and one offset for each of their values.

    Runtimes are slow at multiplying images by a vector of three values: in LiteRT, networks take 5 to 9 % longer. The
    results are the same.

    Input and output: images of one width, (batch, height, width, channels); others as Keras' layer computes them.
    """

    def call(self, inputs: Any) -> Any:
        """Returns the rescaled images in the layer's compute dtype."""
        if len(inputs.shape) != 4 or None in inputs.shape[2:]:
            return super().call(inputs)
        _, height, width, channels = inputs.shape
        rows = ops.reshape(ops.cast(inputs, self.compute_dtype), (-1, width * channels))
        rows = rows * self._repeated(self.scale, width, channels) + self._repeated(self.offset, width, channels)
        return ops.reshape(rows, (-1, ops.shape(inputs)[1] if height is None else height, width, channels))

    def _repeated(self, values: Any, width: int, channels: int) -> Any:
        """Returns values of channels, or one of all, for each value of a row."""
        repeated = np.broadcast_to(np.asarray(values, np.float32), (width, channels))
        return ops.convert_to_tensor(repeated.reshape(-1), self.compute_dtype)
