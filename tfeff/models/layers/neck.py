"""Layers of necks: weighted fusion of feature maps, upsampling to the size of a finer pyramid level, and the end of a
gradient."""

from typing import Any

import keras
from keras import ops

from tfeff.errors import UserError
from tfeff.networks.necks.neck import WEIGHTED

EPSILON = 1e-4
"""Added to the sum of the weights in fast normalized fusion, as in the paper."""


@keras.saving.register_keras_serializable(package="tfeff")
class WeightedFusion(keras.layers.Layer):
    """Weighted sum of feature maps of the same shape, with learned weights.

    Tan et al., "EfficientDet" (arXiv:1911.09070), section 3.3.

    With w initialized to 1, the factors of the maps are

    - "unbounded": w_i;
    - "softmax": exp(w_i) / Σ exp(w_j);
    - "fast": relu(w_i) / (Σ relu(w_j) + 1e-4), fast normalized fusion.

    Inputs: n maps (batch, height, width, channels). Output: the same shape.

    Args:
        method: one of the above.
        weights_per: "input": a weight for each map; "channel": for each of its channels; "pixel": for each channel of
            each of its pixels, so that the layer takes maps of one size.

    Raises:
        UserError: unknown method.
    """

    def __init__(self, method: str, weights_per: str = "input", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if method not in WEIGHTED:
            raise UserError(f"fusion {method!r}: must be one of {', '.join(WEIGHTED)}")
        self.method = method
        self.weights_per = weights_per

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Creates the weights, [n], [n, channels] or [n, height, width, channels]."""
        whole = input_shape[0][1:]
        shape = {"input": (), "channel": whole[-1:], "pixel": whole}[self.weights_per]
        if self.weights_per == "pixel":
            self.input_spec = [keras.layers.InputSpec(shape=(None, *shape)) for _ in input_shape]
        # Without autocast: weights are normalized in full precision under mixed precision too.
        self.fusion_weights = self.add_weight(
            shape=(len(input_shape), *shape),
            initializer="ones",
            name="weights",
            autocast=False,
        )

    def factors(self) -> Any:
        """Returns the factors of the maps, computed from the weights, of the same shape."""
        if self.method == "softmax":
            return ops.softmax(self.fusion_weights, axis=0)
        if self.method == "fast":
            positive = ops.relu(self.fusion_weights)
            return positive / (ops.sum(positive, axis=0) + EPSILON)
        return ops.convert_to_tensor(self.fusion_weights)

    def call(self, inputs: list[Any]) -> Any:
        """Returns the weighted sum."""
        factors = ops.cast(self.factors(), self.compute_dtype)
        total = inputs[0] * factors[0]
        for index, feature_map in enumerate(inputs[1:], 1):
            total = total + feature_map * factors[index]
        return total

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Returns the shape of one input."""
        return input_shape[0]


@keras.saving.register_keras_serializable(package="tfeff")
class NearestUpsampling(keras.layers.Layer):
    """Nearest-neighbor upsampling by `factor` in both directions, cropped to a size.

    Level n of a pyramid has ceil(r / 2^n) pixels, so the repeated map can exceed the finer level by up to factor - 1
    pixels. Pixel i of the result is pixel i // factor of the input.

    Input: (batch, h, w, channels). Output: (batch, *size, channels), in the layer's compute dtype.

    Args:
        factor: 2, 4, 8, ...
        size: (height, width) of the output, at most (factor * h, factor * w).
    """

    def __init__(self, factor: int, size: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor
        self.size = tuple(size)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns the upsampled map."""
        height, width = (side * self.factor for side in inputs.shape[1:3])
        x = ops.image.resize(inputs, (height, width), interpolation="nearest", data_format="channels_last")
        return x if (height, width) == self.size else x[:, : self.size[0], : self.size[1]]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns (batch, *size, channels)."""
        return (input_shape[0], *self.size, input_shape[-1])


@keras.saving.register_keras_serializable(package="tfeff")
class StopGradient(keras.layers.Layer):
    """The identity. In training, the gradient ends here."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the inputs. At inference, they keep their gradient, so that predictions can be explained by it."""
        return ops.stop_gradient(inputs) if training else inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the input."""
        return input_shape
