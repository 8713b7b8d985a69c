"""Compiled training and evaluation steps, on one device, several devices or several workers."""

from collections.abc import Sequence
from functools import partial

import keras
import tensorflow as tf

from tfeff.tasks.task import ABOUT_IMAGES, Batch, ImageTask, Task
from tfeff.training.averaging import Average
from tfeff.training.distillation import Distilled
from tfeff.training.quantization import Quantized
from tfeff.training.rematerialization import Rematerialized
from tfeff.training.resolutions import Resolutions

REGULARIZATION = "regularization"
"""The group of `model.losses`: the gradients of losses with one count are summed in a group."""


class Step:
    """Training and evaluation steps on a batch.

    Several devices share a batch, and each may accumulate the gradients of equal parts of its share. The losses of the
    task are means over the whole batch, however it is divided, and `model.losses` (regularization) count once per
    update.

    Args:
        model: the network.
        optimizer: from `optimizers.build`: on several devices, it must not sum gradients over them.
        strategy: the strategy in whose scope model and optimizer were created.
        task: forward pass, losses and metrics.
        batch_size: examples per update, over all replicas.
        accumulation_steps: number of equal parts of a replica's batch whose gradients are summed before the update. It
            costs one backward pass per count of the task's losses.
        rematerialize: keep few feature maps for the backward pass, see `Rematerialized`.
        quantize: run the model as in 8-bit integers, see `Quantized`. Excludes `rematerialize` and `rest`.
        average: moving average to update after each step.
        xla: compile the training step with XLA.
        rest: the part of the model that runs, if batches hold features of its frozen part (see `features.split`).
        resolutions: the model at the resolutions of the training; None: at its own. Excludes `rematerialize`,
            `quantize` and `rest`.

    Attributes:
        network: what runs on the inputs of a batch.
        reads_images: whether these are images, not features.
        ranges: value ranges of a quantized network's feature maps, see `Quantized`; else None.
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
        rematerialize: bool = False,
        quantize: bool = False,
        average: Average | None = None,
        xla: bool = False,
        rest: keras.Model | None = None,
        resolutions: Resolutions | None = None,
    ):
        self.model = model
        self.optimizer = optimizer
        self.strategy = strategy
        self.task = task
        self.batch_size = batch_size
        self.accumulation_steps = accumulation_steps
        self.average = average
        self.reads_images = rest is None
        self.resolutions = resolutions
        running = model if rest is None else rest
        self.network = Rematerialized(running) if rematerialize else running
        self.ranges: tf.Variable | None = None
        if quantize:
            self.network = Quantized(model)
            self.ranges = self.network.ranges
        self._replicas = strategy.num_replicas_in_sync
        self._groups = tuple(dict.fromkeys(task.losses.values()))
        if _regularizes(model):
            self._groups += (REGULARIZATION,)
        self._scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self._train = tf.function(self._distributed_update, autograph=False, jit_compile=xla)
        self._inspect = tf.function(self._distributed_gradients, autograph=False, jit_compile=False)
        self._evaluate = tf.function(self._distributed_evaluation, autograph=False, jit_compile=False)
        self._predict = tf.function(self._distributed_predictions, autograph=False, jit_compile=False)

    def train(self, batch: Batch, *, step: int, learning_rate: float) -> tf.Tensor:
        """Updates the network; returns totals and counts of the batch, floatx [k], in the order of `Task.names`."""
        self.optimizer.learning_rate = learning_rate
        resolution = None if self.resolutions is None else self.resolutions.drawn(step)
        return self._train(batch, tf.constant(step, tf.int64), resolution)

    def gradients(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns the gradients of the validation loss by path of the trainable variable. Changes nothing: batch
        normalization uses its moving statistics, and nothing is dropped."""
        paths = [variable.path for variable in self.model.trainable_variables]
        found = zip(paths, self._inspect(batch), strict=True)
        return {path: gradient for path, gradient in found if gradient is not None}

    def evaluate(self, batch: Batch) -> tf.Tensor:
        """Returns totals and counts like `train`, without an update and with the validation loss."""
        return self._evaluate(batch)

    def evaluate_and_predict(self, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Returns what `evaluate` returns; decoded predictions for the global batch, from the same forward pass; and
        what its rows say about the images: `weight`, and ABOUT_IMAGES.

        The task must be an `ImageTask`.
        """
        return self._predict(batch)

    def _distributed_update(self, batch: Batch, step: tf.Tensor, resolution: int | None = None) -> tf.Tensor:
        sums = self.strategy.run(partial(self._update, resolution=resolution), args=(batch,))
        if self.average is not None:
            self.average.update(step, self.strategy)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _distributed_gradients(self, batch: Batch) -> list[tf.Tensor | None]:
        gradients = self.strategy.run(self._validation_gradients, args=(batch,))
        return [
            each if each is None else self.strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)
            for each in gradients
        ]

    def _distributed_evaluation(self, batch: Batch) -> tf.Tensor:
        sums = self.strategy.run(self._sums, args=(batch,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _distributed_predictions(self, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        sums, decoded, about = self.strategy.run(self._sums_and_predictions, args=(batch,))
        if self._replicas > 1:
            decoded, about = ({key: self._gathered(each) for key, each in part.items()} for part in (decoded, about))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None), decoded, about

    def _gathered(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the rows of all replicas."""
        local = self.strategy.experimental_local_results(value)
        if (dtype := local[0].dtype) == tf.bool:  # collective operations do not support bool
            value = self.strategy.run(lambda each: tf.cast(each, tf.int32), args=(value,))
        return tf.cast(self.strategy.gather(value, axis=0), dtype)

    def _update(self, batch: Batch, resolution: int | None) -> tf.Tensor:
        network = self.network
        if self.resolutions is not None and resolution is not None:
            network, batch = self.resolutions.networks[resolution], self.resolutions.resized(batch, resolution)
        gradients, sums = (self._accumulated if self.accumulation_steps > 1 else self._gradients)(batch, network)
        if self._replicas > 1:  # clipping and overflow detection need the gradient of the whole batch
            gradients = self._summed_over_replicas(gradients)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return sums

    def _gradients(self, batch: Batch, network: keras.Model) -> tuple[list[tf.Tensor | None], tf.Tensor]:
        """Returns the replica's share of the gradients, and its totals and counts."""
        with tf.GradientTape() as tape:
            totals = self._totals(batch, network, training=True)
            scaled = self.optimizer.scale_loss(self._loss(totals))
        return tape.gradient(scaled, self._variables()), self._stacked(totals)

    def _validation_gradients(self, batch: Batch) -> list[tf.Tensor | None]:
        """Returns the replica's share of the gradients of the validation loss."""
        parts = self.accumulation_steps  # the whole batch may not fit into the memory
        batch = {key: value[: value.shape[0] // parts] for key, value in batch.items()}
        with tf.GradientTape() as tape:
            loss = self.optimizer.scale_loss(self._loss(self._totals(batch, self.network, training=False)))
        scale = self.optimizer.dynamic_scale.value if self._scaled else 1.0
        gradients = tape.gradient(loss, self._variables())
        return [each if each is None else tf.cast(each, tf.float32) / scale for each in gradients]

    def _loss(self, totals: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns the replica's share of the loss."""
        losses, counts = self._grouped(totals), self._counts(totals, 1)
        return tf.add_n([tf.math.divide_no_nan(losses[group], counts[group]) for group in self._groups])

    def _accumulated(self, batch: Batch, network: keras.Model) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Does what `_gradients` does, one part of the batch at a time, to keep the activations of only one part.

        The counts are known after the last part, so the gradients of each group are accumulated apart.
        """
        parts = {
            key: tf.reshape(value, (self.accumulation_steps, -1, *value.shape[1:])) for key, value in batch.items()
        }

        def add(part: tf.Tensor | int, gradients: list[list[tf.Tensor]], sums: tf.Tensor) -> tuple:
            with tf.GradientTape(persistent=len(self._groups) > 1) as tape:
                totals = self._totals({key: value[part] for key, value in parts.items()}, network, training=True)
                losses = self._grouped(totals)
                # Divided by the batch size for the time being, so that float16 gradients do not overflow.
                scaled = [self.optimizer.scale_loss(losses[group] / self.batch_size) for group in self._groups]
            new = [tape.gradient(loss, self._variables(), unconnected_gradients="zero") for loss in scaled]
            gradients = [
                [a + b for a, b in zip(group, part_gradients, strict=True)]
                for group, part_gradients in zip(gradients, new, strict=True)
            ]
            return part + 1, gradients, sums + self._stacked(totals)

        zeros = [[tf.zeros(variable.shape, variable.dtype) for variable in self._variables()] for _ in self._groups]
        sums = tf.zeros(len(self.task.names), keras.config.floatx())
        if self._replicas > 1:  # a loop in the graph cannot contain synchronized batch normalization
            gradients = zeros
            for part in range(self.accumulation_steps):
                with tf.control_dependencies([sums]):
                    _, gradients, sums = add(part, gradients, sums)
        else:
            _, gradients, sums = tf.while_loop(
                lambda part, *_: part < self.accumulation_steps,
                add,
                (tf.constant(0), zeros, sums),
                parallel_iterations=1,
                maximum_iterations=self.accumulation_steps,
            )
        counts = self._counts(dict(zip(self.task.names, tf.unstack(sums), strict=True)), self.accumulation_steps)
        factors = [tf.math.divide_no_nan(float(self.batch_size), counts[group]) for group in self._groups]
        means = [
            [gradient * tf.cast(factor, gradient.dtype) for gradient in group]
            for group, factor in zip(gradients, factors, strict=True)
        ]
        return [tf.add_n(each) for each in zip(*means, strict=True)], sums

    def _totals(self, batch: Batch, network: keras.Model, *, training: bool) -> dict[str, tf.Tensor]:
        return self.task.totals(batch, self.task.forward(network, batch, training=training), training=training)

    def _grouped(self, totals: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the sum of the losses of each group."""
        groups: dict[str, list[tf.Tensor]] = {group: [] for group in self._groups}
        for name, count in self.task.losses.items():
            groups[count].append(totals[name])
        if REGULARIZATION in groups:
            groups[REGULARIZATION] = self.model.losses
        return {group: tf.add_n(losses) for group, losses in groups.items()}

    def _counts(self, totals: dict[str, tf.Tensor], parts: int) -> dict[str, tf.Tensor]:
        """Returns the count of each group, summed over the replicas, each of which has divided its batch into parts."""
        names = [group for group in self._groups if group != REGULARIZATION]
        named = [tf.stop_gradient(totals[name]) for name in names]
        if self._replicas > 1:
            named = self._summed_over_replicas(named)
        named = [count + self.task.added.get(name, 0.0) for name, count in zip(names, named, strict=True)]
        # Each part of each replica has all of `model.losses`.
        return dict(zip(self._groups, [*named, float(self._replicas * parts)], strict=False))

    def _summed_over_replicas(self, values: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
        known = [value for value in values if value is not None]
        sums = iter(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, known))
        return [None if value is None else next(sums) for value in values]

    def _variables(self) -> list[tf.Variable]:
        return [variable.value for variable in self.model.trainable_variables]

    def _stacked(self, totals: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.stack([tf.cast(totals[name], keras.config.floatx()) for name in self.task.names])

    def _sums(self, batch: Batch) -> tf.Tensor:
        return self._stacked(self._totals(batch, self.network, training=False))

    def _sums_and_predictions(self, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        assert isinstance(self.task, ImageTask | Distilled)
        outputs = self.task.forward(self.network, batch, training=False)
        sums = self._stacked(self.task.totals(batch, outputs, training=False))
        about = {key: batch[key] for key in ("weight", *ABOUT_IMAGES) if key in batch}
        return sums, self.task.decode(outputs), about


class FittedStep(Step):
    """The steps of a network that is not trained by gradients."""

    def gradients(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns none."""
        return {}

    def train(self, batch: Batch, *, step: int, learning_rate: float) -> tf.Tensor:
        """Changes nothing; returns zeros."""
        return tf.zeros(len(self.task.names))


def _regularizes(model: keras.Model) -> bool:
    """Returns whether a training step adds `model.losses`: activity regularization shows only in a forward pass."""
    return bool(model.losses) or any(layer.activity_regularizer is not None for layer in model._flatten_layers())
