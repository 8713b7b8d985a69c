"""Training the rest of a network on stored features of its frozen part.

While a part of the network is frozen, it computes the same features of an image in every epoch. They are computed once,
for some augmented variants of each image, and only the rest of the network runs from then on.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.data.input.batches import Batches, rows_of_epochs
from tfeff.errors import UserError
from tfeff.models.layers.residual import StochasticDepth
from tfeff.recipes.transfer import Start
from tfeff.tasks.task import Batch
from tfeff.training.progress import Reporter

LIMIT = 8 << 30
"""Bytes of features that may be stored."""
_PREFETCHED_BATCHES = 2
RANDOM = (keras.layers.Dropout, StochasticDepth)
KEY = "training.feature_variants"


def split(network: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Divides a network, some of whose layers are frozen, where nothing before is trained.

    Args:
        network: a functional network with one input, frozen by `freezing.freeze`.

    Returns:
        The frozen part, from images to features; the rest, from features to the network's outputs. They share the
        network's variables. Dropout and stochastic depth in the frozen part are lost, because features are computed in
        inference mode. None if the first layer with variables is trained, or no place is passed by all paths.
    """
    nodes = [node for depth in sorted(network._nodes_by_depth, reverse=True) for node in network._nodes_by_depth[depth]]
    uses = Counter(id(tensor) for node in nodes for tensor in node.arguments.keras_tensors)
    outputs = {id(tensor) for tensor in keras.tree.flatten(network.output)}
    frozen, needed = set[int](), set[int]()  # what depends on nothing trained, and what of it later layers still read
    cut, varies = None, False
    for node in nodes:
        inputs, layer = [id(tensor) for tensor in node.arguments.keras_tensors], node.operation
        if getattr(layer, "trainable_variables", ()) or not frozen.issuperset(inputs) or not outputs.isdisjoint(inputs):
            break
        uses.subtract(inputs)
        made = {id(tensor) for tensor in node.outputs}
        frozen |= made
        needed = {each for each in needed if uses[each]} | made
        # Dropout between the last frozen variables and the first trained ones remains random.
        varies = isinstance(layer, RANDOM) or (varies and not getattr(layer, "weights", ()))
        if inputs and needed == made and len(made) == 1 and not varies and outputs.isdisjoint(made):
            cut = node.outputs[0]
    if cut is None:
        return None
    features = keras.Model(network.inputs, cut)
    return (features, keras.Model(cut, network.output)) if features.weights else None


class FeatureCache:
    """What several runs in this process, such as the trials of a sweep, compute with layers that they share.

    Args:
        size: bytes of features to keep; the least recently used are dropped.

    Attributes:
        probes: what `optimizer.transfer=auto` found out about features, by `fingerprint`.
    """

    def __init__(self, size: int = LIMIT) -> None:
        self.probes: dict[str, tuple[Start, ...]] = {}
        self._size = size
        self._stored: OrderedDict[str, Batch] = OrderedDict()

    def get(self, key: str, compute: Callable[[], Batch]) -> Batch:
        """What is stored under a key, or what `compute` returns, which is then stored."""
        if key not in self._stored:
            self._stored[key] = compute()
            while len(self._stored) > 1 and sum(map(_bytes, self._stored.values())) > self._size:
                self._stored.popitem(last=False)
        self._stored.move_to_end(key)
        return self._stored[key]


def fingerprint(network: keras.Model, batches: Batches, *others: object) -> str:
    """Everything that the features of all images depend on, as a hash.

    Args:
        network: computes them, in inference mode.
        batches: the images.
        others: what else they depend on, such as the augmentation.
    """
    parts = [
        [layer.get_config() for layer in network.layers if not isinstance(layer, RANDOM)],
        keras.mixed_precision.dtype_policy().name,
        *others,
        batches.transform.form,
        batches.images.dataset.fingerprint,
        batches.images.dataset.ids,
        batches.images.form,
    ]
    found = hashlib.sha256(repr(parts).encode())
    for weight in network.weights:
        found.update(weight.numpy().tobytes())
    return found.hexdigest()


def _bytes(batch: Batch) -> int:
    return sum(int(np.prod(value.shape)) * value.dtype.size for value in batch.values())


