"""One update and one measurement, compiled; on one device, several, or several workers."""

import keras
import tensorflow as tf

from tfeff.training.averaging import Average
from tfeff.training.task import Batch, Task


class Step:
    """The compiled work on a batch.

    Args:
        model: images [0, 255] -> what the task wants.
        optimizer: built for the model's trainable variables.
        strategy: under whose scope both were made.
        task: gives losses and measures.
        batch_size: images an update, over all replicas.
        accumulation_steps: equal parts of a replica's batch whose gradients are summed before the update.
        average: moved after each update.
        xla: compile the update with XLA.
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
        # Clipping and the search for overflows look at the whole batch's gradient, not at a replica's share of it.
        self._scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        inner = optimizer.inner_optimizer if self._scaled else optimizer
        self._reduce_first = replicas > 1 and (self._scaled or inner.global_clipnorm is not None)
        self._train = tf.function(self._distributed_update, autograph=False, jit_compile=xla)
        self._measure = tf.function(self._distributed_measure, autograph=False, jit_compile=False)

    def train(self, batch: Batch, *, step: int, learning_rate: float) -> tf.Tensor:
        """Updates the network; returns the batch's `Task.sums`."""
        self.optimizer.learning_rate = learning_rate
        return self._train(batch, tf.constant(step, tf.int64))

    def measure(self, batch: Batch) -> tf.Tensor:
        """The sums as `train`, without an update, label smoothing or padding images (weight 0)."""
        return self._measure(batch)

    def _distributed_update(self, batch: Batch, step: tf.Tensor) -> tf.Tensor:
        sums = self.strategy.run(self._update, args=(batch,))
        if self.average is not None:
            self.average.update(step, self.strategy)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _distributed_measure(self, batch: Batch) -> tf.Tensor:
        sums = self.strategy.run(self._sums_of, args=(batch,))
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
            # On a single device Keras would sum the gradients over replicas all the same, in a function with a gradient
            # of its own. TensorFlow keeps those for ever, and with them the graph of every network that was trained.
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
            more, counted = self._gradients({key: value[part] for key, value in parts.items()})
            return part + 1, [a + b for a, b in zip(gradients, more, strict=True)], total + counted

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self.model.trainable_variables]
        # One part at a time: the memory of one part's activations is what accumulation is for.
        _, gradients, total = tf.while_loop(
            lambda part, *_: part < self.accumulation_steps,
            add,
            (tf.constant(0), zeros, tf.zeros(len(self.task.no_sums()))),
            parallel_iterations=1,
            maximum_iterations=self.accumulation_steps,
        )
        return gradients, total

    def _sums_of(self, batch: Batch) -> tf.Tensor:
        outputs = self.model(batch["image"], training=False)
        return self.task.sums(batch, outputs, self.task.losses(batch, outputs, training=False))
