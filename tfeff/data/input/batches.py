"""Batches of static shape, in order, in parallel and from any step on."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.data.images import pixels
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.order import InOrder, Order
from tfeff.data.input.transform import Batch, Shard, Transform
from tfeff.errors import UserError
from tfeff.execution.resources import cores

_MAX_THREADS = 128
_PREFETCHED_BATCHES = 2
_PART_BYTES = 32 << 20
_NO_EXAMPLE = -2  # neither an example's index nor that of padding (-1)
_Table = dict[str, tf.Tensor]


class Batches:
    """Training and evaluation batches of one worker.

    Threads, the batch size, the number of workers and the step of a restart change no image (except through partners
    in MixUp and CutMix, see `ImageTransform`).

    An element holds the transform's tensors and

    - `weight`: float32 [rows], 0 for the padding of the last evaluation batch, else 1;
    - `index`: int64 [rows], index into the dataset; -1 for padding.

    Args:
        transform: turns examples into tensors. Evaluation batches are not augmented.
        batch_size: images of one global batch, over all workers.
        order: order of the training examples; default that of the dataset.
        shard: (i, n): this worker makes the i-th of n equal parts of each global batch.
        variants: number of epochs after which the augmentation of an image repeats, while the order does not; all draws
            of an image in an epoch are then the same. None: it never repeats.
        parallelism: threads; default one per core, at most 128.

    Raises:
        UserError: a batch size, image size or seed out of range, or a batch size that n workers cannot share.
    """

    def __init__(
        self,
        transform: Transform,
        batch_size: int,
        *,
        order: Order | None = None,
        shard: tuple[int, int] = (0, 1),
        variants: int | None = None,
        parallelism: int | None = None,
    ) -> None:
        self.transform = transform
        self.batch_size = batch_size
        self.variants = variants
        self.order = order or InOrder(len(transform.reader))
        self.parallelism = parallelism or min(cores(), _MAX_THREADS)
        part, parts = shard
        if batch_size < 1 or min(transform.size) < 1 or transform.seed < 0:
            raise UserError(
                f"batch_size ({batch_size}) and image size {transform.size} must be at least 1, "
                f"seed ({transform.seed}) at least 0"
            )
        if not 0 <= part < parts:
            raise UserError(f"shard {shard}: the first number must be in 0..{parts - 1}")
        if batch_size % parts:
            raise UserError(f"batch_size {batch_size} is not a multiple of the {parts} workers that share it")
        self.shard = Shard(batch_size, part, parts)

    @property
    def images(self) -> ImageCache:
        """The images that batches are made of."""
        return self.transform.reader.cache

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per epoch; images that do not fill a batch are dropped for that epoch.

        Raises:
            UserError: there are fewer images than one batch holds.
        """
        n = len(self.images)
        if n < self.batch_size:
            raise UserError(
                f"{self.images.dataset.name}: {n} images do not fill one batch of {self.batch_size}; "
                f"use a batch_size of at most {n}"
            )
        return n // self.batch_size

    @property
    def evaluation_steps(self) -> int:
        """Batches of one pass over all images, including the padded last one."""
        return -(-len(self.images) // self.batch_size)

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """Returns all batches from `start_step` to the end of the last epoch, as one dataset.

        Args:
            epochs: epochs of the whole training, counted from its beginning, not from `start_step`.
            start_step: batches to skip, at no cost.

        Raises:
            UserError: there are fewer images than one batch holds.
        """
        return self._batches(self._tables(epochs, start_step), self.transform)

    def _tables(self, epochs: int, start_step: int) -> tf.data.Dataset:
        """Returns the examples of each batch of this worker: what `Transform.finish` takes, but for `weight`."""
        steps = self.steps_per_epoch
        rows = rows_of_epochs(self._examples, (2, self.batch_size), steps, epochs, start_step)

        @tf.autograph.experimental.do_not_convert
        def table(step: tf.Tensor, examples: tf.Tensor) -> _Table:
            index, repeat = tf.unstack(examples)
            epoch = step // steps
            if self.variants is not None:
                epoch, repeat = epoch % self.variants, tf.zeros_like(repeat)
            return self._worker_table({"index": index, "repeat": repeat, "epoch": epoch}, step)

        return rows.enumerate(start_step).map(table)

    def _examples(self, epoch: int) -> np.ndarray:
        """Returns indices and repeats of the examples of each batch of an epoch, int64 [steps, 2, batch_size]."""
        count = self.steps_per_epoch * self.batch_size
        drawn = self.order.examples(epoch, count)
        both = np.stack([drawn.indices[:count], drawn.repeats[:count]])
        return both.reshape(2, self.steps_per_epoch, self.batch_size).swapaxes(0, 1)

    def _worker_table(self, table: _Table, step: tf.Tensor) -> _Table:
        """Returns the examples that this worker needs: its own and, if rows mix across workers, their partners."""
        own, index, repeat = self.shard.rows, table["index"], table["repeat"]
        if not self.transform.mixes:
            return table | {"index": index[own], "repeat": repeat[own]}
        mixing = {key: values[own] for key, values in self.transform.mixing(self.batch_size, step).items()}
        if self.shard.count == 1:
            return table | mixing
        partner = mixing["partner"]
        others = {
            "index": tf.concat([index[own], tf.gather(index, partner)], axis=0),
            "repeat": tf.concat([repeat[own], tf.gather(repeat, partner)], axis=0),
            "partner": tf.range(self.shard.size, 2 * self.shard.size),
        }
        return table | mixing | others

    def evaluation_batches(self) -> tf.data.Dataset:
        """Returns every image once, in the dataset's order, without augmentation; weight 0 pads the last batch."""
        return self._batches(self._once(0), self.transform.without_augmentation())

    def augmented_batches(self, epoch: int) -> tf.data.Dataset:
        """Returns batches like `evaluation_batches`, with the augmentation of an epoch of training.

        Raises:
            ValueError: the augmentation mixes images of a batch.
        """
        if self.transform.mixes:
            raise ValueError("mixed images depend on their batch")
        return self._batches(self._once(epoch), self.transform)

    def divided(self, parts: int) -> "Batches":
        """Returns the same images in smaller batches, each a part of one, for a single worker."""
        changed = copy.copy(self)
        changed.batch_size = max(1, self.batch_size // parts)
        changed.shard = Shard(changed.batch_size)
        return changed

    def _once(self, epoch: int) -> tf.data.Dataset:
        """Returns the tables of every image once, in the dataset's order."""
        indices = np.full(self.evaluation_steps * self.batch_size, -1, np.int64)
        indices[: len(self.images)] = np.arange(len(self.images))
        table = indices.reshape(self.evaluation_steps, self.batch_size)[:, self.shard.rows]
        with tf.device("CPU:0"):
            columns = {
                "index": table,
                "repeat": np.zeros_like(table),
                "epoch": np.full(self.evaluation_steps, epoch, np.int64),
            }
            return tf.data.Dataset.from_tensor_slices({key: tf.constant(value) for key, value in columns.items()})

    def _batches(self, tables: tf.data.Dataset, transform: Transform) -> tf.data.Dataset:
        """Returns the batch of each table, made in parts if it is large and its images do not mix."""
        shard, parts = self.shard, self._parts(transform)
        if parts > 1:
            shard = Shard(self.shard.size // parts)
            tables = tables.flat_map(
                tf.autograph.experimental.do_not_convert(
                    lambda table: tf.data.Dataset.from_tensor_slices(_divided(table, parts))
                )
            )

        def finish(table: _Table, loaded: Batch) -> Batch:
            index = table["index"][: shard.size]
            weight = tf.cast(index >= 0, tf.float32)
            table = table | {"index": tf.maximum(table["index"], 0), "weight": weight}
            return transform.finish(loaded, table, shard) | {"weight": weight, "index": index}

        if transform.per_example:
            loaded = self._loaded_one_by_one(tables, transform)
            batches = self._parallel_map(
                tf.data.Dataset.zip((tables, loaded)),
                lambda table, examples: finish(table, self._complete(table, examples, transform)),
            )
        else:
            batches = self._parallel_map(tables, lambda table: finish(table, transform.load(transform.draws(table))))
        if parts > 1:
            batches = batches.batch(parts, drop_remainder=True).map(_joined)
        return prefetched(batches, self.parallelism)

    def _parts(self, transform: Transform) -> int:
        """Returns the number of equal parts of a batch; each thread makes one part at a time, which limits its memory.

        A batch of 2,048 images of 224 x 224 pixels has 1.2 GB.
        """
        if transform.mixes:
            return 1
        image = math.prod(transform.size) * transform.reader.dataset.channels * tf.float32.size
        fitting = max(1, _PART_BYTES // image)
        return next(parts for parts in _divisors(self.shard.size) if self.shard.size // parts <= fitting)

    def _parallel_map(self, dataset: tf.data.Dataset, function: Callable[..., object]) -> tf.data.Dataset:
        return dataset.map(tf.autograph.experimental.do_not_convert(function), num_parallel_calls=self.parallelism)

    def _loaded_one_by_one(self, tables: tf.data.Dataset, transform: Transform) -> tf.data.Dataset:
        """Loads the indices and the tensors of each table's examples.

        An example that fails to load is dropped, and the following ones move up; the indices reveal this.
        """
        count = tables.element_spec["index"].shape[0]

        @tf.autograph.experimental.do_not_convert
        def examples(table: _Table) -> tf.data.Dataset:
            columns = {"index": table["index"], "repeat": table["repeat"], "epoch": tf.repeat(table["epoch"], count)}
            return tf.data.Dataset.from_tensor_slices(columns)

        def load(example: _Table) -> tuple[tf.Tensor, Batch]:
            index, repeat = example["index"][tf.newaxis], example["repeat"][tf.newaxis]
            table = {"index": tf.maximum(index, 0), "repeat": repeat, "epoch": example["epoch"]}
            loaded = transform.load(transform.draws(table))
            return example["index"], {key: value[0] for key, value in loaded.items()}

        loaded = self._parallel_map(tables.flat_map(examples), load).ignore_errors(log_warning=False)
        # Pads the last batch if an example was dropped.
        _, specs = loaded.element_spec
        padding = {key: tf.zeros(spec.shape, spec.dtype) for key, spec in specs.items()}
        nothing = tf.data.Dataset.from_tensors((tf.constant(_NO_EXAMPLE, tf.int64), padding))
        return loaded.concatenate(nothing.repeat(count)).batch(count, drop_remainder=True)

    def _complete(self, table: _Table, examples: tuple[tf.Tensor, Batch], transform: Transform) -> Batch:
        """Returns the tensors of the loaded examples, after checking that none is missing.

        Raises:
            tf.errors.UnknownError: an example could not be loaded; the message is that of the `UserError` that names
                the image.
        """

        read, loaded = examples

        def fail(index: np.ndarray, repeat: np.ndarray, epoch: np.ndarray, read: np.ndarray) -> np.ndarray:
            first = int(np.flatnonzero(index != read)[0])
            raise self._failure(max(int(index[first]), 0), int(repeat[first]), int(epoch), transform)

        def failed() -> tf.Tensor:
            return tf.numpy_function(fail, [table["index"], table["repeat"], table["epoch"], read], tf.bool)

        complete = tf.cond(tf.reduce_all(tf.equal(table["index"], read)), lambda: tf.constant(True), failed)
        with tf.control_dependencies([complete]):
            return {key: tf.identity(value) for key, value in loaded.items()}

    def _failure(self, index: int, repeat: int, epoch: int, transform: Transform) -> Exception:
        """Loads a failed example again to find out why."""
        table = {"index": tf.constant([index], tf.int64), "repeat": tf.constant([repeat], tf.int64)}
        draws = transform.draws(table | {"epoch": tf.constant(epoch, tf.int64)})
        candidates = [int(each) for each in transform.dependencies(draws)]
        unreadable = self.images.unreadable(candidates)
        if unreadable is None:
            transform.load(draws)  # raises any other error
        return unreadable or self.images.unstable(index)


def _divisors(number: int) -> Iterator[int]:
    """Returns all divisors, in increasing order."""
    return (candidate for candidate in range(1, number + 1) if number % candidate == 0)


def _divided(table: _Table, parts: int) -> _Table:
    """Returns a table as that of equal parts of its batch: [parts, ...] each."""
    columns = {key: tf.reshape(table[key], (parts, -1)) for key in ("index", "repeat")}
    return columns | {"epoch": tf.repeat(table["epoch"], parts)}


@tf.autograph.experimental.do_not_convert
def _joined(batch: Batch) -> Batch:
    """Returns the parts of a batch, [parts, n, ...] each, as one: [parts * n, ...]."""
    return {key: tf.reshape(value, (value.shape[0] * value.shape[1], *value.shape[2:])) for key, value in batch.items()}


def prefetched(batches: tf.data.Dataset, threads: int | None = None) -> tf.data.Dataset:
    """Returns the batches, in order, some of which are made while earlier ones are used.

    Args:
        batches: this worker's part of each batch.
        threads: make them; None: those of the inputs.
    """
    options = pixels.options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    if threads is not None:
        options.threading.private_threadpool_size = threads
    return batches.prefetch(_PREFETCHED_BATCHES).with_options(options)


def rows_of_epochs(
    rows: Callable[[int], npt.NDArray[np.int64]], shape: Sequence[int], steps: int, epochs: int, start_step: int
) -> tf.data.Dataset:
    """Returns the rows of each batch, int64 [*shape], from `start_step` to the end of the last of `epochs`.

    Args:
        rows: epoch, from 0 -> rows of its batches, int64 [steps, *shape]; called when the epoch begins.
        shape: shape of the rows of a batch, such as (batch size,).
        steps: batches per epoch.
        epochs: counted from the beginning of the training, not from `start_step`.
        start_step: batches to skip, at no cost.
    """
    first_epoch, first_step = divmod(start_step, steps)

    @tf.autograph.experimental.do_not_convert
    def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        start = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
        drawn = tf.numpy_function(lambda epoch: rows(int(epoch)), [epoch], tf.int64, stateful=False)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(drawn, (None, *shape))[start:])

    return tf.data.Dataset.range(first_epoch, max(epochs, first_epoch)).flat_map(of_epoch)