class FeatureBatches:
    """Batches of stored features, in the order of the training batches of images.

    An element holds the tensors of a batch of images, with features in place of `image`.

    Args:
        batches: the batches of images.
        network: computes the features of a batch.
        variants: number of augmented variants of each image, for training. In epoch e, image i is seen in variant
            (e + i) % variants.
        cache: features of earlier runs.
        reporter: reports progress.

    Raises:
        UserError: the augmentation mixes images, there are several workers, or the features are too large.
    """

    def __init__(
        self,
        batches: Batches,
        network: keras.Model,
        variants: int,
        cache: FeatureCache,
        reporter: Reporter,
    ) -> None:
        self._batches, self._variants, self._cache, self._reporter = batches, variants, cache, reporter
        self._count = len(batches.images)
        self._network = network
        self._compute = tf.function(lambda images: network(images, training=False), jit_compile=False)
        if batches.transform.partners(batches.batch_size, tf.constant(0, tf.int64)) is not None:
            raise UserError(f"config: {KEY}: MixUp and CutMix mix images of a batch; switch them off")
        if batches.shard.count > 1:
            raise UserError(f"config: {KEY}: several workers are not supported; use one")
        size = int(np.prod(network.output.shape[1:])) * self._count * variants * np.dtype(np.float32).itemsize
        if size > LIMIT:
            lower = "lower it" if variants > 1 else "set it to none"
            raise UserError(
                f"config: {KEY}: {size / 2**30:.1f} GiB of features of {batches.images.dataset.name} ({self._count:,} "
                f"images, {variants} of each) are more than {LIMIT >> 30} GiB; {lower}, or freeze more layers"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per epoch."""
        return self._batches.steps_per_epoch

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """All batches from `start_step` to the end of the last of `epochs`."""
        steps, batch_size = self.steps_per_epoch, self._batches.batch_size

        def rows(epoch: int) -> npt.NDArray[np.int64]:
            drawn = self._batches.order.examples(epoch, steps * batch_size)
            variant = (epoch + drawn.indices + drawn.repeats) % self._variants
            return (variant * self._count + drawn.indices)[: steps * batch_size].reshape(steps, batch_size)

        return self._read(rows_of_epochs(rows, (batch_size,), steps, epochs, start_step), self._stored(augmented=True))

    def evaluation_batches(self) -> tf.data.Dataset:
        """Every image once, in order, without augmentation; weight 0 pads the last batch."""
        stored = self._stored(augmented=False)
        return self._read(tf.data.Dataset.range(len(stored["weight"])).batch(self._batches.batch_size), stored)

    def _stored(self, *, augmented: bool) -> Batch:
        """The tensors of all images, of each variant if they are augmented."""

        def compute() -> Batch:
            several = f" in {self._variants} variants" if augmented and self._variants > 1 else ""
            self._reporter.say(f"computing the features of {self._count:,} images{several}")
            epochs = range(self._variants) if augmented else (None,)
            with self._reporter.computing("features", len(epochs) * self._count) as advance:
                passes = [self._computed(epoch, advance) for epoch in epochs]
            with tf.device("CPU:0"):
                return {key: tf.constant(np.concatenate([each[key] for each in passes])) for key in passes[0]}

        return self._cache.get(self._key(augmented=augmented), compute)

    def _key(self, *, augmented: bool) -> str:
        transform = self._batches.transform
        variation = (
            (transform.seed, transform.augmentation, transform.given, self._variants)
            if augmented
            else self._batches.batch_size
        )
        return fingerprint(self._network, self._batches, variation)

    def _computed(self, epoch: int | None, advance: Callable[[int], None]) -> dict[str, npt.NDArray[np.generic]]:
        """One pass over all images; of the padding, only that of evaluation batches is kept."""
        batches = self._batches.evaluation_batches() if epoch is None else self._batches.augmented_batches(epoch)
        found: dict[str, list[npt.NDArray[np.generic]]] = {}
        for batch in batches:
            values = {**batch, "image": tf.cast(self._compute(batch["image"]), tf.float32)}
            for key, value in values.items():
                found.setdefault(key, []).append(value.numpy())
            advance(int(np.count_nonzero(found["weight"][-1])))
        joined = {key: np.concatenate(values) for key, values in found.items()}
        return joined if epoch is None else {key: value[: self._count] for key, value in joined.items()}

    def _read(self, rows: tf.data.Dataset, stored: Batch) -> tf.data.Dataset:
        read = rows.map(lambda row: {key: tf.gather(value, row) for key, value in stored.items()})
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return read.prefetch(_PREFETCHED_BATCHES).with_options(options)
