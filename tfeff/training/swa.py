"""Stochastic weight averaging: the mean of the weights after each of the last epochs.

Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (arXiv:1803.05407), algorithm 1.
"""

from collections.abc import Iterator
from itertools import islice

import keras
import numpy as np
import tensorflow as tf

from tfeff.tasks.task import Batch
from tfeff.training.loop import Hook, Loop, Row


class WeightAveraging(Hook):
    """Hook that adds the weights of each of the last epochs to the average, and computes its batch statistics.

    Hooks that use the average must come after it.

    Args:
        epochs: how many epochs of the run are averaged.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._batches: Iterator[Batch] | None = None
        self._forward: tf.types.experimental.PolymorphicFunction | None = None

    def interruptible(self, loop: Loop) -> bool:
        """Returns whether the average will need new batch statistics."""
        return self._averaged(loop, loop.state.step // loop.pipeline.steps_per_epoch) > 1

    def _averaged(self, loop: Loop, epoch: int) -> int:
        """Returns how many epochs are averaged after `epoch`; at most 0 before they begin."""
        return epoch - (loop.epochs - self._epochs)

    def epoch(self, loop: Loop, row: Row) -> None:
        """Updates the average; until the averaged epochs begin, it is equal to the weights."""
        assert loop.state.average is not None
        average, count = loop.state.average, self._averaged(loop, row["epoch"])
        if count <= 1:
            average.restart()
            return
        average.blend(1 / count)
        average.swap()
        self._renew_batch_statistics(loop, row["epoch"])
        average.swap()

    def _renew_batch_statistics(self, loop: Loop, epoch: int) -> None:
        """Sets the moving statistics to the means over the batches of an epoch, or over their accumulated parts.

        Without momentum, a batch replaces the moving statistics by its own.
        """
        layers = [
            layer
            for layer in loop.state.model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        variables = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
        if not variables:
            return
        momenta = [layer.momentum for layer in layers]
        steps, parts = loop.pipeline.steps_per_epoch, loop.step.accumulation_steps
        sums = [np.zeros(variable.shape) for variable in variables]
        try:
            for layer in layers:
                layer.momentum = 0.0
            if self._batches is None:  # one pipeline for all epochs that follow
                self._batches = iter(loop.batches(max(epoch, loop.until), (epoch - 1) * steps))
            for batch in islice(self._batches, steps):
                loop.interruption.check("the run resumes from its last checkpoint")
                for part in range(parts):
                    self._run(loop, batch, part)
                    for total, variable in zip(sums, variables, strict=True):
                        total += np.asarray(variable.value)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
        for total, variable in zip(sums, variables, strict=True):
            variable.assign(total / (steps * parts))

    def _run(self, loop: Loop, batch: Batch, part: int) -> None:
        """Runs a forward pass in training mode for a part of a batch: as many images as a step takes at once."""
        step = loop.step

        def forward(batch: Batch, part: tf.Tensor) -> tf.Tensor:
            parts = {
                key: tf.reshape(value, (step.accumulation_steps, -1, *value.shape[1:])) for key, value in batch.items()
            }
            step.task.forward(step.network, {key: value[part] for key, value in parts.items()}, training=True)
            return tf.constant(0)

        if self._forward is None:  # traced without momentum
            self._forward = tf.function(
                lambda batch, part: step.strategy.run(forward, args=(batch, part)), autograph=False, jit_compile=False
            )
        self._forward(batch, tf.constant(part))
