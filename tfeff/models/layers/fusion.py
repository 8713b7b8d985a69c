"""Weighted fusion of feature maps: Tan et al., "EfficientDet" (arXiv:1911.09070), section 3.3."""

from typing import Any

import keras
from keras import ops

from tfeff.errors import UserError

METHODS = ("sum", "unbounded", "softmax", "fast")
WEIGHTED = METHODS[1:]
EPSILON = 1e-4
"""Added to the sum of the weights in fast normalized fusion, as in the paper."""


@keras.saving.register_keras_serializable(package="tfeff")
class WeightedFusion(keras.layers.Layer):
    """Weighted sum of feature maps of the same shape, with one learned weight per map, or per map and channel.

    With w initialized to 1, the factors of the maps are

    - "unbounded": w_i;
    - "softmax": exp(w_i) / Σ exp(w_j);
    - "fast": relu(w_i) / (Σ relu(w_j) + 1e-4), fast normalized fusion.

    Inputs: n maps (batch, height, width, channels). Output: the same shape.

    Args:
        method: one of the above.
        per_channel: a weight for each channel of each map, instead of one per map.
        **kwargs: passed to `keras.layers.Layer`.

    Raises:
        UserError: unknown method.
    """

    def __init__(self, method: str, per_channel: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if method not in WEIGHTED:
            raise UserError(f"fusion {method!r}: must be one of {', '.join(WEIGHTED)}")
        self.method = method
        self.per_channel = per_channel

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Create the weights, [n] or [n, channels]."""
        count, channels = len(input_shape), input_shape[0][-1]
        # Without autocast: weights are normalized in full precision under mixed precision too.
        self.fusion_weights = self.add_weight(
            shape=(count, channels) if self.per_channel else (count,),
            initializer="ones",
            name="weights",
            autocast=False,
        )

    def factors(self) -> Any:
        """The factors of the maps, computed from the weights: [n] or [n, channels]."""
        if self.method == "softmax":
            return ops.softmax(self.fusion_weights, axis=0)
        if self.method == "fast":
            positive = ops.relu(self.fusion_weights)
            return positive / (ops.sum(positive, axis=0) + EPSILON)
        return ops.convert_to_tensor(self.fusion_weights)

    def call(self, inputs: list[Any]) -> Any:
        """The weighted sum."""
        factors = ops.cast(self.factors(), self.compute_dtype)
        total = inputs[0] * factors[0]
        for index, feature_map in enumerate(inputs[1:], 1):
            total = total + feature_map * factors[index]
        return total

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """The shape of one input."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "method": self.method, "per_channel": self.per_channel}
