"""Convolutions in groups."""

import os
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfeff")
class GroupedConvolution(keras.layers.Conv2D):
    """Keras' layer, with TensorFlow's operator. Each group of filters reads only its own group of channels.

    Under TensorFlow, Keras compiles convolutions in groups with XLA, one by one. On CPUs, that takes many times as long
    as the operator. Its gradients need a GPU or oneDNN; without them, each group is a convolution of its own. The
    results are the same up to rounding.

    Input and output: (batch, height, width, channels) in the layer's compute dtype.
    """

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
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return True
    return os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0" and dtype == "float32"
