"""What happens to examples on their way from the reader to the network."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.given import GivenAugmentation
from tfeff.data.augment.policy import Augmentation, BoxAugmentation
from tfeff.data.input.reader import Reader

Batch = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Shard:
    """One worker's part of each global batch.

    Attributes:
        batch_size: images of a global batch.
        index: the worker, from 0.
        count: number of workers.
    """

    batch_size: int
    index: int = 0
    count: int = 1

    @property
    def size(self) -> int:
        """Images of this worker in each batch."""
        return self.batch_size // self.count

    @property
    def rows(self) -> slice:
        """This worker's rows of the global batch."""
        return slice(self.index * self.size, (self.index + 1) * self.size)


class Transform(ABC):
    """The way from examples to the tensors of a batch, in two stages: `load`, then `finish`.

    Every random choice is a function of (seed, epoch, example).

    Attributes:
        reader: where images come from.
        size: (height, width) of the images in a batch.
        seed: the seed, at least 0.
        augmentation: random variation of training images.
        plain_from: epoch, from 0, from which on only `augmentation.plain` applies; None for never.
        per_example: whether `load` takes one example at a time, because each has to be decoded or has a size of its
            own; otherwise it takes all examples of a batch.
        given: varies training images after `augmentation`, except from `plain_from` on.
    """

    reader: Reader
    size: tuple[int, int]
    seed: int
    per_example: bool

    augmentation: Augmentation | BoxAugmentation
    plain_from: int | None
    given: GivenAugmentation | None = None

    @property
    def form(self) -> tuple[object, ...]:
        """All that determines a batch's images, besides the cached ones, the seed and the augmentation."""
        return (self.size,)

    def draws(self, table: Mapping[str, tf.Tensor]) -> Draws:
        """Returns the examples of a table as keys of their random numbers; see `finish`."""
        return Draws(self.seed, table["epoch"], tf.maximum(table["index"], 0), table["repeat"])

    def load(self, draws: Draws) -> Batch:
        """Returns the tensors of n examples, [n, ...] each, of static shape but for n; n = 1 if `per_example`."""
        if self.per_example:
            return {"image": self.reader.image(draws.index[0])[tf.newaxis]}
        return {"image": self.reader.images(draws.index)}

    @abstractmethod
    def finish(self, loaded: Batch, table: Mapping[str, tf.Tensor], shard: Shard) -> Batch:
        """Returns the batch of one worker.

        Args:
            loaded: what `load` returned for the worker's examples and, with `mixing` and several workers, for their
                partners.
            table: `index` and `repeat` int64 [n] of the loaded examples; `weight` float32 [shard.size], 0 for padding;
                `epoch`, scalar int64; and the worker's rows of `mixing`, with partners as rows of `loaded`.
            shard: the worker's part of the global batch.
        """

    def without_augmentation(self) -> Self:
        """Returns the same transform for evaluation."""
        plain = copy.copy(self)
        plain.augmentation, plain.plain_from, plain.given = self.augmentation.off, None, None
        return plain

    @property
    def mixes(self) -> bool:
        """Whether images depend on others of their batch."""
        return False

    def mixing(self, batch_size: int, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns how the rows of a global batch are mixed: `partner`, int32 [batch_size], the other row of each; and
        whatever else `finish` needs, [batch_size, ...]."""
        raise NotImplementedError

    def dependencies(self, draws: Draws) -> tf.Tensor:
        """Returns indices of all images that the one example of `draws` is made of, int64 [m]."""
        return draws.index

    def _in_phases(self, epoch: tf.Tensor, make: Callable[[Any], Batch]) -> Batch:
        """Returns what `make` returns for the augmentation of an epoch."""
        if self.plain_from is None:
            return make(self.augmentation)
        return tf.cond(epoch < self.plain_from, lambda: make(self.augmentation), lambda: make(self.augmentation.plain))
