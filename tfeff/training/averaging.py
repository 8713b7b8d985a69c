"""Averages of a network's weights, including batch statistics: over steps (Polyak & Juditsky, 1992), over epochs."""

import math

import keras
import tensorflow as tf

from tfeff import config


def wanted(training: config.Training) -> tuple[bool, float | None]:
    """Returns whether weights are averaged, and the decay of a moving average over steps."""
    decay = training.ema_decay
    if training.ema_images is not None:
        decay = math.exp(-training.batch_size / training.ema_images)
    return decay is not None or training.swa_epochs is not None, decay


class Average:
    """An average of a model's floating-point weights; others keep their current value.

    With a decay, it is an exponential moving average. The decay is min(`decay`, (1 + step) / (10 + step)), so the
    initial weights are forgotten quickly.

    Args:
        model: the network; create the average in the same strategy scope.
        decay: decay per step; EfficientNet's training uses 0.9999. None: steps do not change the average, see `blend`.
    """

    def __init__(self, model: keras.Model, decay: float | None):
        self.decay = decay
        self.model = model
        self.variables = [tf.Variable(weight.value, trainable=False, name="average") for weight in model.weights]

    def restart(self) -> None:
        """Resets the average to the current weights."""
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            average.assign(weight.value)

    def update(self, step: tf.Tensor, strategy: tf.distribute.Strategy) -> None:
        """Updates a moving average. Call it in cross-replica context, after the weight update of `step`."""
        if self.decay is None:
            return
        step = tf.cast(step, tf.float32)
        rate = 1 - tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            strategy.extended.update(
                average,
                lambda mean, value: mean.assign(_between(mean, value, rate)),
                args=(weight.value,),
                group=False,
            )

    def blend(self, rate: float) -> None:
        """Moves the average toward the current weights by `rate`, a fraction of the distance."""
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            average.assign(_between(average, weight.value, rate))

    def swap(self) -> None:
        """Swaps the weights and their average; a second call swaps them back."""
        for average, weight in zip(self.variables, self.model.weights, strict=True):
            mean = average.numpy()
            average.assign(weight.value)
            weight.assign(mean)


def _between(mean: tf.Variable, value: tf.Tensor, rate: tf.Tensor | float) -> tf.Tensor:
    """Returns the value that is `rate` of the way from the mean to a weight; counters are not averaged."""
    return mean + tf.cast(rate, mean.dtype) * (value - mean) if mean.dtype.is_floating else value
