"""Convolutions in groups."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfeff")
class GroupedConvolution(keras.layers.Conv2D):
    """Keras' layer, with TensorFlow's operator. Each group of filters reads only its own group of channels.

    Under TensorFlow, Keras compiles convolutions in groups with XLA, one by one. On CPUs, that takes many times as long
    as the operator, which computes groups and their gradients itself. The results are the same up to rounding.

    Input and output: (batch, height, width, channels) in the layer's compute dtype.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution without bias and activation."""
        if keras.backend.backend() != "tensorflow" or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate)
