"""One update and one measurement, compiled; on one device, several, or several workers."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tfeff.training.averaging import Average

Batch = Mapping[str, tf.Tensor]
"""image float32 [b, h, w, c] in [0, 255]; label float32 [b, classes], soft or one-hot; weight float32 [b]."""


class Step:
    """The compiled work on a batch.

    Args:
        model: images [0, 255] -> logits.
        optimizer: built for the model's trainable variables.
        strategy: under whose scope both were made.
        batch_size: images an update, over all replicas.
        label_smoothing: share of a label spread over all classes (Szegedy et al., arXiv:1512.00567, §7).
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
        batch_size: int,
        label_smoothing: float = 0.0,
        accumulation_steps: int = 1,
        average: Average | None = None,
        xla: bool = False,
    ):
        self.model = model
        self.optimizer = optimizer
        self.strategy = strategy
        self.batch_size = batch_size
        self.label_smoothing = label_smoothing
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
        """Updates the network; returns float32 [3]: summed loss, right answers, images."""
        self.optimizer.learning_rate = learning_rate
        return self._train(batch, tf.constant(step, tf.int64))

    def measure(self, batch: Batch) -> tf.Tensor:
        """Float32 [3] as `train`, without an update, label smoothing or padding images (weight 0)."""
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
            logits = self.model(batch["image"], training=True)
            losses = cross_entropy(batch["label"], logits, self.label_smoothing)
            loss = tf.reduce_sum(losses) / self.batch_size
            scaled = self.optimizer.scale_loss(loss)
        variables = [variable.value for variable in self.model.trainable_variables]
        return tape.gradient(scaled, variables), sums(batch, logits, losses)

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
            (tf.constant(0), zeros, tf.zeros(3)),
            parallel_iterations=1,
            maximum_iterations=self.accumulation_steps,
        )
        return gradients, total

    def _sums_of(self, batch: Batch) -> tf.Tensor:
        logits = self.model(batch["image"], training=False)
        return sums(batch, logits, cross_entropy(batch["label"], logits))


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Cross-entropy in float32, [b], of labels [b, classes] that may be soft."""
    if smoothing:
        labels = labels * (1 - smoothing) + smoothing / labels.shape[-1]
    return tf.nn.softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


def sums(batch: Batch, logits: tf.Tensor, losses: tf.Tensor) -> tf.Tensor:
    """Float32 [3]: loss, right answers and images, each summed with the images' weights."""
    right = tf.equal(tf.argmax(logits, axis=-1), tf.argmax(batch["label"], axis=-1))
    weight = batch["weight"]
    return tf.stack(
        [tf.reduce_sum(losses * weight), tf.reduce_sum(tf.cast(right, tf.float32) * weight), tf.reduce_sum(weight)]
    )
