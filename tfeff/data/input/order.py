"""The order in which an epoch takes its examples: a function of (seed, epoch), so that any step can be resumed from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

_SHUFFLE, _BALANCED_CLASSES, _BALANCED_MEMBERS = range(3)
_BLOCK = 1 << 16
"""Draws of classes by one random generator; one for each round would take longer than all else."""


@dataclass(frozen=True, eq=False)
class OrderedExamples:
    """The examples of one epoch, in order.

    Attributes:
        indices: int64 [count], indices into the dataset.
        repeats: int64 [count]; distinguishes repeated draws of one example, so that each is augmented differently.
    """

    indices: np.ndarray
    repeats: np.ndarray


class Order(ABC):
    """Which examples an epoch takes, and in which order."""

    @abstractmethod
    def examples(self, epoch: int, count: int) -> OrderedExamples:
        """Returns at least `count` examples of an epoch.

        Args:
            epoch: number of the epoch, counted from 0.
            count: examples needed per epoch, the same in every epoch; at most the size of the dataset.
        """


@dataclass(frozen=True)
class InOrder(Order):
    """Each of n examples once, in the dataset's order."""

    n: int

    def examples(self, epoch: int, count: int) -> OrderedExamples:
        """See `Order`."""
        return OrderedExamples(np.arange(self.n), np.zeros(self.n, np.int64))


@dataclass(frozen=True)
class Shuffled(Order):
    """Each of n examples once, in a random order that changes every epoch."""

    n: int
    seed: int

    def examples(self, epoch: int, count: int) -> OrderedExamples:
        """See `Order`."""
        return OrderedExamples(_permutation(self.n, self.seed, _SHUFFLE, epoch), np.zeros(self.n, np.int64))


@dataclass(frozen=True, eq=False)
class ClassBalanced(Order):
    """Every class equally often, independent of its share of the dataset.

    Sampling continues across epochs. Each round draws every class once, in random order; each class yields its examples
    without replacement and is reshuffled when all have been drawn. If three or more classes yield several examples at a
    time, no round begins with the class that ended the last one, so that two successive draws are of different classes.

    Attributes:
        labels: int [n].
        seed: seed.
        together: successive examples that a class yields each time it is drawn.
    """

    labels: np.ndarray
    seed: int
    together: int = 1

    def examples(self, epoch: int, count: int) -> OrderedExamples:
        """See `Order`."""
        labels, seed = np.asarray(self.labels), self.seed
        classes = np.unique(labels)
        # A round draws every class once, so the k-th draw of a class happens in round k.
        draws, part = np.divmod(np.arange(epoch * count, (epoch + 1) * count), self.together)
        rounds, place = np.divmod(draws, len(classes))
        class_orders = self._rounds(len(classes), int(rounds[0]), int(rounds[-1]))
        drawn_class = class_orders[rounds - rounds[0], place]
        indices = np.empty(count, np.int64)
        repeats = np.empty(count, np.int64)
        members_of = _grouped(np.searchsorted(classes, labels), len(classes))
        slots_of = _grouped(drawn_class, len(classes))
        for position, (members, slots) in enumerate(zip(members_of, slots_of, strict=True)):
            passes, rank = np.divmod(rounds[slots] * self.together + part[slots], len(members))
            numbers, starts = np.unique(passes, return_index=True)  # passes rise, as rounds do
            for number, in_pass in zip(numbers, np.split(np.arange(len(slots)), starts)[1:], strict=True):
                order = _permutation(len(members), seed, _BALANCED_MEMBERS, position, number)
                indices[slots[in_pass]] = members[order[rank[in_pass]]]
            repeats[slots] = passes
        return OrderedExamples(indices, repeats)

    def _rounds(self, classes: int, first: int, last: int) -> np.ndarray:
        """Returns the order of the classes in some successive rounds, int64 [last + 1 - first, classes]."""
        start, length = max(0, first - 1), max(1, _BLOCK // classes)  # rounds of a block
        blocks = range(start // length, last // length + 1)
        each = np.tile(np.arange(classes), (length, 1))
        orders = np.concatenate([_generator(self.seed, _BALANCED_CLASSES, k).permuted(each, axis=1) for k in blocks])
        orders = orders[start - blocks.start * length : last + 1 - blocks.start * length]
        if self.together > 1 and classes > 2:
            repeated = np.flatnonzero(orders[:-1, -1] == orders[1:, 0]) + 1
            orders[repeated, :2] = orders[repeated, 1::-1]  # the last one stays: rounds do not depend on all before
        return orders[first - start :]


def _grouped(group: np.ndarray, groups: int) -> list[np.ndarray]:
    """Returns the rising indices of the members of each group; `group` is int64 [n]."""
    return np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=groups))[:-1])


def _permutation(n: int, *key: int) -> np.ndarray:
    return _generator(*key).permutation(n)


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng([int(part) for part in key])
