"""Batch normalization with TensorFlow's fused operators in training."""

import math
from typing import Any

import keras

CHANNELS = {"float32": 4, "float16": 16, "bfloat16": 16}
"""oneDNN's kernels are fast for multiples of these numbers of channels, and slower than Keras' operators for others."""


@keras.saving.register_keras_serializable(package="tfeff")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer (Ioffe and Szegedy, arXiv:1502.03167), with one operator for each pass through it in training.

    Keras composes both passes of a dozen elementwise operators. Each of them reads and writes whole feature maps, in
    float32 even under mixed precision, which takes a third of a training step on CPUs. The fused operators need the
    TensorFlow backend, maps of shape (batch, height, width, channels) with some multiple of channels, and statistics of
    one replica; otherwise, and at inference, the layer does what Keras does. The results are the same up to rounding.

    Input and output: (batch, ..., channels) in the layer's compute dtype.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalizes with the statistics of the batch, which update the moving ones, in training; else with those."""
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
        return (
            keras.backend.backend() == "tensorflow"
            and not (self.synchronized or self.renorm)
            and (self.scale and self.center)
            and (len(inputs.shape) == 4 and self.axis in (-1, 3))
            and inputs.shape[-1] % CHANNELS.get(keras.backend.standardize_dtype(inputs.dtype), math.inf) == 0
        )
