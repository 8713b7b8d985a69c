"""Compiled training and evaluation steps, on one device, several devices or several workers."""

import keras
import tensorflow as tf

from tfeff.training.averaging import Average
from tfeff.training.task import Batch, Task


class Step:
    """Training and evaluation steps on a batch.

    Args:
        model: images in [0, 255] -> the outputs that the task expects.
        optimizer: built for the model's trainable variables.
        strategy: the strategy in whose scope model and optimizer were created.
        task: computes losses and metrics.
        batch_size: images per update, over all replicas.
        accumulation_steps: number of equal parts of a replica's batch whose gradients are summed before the update.
        average: moving average to update after each step.
        xla: compile the training step with XLA.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        *,
        task: Task,
        batch_size: int,
        accumulation_steps: int = 1,
        average: Average | None = None,
        xla: bool = False,
    ):
        self.model = model
        self.optimizer = optimizer
        self.strategy = strategy
        self.task = task
        self.batch_size = batch_size
        self.accumulation_steps = accumulation_steps
        self.average = average
        replicas = strategy.num_replicas_in_sync
        # Clipping and overflow detection need the gradient of the whole batch, not of a replica's part.
        self._scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        inner = optimizer.inner_optimizer if self._scaled else optimizer
        self._reduce_first = replicas > 1 and (self._scaled or inner.global_clipnorm is not None)
        self._train = tf.function(self._distributed_update, autograph=False, jit_compile=xla)
        self._evaluate = tf.function(self._distributed_evaluation, autograph=False, jit_compile=False)

    def train(self, batch: Batch, *, step: int, learning_rate: float) -> tf.Tensor:
        """Updates the network and returns the `Task.sums` of the batch."""
        self.optimizer.learning_rate = learning_rate
        return self._train(batch, tf.constant(step, tf.int64))

    def evaluate(self, batch: Batch) -> tf.Tensor:
        """Returns the `Task.sums` without an update and without label smoothing. Padding images have weight 0."""
        return self._evaluate(batch)

    def _distributed_update(self, batch: Batch, step: tf.Tensor) -> tf.Tensor:
        sums = self.strategy.run(self._update, args=(batch,))
        if self.average is not None:
            self.average.update(step, self.strategy)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _distributed_evaluation(self, batch: Batch) -> tf.Tensor:
        sums = self.strategy.run(self._sums, args=(batch,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _update(self, batch: Batch) -> tf.Tensor:
        gradients, sums = self._accumulated(batch) if self.accumulation_steps > 1 else self._gradients(batch)
        if self._reduce_first:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            gradients = [gradient / self.strategy.num_replicas_in_sync for gradient in gradients]
        if tf.distribute.has_strategy() or self._scaled:
            self.optimizer.apply(gradients, self.model.trainable_variables)
        else:
            # On a single device, Keras would still sum gradients over replicas, in a function with a custom gradient.
            # TensorFlow never frees those, and they keep the graph of every trained network alive.
            context = tf.distribute.get_replica_context()
            context.merge_call(lambda _: self.optimizer.apply(gradients, self.model.trainable_variables))
        return sums

    def _gradients(self, batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = self.model(batch["image"], training=True)
            losses = self.task.losses(batch, outputs, training=True)
            loss = tf.reduce_sum(losses) / self.batch_size
            scaled = self.optimizer.scale_loss(loss)
        variables = [variable.value for variable in self.model.trainable_variables]
        return tape.gradient(scaled, variables), self.task.sums(batch, outputs, losses)

    def _accumulated(self, batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor]:
        parts = {
            key: tf.reshape(value, (self.accumulation_steps, -1, *value.shape[1:])) for key, value in batch.items()
        }

        def add(part: tf.Tensor, gradients: list[tf.Tensor], total: tf.Tensor) -> tuple:
            part_gradients, part_sums = self._gradients({key: value[part] for key, value in parts.items()})
            return part + 1, [a + b for a, b in zip(gradients, part_gradients, strict=True)], total + part_sums

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self.model.trainable_variables]
        # One part at a time, to need memory for the activations of only one part.
        _, gradients, total = tf.while_loop(
            lambda part, *_: part < self.accumulation_steps,
            add,
            (tf.constant(0), zeros, tf.zeros(len(self.task.zero_sums()))),
            parallel_iterations=1,
            maximum_iterations=self.accumulation_steps,
        )
        return gradients, total

    def _sums(self, batch: Batch) -> tf.Tensor:
        outputs = self.model(batch["image"], training=False)
        return self.task.sums(batch, outputs, self.task.losses(batch, outputs, training=False))
