"""Convolutions in groups, and depthwise ones."""

import os
from collections.abc import Sequence
from typing import Any

import keras

from tfeff.models.layers.bias import biased, loses_gradient
from tfeff.models.layers.operators import compiles_with_xla, has_gpu


@keras.saving.register_keras_serializable(package="tfeff")
class GroupedConvolution(keras.layers.Conv2D):
    """Keras' layer, with TensorFlow's operator. Each group of filters reads only its own group of channels.

    Under TensorFlow, Keras compiles convolutions in groups with XLA, one by one. On CPUs, that takes many times as long
    as the operator. Its gradients need a GPU or oneDNN; without them, each group is a convolution of its own. The
    results are the same up to rounding.

    Input and output: (batch, height, width, channels) in the layer's compute dtype.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the convolution, with bias and activation if the layer has them."""
        if not loses_gradient(self, training):
            return super().call(inputs)
        return biased(self, self.convolution_op(inputs, self.kernel))

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Returns the convolution without bias and activation."""
        if keras.backend.backend() != "tensorflow" or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        def convolution(x: Any, filters: Any) -> Any:
            return tf.nn.conv2d(x, filters, self.strides, self.padding.upper(), dilations=self.dilation_rate)

        kernel = tf.convert_to_tensor(kernel)
        if _has_gradients(keras.backend.standardize_dtype(inputs.dtype)):
            return convolution(inputs, kernel)
        parts = zip(tf.split(inputs, self.groups, -1), tf.split(kernel, self.groups, -1), strict=True)
        return tf.concat([convolution(*part) for part in parts], -1)


def _has_gradients(dtype: str) -> bool:
    """Returns whether TensorFlow has gradients of its operator for groups on this machine.

    For bfloat16, oneDNN has them on some CPUs only.
    """
    return has_gpu() or (os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0" and dtype == "float32")


@keras.saving.register_keras_serializable(package="tfeff")
class DepthwiseConvolution(keras.layers.DepthwiseConv2D):
    """Keras' layer, whose gradients take the fastest of TensorFlow's kernels on CPUs.

    For kernels above 3x3, TensorFlow's own gradient of the kernel takes a half to a third of the time of oneDNN's, and
    for some operators in bfloat16, oneDNN's kernels for float32 do. The results are the same up to rounding.

    Input and output: (batch, height, width, channels) in the layer's compute dtype.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the convolution, with bias and activation if the layer has them."""
        if not (training and self._can_choose(inputs)):
            return super().call(inputs)
        import tensorflow as tf

        outputs = _depthwise(inputs, tf.convert_to_tensor(self.kernel), self.strides, self.padding.upper())
        if loses_gradient(self, training):
            return biased(self, outputs)
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _can_choose(self, inputs: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and self.data_format == "channels_last"
            and all(rate == 1 for rate in self.dilation_rate)
            and None not in inputs.shape[1:3]
            and keras.backend.standardize_dtype(inputs.dtype) in ("float32", "bfloat16")
            and not (has_gpu() or compiles_with_xla())
        )


_MOST_ONEDNN = 3
"""The largest side of a kernel whose gradient oneDNN computes faster than TensorFlow."""


def _depthwise(inputs: Any, kernel: Any, strides: Sequence[int], padding: str) -> Any:
    import tensorflow as tf

    steps, sides = [1, *strides, 1], kernel.shape[:2]

    @tf.custom_gradient
    def convolution(x: tf.Tensor, filters: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # The strided gradient of the input is slow in bfloat16.
            dtype = tf.float32 if max(strides) > 1 else x.dtype
            to_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x),
                filter=tf.cast(filters, dtype),
                out_backprop=tf.cast(upstream, dtype),
                strides=steps,
                padding=padding,
            )
            large = max(sides) > _MOST_ONEDNN
            dtype = tf.float32 if large else x.dtype
            to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=tf.cast(x, dtype),
                filter_sizes=filters.shape,
                out_backprop=tf.cast(upstream, dtype),
                strides=steps,
                # oneDNN replaces operators without explicit padding.
                padding="EXPLICIT" if large else padding,
                explicit_paddings=_margins(x.shape[1:3], sides, strides, padding) if large else [],
            )
            return tf.cast(to_inputs, x.dtype), tf.cast(to_kernel, filters.dtype)

        return tf.nn.depthwise_conv2d(x, filters, steps, padding), gradient

    return convolution(inputs, kernel)


def _margins(size: Sequence[int], sides: Sequence[int], strides: Sequence[int], padding: str) -> list[int]:
    """Returns the pixels before and after each axis of (batch, height, width, channels) that a padding adds."""
    margins = [0, 0]
    for length, side, stride in zip(size, sides, strides, strict=True):
        added = max(0, (-(-length // stride) - 1) * stride + side - length) if padding == "SAME" else 0
        margins += [added // 2, added - added // 2]
    return [*margins, 0, 0]
