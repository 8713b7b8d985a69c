"""Training the rest of a network on stored features of its frozen part.

While a part of the network is frozen, it computes the same features of an image in every epoch. They are computed once,
for some augmented variants of each image, and only the rest of the network runs from then on.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.data.input.batches import Batches, prefetched, rows_of_epochs
from tfeff.models.fingerprint import RANDOM
from tfeff.tasks.task import Batch
from tfeff.training import stored
from tfeff.training.interruption import Interruption
from tfeff.training.progress import Reporter
from tfeff.training.stored import Arrays, FeatureCache

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
        learns = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable  # its statistics, at least
        if (
            learns
            or getattr(layer, "trainable_variables", ())
            or not frozen.issuperset(inputs)
            or not outputs.isdisjoint(inputs)
        ):
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
        interruption: checked while features are computed.
        shares: compute the features of one of this many equal parts of a batch at once, as in training.

    Raises:
        UserError: the features are too large.
    """

    def __init__(
        self,
        batches: Batches,
        network: keras.Model,
        variants: int,
        cache: FeatureCache,
        reporter: Reporter,
        interruption: Interruption,
        shares: int = 1,
    ) -> None:
        self._batches, self._variants, self._cache = batches, variants, cache
        self._reporter, self._interruption, self._shares = reporter, interruption, shares
        self._count = len(batches.images)
        self._network = network
        self._compute = tf.function(lambda images: network(images, training=False), autograph=False, jit_compile=False)
        self._size = int(np.prod(network.output.shape[1:])) * np.dtype(np.float32).itemsize
        images = {batches.images.dataset.name: (self._count, variants)}
        stored.check_size(KEY, "features", images, size=self._size, remedy=", or freeze more layers")

    @property
    def batch_size(self) -> int:
        """Images of a batch."""
        return self._batches.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per epoch."""
        return self._batches.steps_per_epoch

    def training_batches(self, epochs: int, start_step: int = 0) -> tf.data.Dataset:
        """Returns all batches from `start_step` to the end of the last of `epochs`."""
        steps, batch_size = self.steps_per_epoch, self.batch_size

        def rows(epoch: int) -> npt.NDArray[np.int64]:
            drawn = self._batches.order.examples(epoch, steps * batch_size)
            variant = (epoch + drawn.indices + drawn.repeats) % self._variants
            return (variant * self._count + drawn.indices)[: steps * batch_size].reshape(steps, batch_size)

        return self._read(rows_of_epochs(rows, (batch_size,), steps, epochs, start_step), self._stored(augmented=True))

    def evaluation_batches(self) -> tf.data.Dataset:
        """Returns every image once, in order, without augmentation; weight 0 pads the last batch."""
        features = self._stored(augmented=False)
        return self._read(tf.data.Dataset.range(len(features["weight"])).batch(self.batch_size), features)

    def _stored(self, *, augmented: bool) -> Batch:
        """Returns the tensors of all images, of each variant if they are augmented."""
        variants, rows = self._variants, self._count
        if not augmented:  # with the padding of the last batch
            variants, rows = 1, self._batches.evaluation_steps * self.batch_size

        def compute() -> Batch:
            several = f" in {variants} variants" if variants > 1 else ""
            self._reporter.say(f"computing the features of {self._count:,} images{several}")
            with self._reporter.computing("features", variants * self._count) as advance:
                found = stored.of_variants(
                    variants, rows, lambda variant: self._computed(variant if augmented else None, advance)
                )
            return stored.tensors(found)

        return self._cache.get(self._key(augmented=augmented), variants * rows * self._size, compute)

    def _key(self, *, augmented: bool) -> str:
        transform = self._batches.transform
        variation = (
            (transform.seed, transform.augmentation, transform.given, self._variants) if augmented else self.batch_size
        )
        return stored.fingerprint([self._network], self._batches, variation)

    def _computed(self, epoch: int | None, advance: Callable[[int], None]) -> Iterator[Arrays]:
        """Yields the batches of one pass over all images."""
        if epoch is None:
            batches = self._batches.evaluation_batches()
        else:
            batches = self._batches.divided(self._shares).augmented_batches(epoch)

        def with_features(batch: Batch) -> Batch:
            self._interruption.check("no features are stored")
            return {**batch, "image": tf.cast(self._compute(batch["image"]), tf.float32)}

        return stored.computed(batches, with_features, advance)

    def _read(self, rows: tf.data.Dataset, features: Batch) -> tf.data.Dataset:
        @tf.autograph.experimental.do_not_convert
        def gathered(row: tf.Tensor) -> Batch:
            return {key: tf.gather(value, row) for key, value in features.items()}

        return prefetched(rows.map(gathered))
