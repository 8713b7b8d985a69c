"""Stochastic depth: randomly skips residual branches in training."""

from typing import Any

import keras
from keras import ops

from tfeff.errors import UserError


@keras.saving.register_keras_serializable(package="tfeff")
class StochasticDepth(keras.layers.Layer):
    """Drop a residual branch for random examples of a batch.

    Huang et al., "Deep Networks with Stochastic Depth" (2016).

    In training, each example keeps its branch with probability `survival_probability`. Kept branches are divided by
    that probability, so the layer is the identity at inference.

    Input and output: (batch, ...) in the layer's compute dtype.

    Args:
        survival_probability: probability in (0, 1] of keeping the branch.
        seed: seed of the layer's own random state; None derives it from Keras' global seed.
        **kwargs: passed to `keras.layers.Layer`.

    Raises:
        UserError: `survival_probability` is out of range.
    """

    def __init__(self, survival_probability: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < survival_probability <= 1:
            raise UserError(f"survival_probability {survival_probability}: must be in (0, 1]")
        self.survival_probability = survival_probability
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drop random examples in training; return the input at inference."""
        if not training or self.survival_probability == 1:
            return inputs
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        survives = keras.random.uniform(shape, seed=self.seed_generator, dtype="float32") < self.survival_probability
        return inputs * (ops.cast(survives, inputs.dtype) / self.survival_probability)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "survival_probability": self.survival_probability, "seed": self.seed}
