"""Exponential moving average of a network's weights, including batch statistics (Polyak & Juditsky, 1992)."""

import keras
import tensorflow as tf


class Average:
    """The moving average of a model's floating-point weights.

    The decay is min(`decay`, (1 + step) / (10 + step)), so the initial weights are forgotten quickly.

    Args:
        model: the network; create the average in the same strategy scope.
        decay: decay per step; EfficientNet's training uses 0.9999.
    """

    def __init__(self, model: keras.Model, decay: float):
        self.decay = decay
        self.model = model
        self.variables = [tf.Variable(weight.value, trainable=False, name="average") for weight in model.weights]

    def restart(self) -> None:
        """Resets the average to the current weights."""
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            average.assign(weight.value)

    def update(self, step: tf.Tensor, strategy: tf.distribute.Strategy) -> None:
        """Updates the average. Call it in cross-replica context, after the weight update of `step`."""
        step = tf.cast(step, tf.float32)
        rate = 1 - tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            strategy.extended.update(
                average,
                lambda mean, value: mean.assign_add(tf.cast(rate, mean.dtype) * (value - mean)),
                args=(weight.value,),
                group=False,
            )

    def swap(self) -> None:
        """Swaps the weights and their average; a second call swaps them back."""
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            mean = average.numpy()
            average.assign(weight.value)
            weight.assign(mean)
