"""Nearest-neighbor upsampling to the size of a finer pyramid level."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfeff")
class NearestUpsampling(keras.layers.Layer):
    """Repeat each pixel `factor` times in both directions and crop to a size.

    Level n of a pyramid has ceil(r / 2^n) pixels, so the repeated map can exceed the finer level by up to factor - 1
    pixels. Pixel i of the result is pixel i // factor of the input.

    Input: (batch, h, w, channels). Output: (batch, *size, channels), in the layer's compute dtype.

    Args:
        factor: 2, 4, 8, ...
        size: (height, width) of the output, at most (factor * h, factor * w).
        **kwargs: passed to `keras.layers.Layer`.
    """

    def __init__(self, factor: int, size: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor
        self.size = tuple(size)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The upsampled map."""
        height, width = (side * self.factor for side in inputs.shape[1:3])
        x = ops.image.resize(inputs, (height, width), interpolation="nearest", data_format="channels_last")
        return x if (height, width) == self.size else x[:, : self.size[0], : self.size[1]]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(batch, *size, channels)."""
        return (input_shape[0], *self.size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "factor": self.factor, "size": self.size}
