"""Layers of residual branches: stochastic depth, which skips them at random in training, and LayerScale."""

from typing import Any

import keras
from keras import ops

from tfeff.errors import UserError


@keras.saving.register_keras_serializable(package="tfeff")
class StochasticDepth(keras.layers.Layer):
    """A residual branch that is dropped for random examples of a batch.

    Huang et al., "Deep Networks with Stochastic Depth" (2016).

    In training, each example keeps its branch with probability `survival_probability`. Kept branches are divided by
    that probability, so the layer is the identity at inference.

    Input and output: (batch, ...) in the layer's compute dtype.

    Args:
        survival_probability: probability in (0, 1] of keeping the branch.
        seed: seed of the layer's own random state; None derives it from Keras' global seed.

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
        """Drops random examples in training; returns the input unchanged at inference."""
        if not training or self.survival_probability == 1:
            return inputs
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        survives = keras.random.uniform(shape, seed=self.seed_generator, dtype="float32") < self.survival_probability
        return inputs * (ops.cast(survives, inputs.dtype) / self.survival_probability)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the input."""
        return input_shape


@keras.saving.register_keras_serializable(package="tfeff")
class LayerScale(keras.layers.Layer):
    """A trainable factor for each channel.

    Touvron et al., "Going deeper with Image Transformers" (arXiv:2103.17239), section 2. With a small initial factor,
    every residual block starts close to its shortcut.

    Input and output: (batch, ..., channels) in the layer's compute dtype.

    Args:
        initial_value: initial value of every factor.
    """

    def __init__(self, initial_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the factors, (channels,)."""
        self.gamma = self.add_weight(
            shape=input_shape[-1:], initializer=keras.initializers.Constant(self.initial_value), name="gamma"
        )

    def call(self, inputs: Any) -> Any:
        """Scales the input."""
        return inputs * ops.cast(self.gamma, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the input."""
        return input_shape
