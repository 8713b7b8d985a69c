"""Stochastic depth: residual branches that some examples skip in training."""

from typing import Any

import keras
from keras import ops

from tfeff.errors import UserError


@keras.saving.register_keras_serializable(package="tfeff")
class StochasticDepth(keras.layers.Layer):
    """Drop a residual branch example by example (Huang et al., "Deep Networks with Stochastic Depth", 2016).

    In training each example keeps its branch with probability `survival_probability`, and a kept branch is divided by
    it, so that prediction needs no rescaling. In prediction the layer is the identity.

    Input and output: (batch, ...), the compute dtype of the layer.

    Args:
        survival_probability: in (0, 1].
        seed: start of the layer's own random state; None takes it from Keras' global seed.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        UserError: a probability out of range.
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
        """Mask the branch in training; pass it on in prediction."""
        if not training or self.survival_probability == 1:
            return inputs
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        survives = keras.random.uniform(shape, seed=self.seed_generator, dtype="float32") < self.survival_probability
        return inputs * (ops.cast(survives, inputs.dtype) / self.survival_probability)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Same as the input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "survival_probability": self.survival_probability, "seed": self.seed}
