"""Exponential moving average of a network's weights, batch statistics included (Polyak & Juditsky, 1992)."""

import keras
import tensorflow as tf


class Average:
    """The moving average of a model's floating-point weights.

    The decay rises as (1 + step) / (10 + step) until it reaches `decay`, so that the start is forgotten soon.

    Args:
        model: the network; its strategy's scope must be the present one.
        decay: of the average; EfficientNet's training uses 0.9999.
    """

    def __init__(self, model: keras.Model, decay: float):
        self.decay = decay
        self.model = model
        self.variables = [tf.Variable(weight.value, trainable=False, name="average") for weight in model.weights]

    def restart(self) -> None:
        """Begins anew with the weights as they are now."""
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            average.assign(weight.value)

    def update(self, step: tf.Tensor, strategy: tf.distribute.Strategy) -> None:
        """Moves the average towards the weights; in cross-replica context, after the update of `step`."""
        step = tf.cast(step, tf.float32)
        pace = 1 - tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            strategy.extended.update(
                average, lambda mean, value: mean.assign_add(pace * (value - mean)), args=(weight.value,), group=False
            )

    def swap(self) -> None:
        """Exchanges the weights and their average; a second call puts them back."""
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            held = average.numpy()
            average.assign(weight.value)
            weight.assign(held)
