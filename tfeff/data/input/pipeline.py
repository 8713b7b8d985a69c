"""Batches of a store: order, augmentation, resizing, and the rows that belong to one of several workers."""

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfeff.data.augment import counter_rng, mixing
from tfeff.data.augment import images as augment
from tfeff.data.augment import single_object as single_object_augment
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.policy import Augmentation
from tfeff.data.dataset import Dataset
from tfeff.data.images import preprocess
from tfeff.data.images.cache import Store
from tfeff.data.input import order
from tfeff.errors import UserError

_MOST_THREADS = 16
_PREFETCHED_BATCHES = 2
_NOTHING = -2  # No position: neither an image's nor that of a filled-up row (-1).
Batch = dict[str, tf.Tensor]


class Pipeline:
    """Training and evaluation batches of one store.

    Every random choice is a function of (seed, epoch, example): neither the number of threads, nor the batch size, nor
    the number of workers, nor the step at which training starts again changes an image. (MixUp and CutMix choose
    partners inside a batch, so their choices depend on (seed, step) and on the batch size too.)

    An element is a dict of

    - `image`: float32 [rows, resolution, resolution, channels], in [0, 255];
    - `label`: float32 [rows, num_classes], one-hot or, where images were mixed, soft;
    - `box`, where the source has boxes: float32 [rows, 4], yxyx in shares of the image's sides;
    - `weight`: float32 [rows], 0 for the rows that fill up the last evaluation batch, else 1;
    - `index`: int64 [rows], position in the store; -1 for rows of weight 0.

    Args:
        data: A store, or a source whose images all have one size (it is then read into memory).
        batch_size: Images of one global batch, over all workers.
        resolution: Height and width of the images that come out.
        seed: At least 0.
        augmentation: Applied to training batches; None for none.
        box_augmentation: The same, for images with boxes.
        plain_from: Epoch, counted from 0, from which on images vary by `augmentation.plain` alone; None for never.
        shuffle: Whether each epoch takes the examples in another order.
        class_balanced: Whether each class is drawn equally often, whatever its share in the data.
        shard: (i, n): this worker takes the i-th of n equal parts of each global batch.
        num_classes: Columns of `label`; default the source's number of classes.
        parallelism: Threads that make batches; default one a core, at most 16.

    Raises:
        UserError: a batch size that n workers cannot share, labels beyond num_classes, a resolution below 1.
        ValueError: augmentation that leaves boxes where they are, for images with boxes, or the other way round.
    """

    def __init__(
        self,
        data: Store | Dataset,
        *,
        batch_size: int,
        resolution: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        box_augmentation: BoxAugmentation | None = None,
        plain_from: int | None = None,
        shuffle: bool = True,
        class_balanced: bool = False,
        shard: tuple[int, int] = (0, 1),
        num_classes: int | None = None,
        parallelism: int | None = None,
    ) -> None:
        self.store = data if isinstance(data, Store) else Store.open(data)
        self.batch_size = batch_size
        self.resolution = resolution
        self.seed = seed
        self.augmentation = augmentation or Augmentation()
        self.box_augmentation = box_augmentation or BoxAugmentation()
        self.plain_from = plain_from
        self.shuffle = shuffle
        self.class_balanced = class_balanced
        self.shard = shard
        self.num_classes = num_classes or self.store.source.num_classes
        self.parallelism = parallelism or min(os.cpu_count() or 1, _MOST_THREADS)
        self._check()
        with tf.device("CPU:0"):
            self._rows = tf.constant(self.store.rows)
            self._labels = tf.constant(self.store.source.labels)
            boxes = self.store.source.relative_boxes() if self._has_boxes else None
            self._boxes = None if boxes is None else tf.constant(boxes, tf.float32)

    @property
    def _has_boxes(self) -> bool:
        return self.store.source.has_objects

    def _check(self) -> None:
        name, (part, parts) = self.store.source.name, self.shard
        if self.batch_size < 1 or self.resolution < 1 or self.seed < 0:
            raise UserError(
                f"batch_size ({self.batch_size}) and resolution ({self.resolution}) must be at least 1, "
                f"seed ({self.seed}) at least 0"
            )
        if not 0 <= part < parts:
            raise UserError(f"shard {self.shard}: the first number must lie in 0..{parts - 1}")
        if self.batch_size % parts:
            raise UserError(f"batch_size {self.batch_size} is not a multiple of the {parts} workers that share it")
        has_boxes = self._has_boxes
        if (self.augmentation if has_boxes else self.box_augmentation).any:
            raise ValueError(f"{name}: {'augmentation' if has_boxes else 'box_augmentation'} does not fit its images")
        highest = int(self.store.source.labels.max())
        if highest >= self.num_classes:
            raise UserError(f"{name}: label {highest} does not fit num_classes = {self.num_classes}")

    @property
    def steps_per_epoch(self) -> int:
        """Training batches of one epoch; images that do not fill a batch wait for another epoch's order.

        Raises:
            UserError: there are fewer images than one batch holds.
        """
        if len(self.store) < self.batch_size:
            raise UserError(
                f"{self.store.source.name}: {len(self.store)} images are less than one batch of {self.batch_size}; "
                f"use a batch_size of at most {len(self.store)}"
            )
        return len(self.store) // self.batch_size

    @property
    def evaluation_steps(self) -> int:
        """Batches of one pass over all images, the last one filled up."""
        return -(-len(self.store) // self.batch_size)

    @property
    def rows_per_batch(self) -> int:
        """Images of this worker in each batch."""
        return self.batch_size // self.shard[1]

    def draws(self, epoch: int) -> order.Draws:
        """The examples of an epoch in order, over all workers: steps_per_epoch * batch_size of them."""
        count = self.steps_per_epoch * self.batch_size
        labels = self.store.source.labels
        if self.class_balanced:
            return order.class_balanced(labels, count, self.seed, epoch)
        if self.shuffle:
            return order.shuffled(len(labels), self.seed, epoch)
        return order.in_order(len(labels))

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """All batches from `start_step` to the end of the last epoch, in one dataset.

        Args:
            epochs: Epochs in all, counted from the beginning of the training, not from start_step.
            start_step: Batches to leave out, as if they had been taken already; leaving them out costs nothing.

        Raises:
            UserError: there are fewer images than one batch holds.
        """
        steps = self.steps_per_epoch
        first_epoch, first_step = divmod(start_step, steps)

        def epoch_steps(epoch: tf.Tensor) -> tf.data.Dataset:
            start = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
            index, repeat = tf.numpy_function(self._epoch_table, [epoch], (tf.int64, tf.int64), stateful=False)
            table = {
                "index": tf.ensure_shape(index, (steps, self.batch_size))[start:],
                "repeat": tf.ensure_shape(repeat, (steps, self.batch_size))[start:],
                "epoch": tf.repeat(epoch, steps - start),
                "step": tf.range(epoch * steps + start, (epoch + 1) * steps),
            }
            return tf.data.Dataset.from_tensor_slices(table)

        dataset = tf.data.Dataset.range(first_epoch, max(epochs, first_epoch)).flat_map(epoch_steps)
        needed = self.rows_per_batch * (2 if self.augmentation.mixes and self.shard[1] > 1 else 1)
        return self._with_images(dataset.map(self._select), needed, self._training_batch)

    def _epoch_table(self, epoch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        draws = self.draws(int(epoch))
        count = self.steps_per_epoch * self.batch_size
        shape = (self.steps_per_epoch, self.batch_size)
        return draws.indices[:count].reshape(shape), draws.repeats[:count].reshape(shape)

    def evaluation_batches(self) -> tf.data.Dataset:
        """Every image once, in the store's order and without augmentation; the last batch is filled with weight 0."""
        indices = np.full(self.evaluation_steps * self.batch_size, -1, np.int64)
        indices[: len(self.store)] = np.arange(len(self.store))
        table = indices.reshape(self.evaluation_steps, self.batch_size)[:, self._own_rows]
        with tf.device("CPU:0"):
            dataset = tf.data.Dataset.from_tensor_slices({"index": tf.constant(table)})
        return self._with_images(dataset, self.rows_per_batch, self._evaluation_batch)

    @property
    def _own_rows(self) -> slice:
        part, rows = self.shard[0], self.rows_per_batch
        return slice(part * rows, (part + 1) * rows)

    def _select(self, table: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The examples that this worker's rows need: their own and, where partners lie elsewhere, the partners too."""
        own = self._own_rows
        index, repeat = table["index"], table["repeat"]
        if not self.augmentation.mixes:
            return table | {"index": index[own], "repeat": repeat[own]}
        partner = mixing.partners(self.batch_size, self.seed, table["step"])[own]
        if self.shard[1] == 1:
            return table | {"partner": partner}
        return table | {
            "index": tf.concat([index[own], tf.gather(index, partner)], axis=0),
            "repeat": tf.concat([repeat[own], tf.gather(repeat, partner)], axis=0),
            "partner": tf.range(self.rows_per_batch, 2 * self.rows_per_batch),
        }

    def _with_images(
        self, dataset: tf.data.Dataset, count: int, finish: Callable[[dict[str, tf.Tensor], tf.Tensor], Batch]
    ) -> tf.data.Dataset:
        """`finish` applied to each element and the uint8 images of its `count` examples."""
        threads = self.parallelism
        # Nothing below branches on a tensor; converting it as if it did takes seconds.
        finish = tf.autograph.experimental.do_not_convert(finish)
        if self.store.images is not None:
            cached = tf.autograph.experimental.do_not_convert(lambda table: finish(table, self._cached(table["index"])))
            batches = dataset.map(cached, num_parallel_calls=threads)
        else:
            pairs = tf.data.Dataset.zip((dataset, self._decoded(dataset, count)))
            decoded = tf.autograph.experimental.do_not_convert(
                lambda table, images: finish(table, self._whole(table["index"], *images))
            )
            batches = pairs.map(decoded, num_parallel_calls=threads)
        options = tf.data.Options()
        options.deterministic = True
        options.autotune.enabled = False
        options.threading.private_threadpool_size = threads
        # Batches are made in parallel; threads inside one operation would only contend with the network's.
        options.threading.max_intra_op_parallelism = 1
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return batches.prefetch(_PREFETCHED_BATCHES).with_options(options)

    def _decoded(self, dataset: tf.data.Dataset, count: int) -> tf.data.Dataset:
        """For each element, the positions and the images of its `count` examples, read anew.

        An image that cannot be read is left out, so that all that follow move up: the positions show it.
        """

        def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return index, self.store.read(tf.maximum(index, 0))

        positions = dataset.flat_map(lambda table: tf.data.Dataset.from_tensor_slices(table["index"]))
        images = positions.map(read, num_parallel_calls=self.parallelism).ignore_errors(log_warning=False)
        # What fills the last batch up if one of its images was left out.
        shape = (*self.store.image_size, self.store.source.channels)
        nothing = tf.data.Dataset.from_tensors((tf.constant(_NOTHING, tf.int64), tf.zeros(shape, tf.uint8)))
        return images.concatenate(nothing.repeat(count)).batch(count, drop_remainder=True)

    def _whole(self, wanted: tf.Tensor, read: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """The images, if they are those that were wanted.

        Raises:
            tf.errors.UnknownError: one could not be read; the message is that of the `UserError` which names it.
        """

        def fail() -> tf.Tensor:
            return tf.numpy_function(self._fail, [wanted, read], tf.uint8)

        complete = tf.reduce_all(tf.equal(wanted, read))
        return tf.ensure_shape(tf.cond(complete, lambda: images, fail), images.shape)

    def _fail(self, wanted: np.ndarray, read: np.ndarray) -> np.ndarray:
        first = wanted[wanted != read][0]
        raise self.store.lost([max(int(first), 0)])

    def _cached(self, index: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.store.images, tf.gather(self._rows, tf.maximum(index, 0)))

    def _training_batch(self, table: dict[str, tf.Tensor], images: tf.Tensor) -> Batch:
        def varied() -> Batch:
            return self._varied(table, images, self.augmentation, self.box_augmentation)

        def plain() -> Batch:
            return self._varied(table, images, self.augmentation.plain, self.box_augmentation.plain)

        return varied() if self.plain_from is None else tf.cond(table["epoch"] < self.plain_from, varied, plain)

    def _varied(
        self,
        table: dict[str, tf.Tensor],
        images: tf.Tensor,
        augmentation: Augmentation,
        box_augmentation: BoxAugmentation,
    ) -> Batch:
        draws = counter_rng.Draws(self.seed, table["epoch"], table["index"], table["repeat"])
        size = self.resolution, self.resolution
        labels = self._one_hot(table["index"])
        if self._boxes is not None:
            boxes = tf.gather(self._boxes, table["index"])
            images, boxes = single_object_augment.augment(images, boxes, size, box_augmentation, draws)
            weight = tf.ones(self.rows_per_batch)
            return {"image": images, "label": labels, "box": boxes, "weight": weight, "index": table["index"]}
        images = augment.augment(images, size, augmentation, draws)
        own = slice(0, self.rows_per_batch)
        if augmentation.mixes:
            every = mixing.proportions(self.batch_size, augmentation, self.seed, table["step"])
            mine = [values[self._own_rows] for values in every]
            images, labels = mixing.mix(images, labels, own, table["partner"], *mine)
        return {  # partners that other workers' rows would have brought stay behind
            "image": images[own],
            "label": labels[own],
            "weight": tf.ones(self.rows_per_batch),
            "index": table["index"][own],
        }

    def _evaluation_batch(self, table: dict[str, tf.Tensor], images: tf.Tensor) -> Batch:
        real = table["index"] >= 0
        index = tf.maximum(table["index"], 0)
        batch = {
            "image": preprocess.resize(images, (self.resolution, self.resolution)),
            "label": self._one_hot(index),
            "weight": tf.cast(real, tf.float32),
            "index": table["index"],
        }
        return batch if self._boxes is None else batch | {"box": tf.gather(self._boxes, index)}

    def _one_hot(self, index: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(tf.gather(self._labels, index), self.num_classes)
