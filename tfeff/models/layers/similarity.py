"""Cosine similarities to learned vectors."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfeff")
class CosineSimilarity(keras.layers.Layer):
    """The cosine similarity of a vector with a learned one per class, its proxy.

    Zhai and Wu, "Classification is a Strong Baseline for Deep Metric Learning" (arXiv:1811.12649), section 3.1: both
    are normalized to length 1, and there is no bias.

    Input: (batch, dimension). Output: (batch, units), in [-1, 1].

    Args:
        units: number of classes.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the learned vectors, (dimension, units)."""
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="glorot_uniform", name="kernel")

    def call(self, inputs: Any) -> Any:
        """Compares the input with all learned vectors."""
        return ops.matmul(ops.normalize(inputs), ops.normalize(ops.cast(self.kernel, inputs.dtype), axis=0))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns (batch, units)."""
        return *input_shape[:-1], self.units

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        return {**super().get_config(), "units": self.units}
