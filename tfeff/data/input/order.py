"""In which order an epoch takes its examples: a function of (seed, epoch), so that any step can be started from."""

from dataclasses import dataclass

import numpy as np

_SHUFFLE, _BALANCED_CLASSES, _BALANCED_MEMBERS = range(3)


@dataclass(frozen=True, eq=False)
class Draws:
    """The examples of one epoch in order.

    Attributes:
        indices: int64 [count]; which example.
        repeats: int64 [count]; tells apart the several times one example is drawn, so that each is augmented anew.
    """

    indices: np.ndarray
    repeats: np.ndarray


def in_order(n: int) -> Draws:
    """Each of n examples once, as they come."""
    return Draws(np.arange(n), np.zeros(n, np.int64))


def shuffled(n: int, seed: int, epoch: int) -> Draws:
    """Each of n examples once, in random order."""
    return Draws(_permutation(n, seed, _SHUFFLE, epoch), np.zeros(n, np.int64))


def class_balanced(labels: np.ndarray, count: int, seed: int, epoch: int) -> Draws:
    """`count` draws among which every class is equally frequent.

    Draws continue from epoch to epoch: each run of as many draws as there are classes holds every class once, in random
    order, and a class hands out its examples without replacement, shuffled anew whenever it has been through them all.

    Args:
        labels: int [n].
        count: Draws of one epoch, the same in every epoch.
        seed: Seed.
        epoch: Which epoch, from 0.
    """
    labels = np.asarray(labels)
    classes = np.unique(labels)
    # A round is one draw of every class, so a class's k-th draw happens in round k.
    rounds, place = np.divmod(np.arange(epoch * count, (epoch + 1) * count), len(classes))
    class_orders = [_permutation(len(classes), seed, _BALANCED_CLASSES, r) for r in range(rounds[0], rounds[-1] + 1)]
    drawn_class = np.concatenate(class_orders)[place[0] :][:count]
    indices = np.empty(count, np.int64)
    repeats = np.empty(count, np.int64)
    for position, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        mine = np.flatnonzero(drawn_class == position)
        passes, rank = np.divmod(rounds[mine], len(members))
        for p in np.unique(passes):
            now = passes == p
            order = _permutation(len(members), seed, _BALANCED_MEMBERS, position, p)
            indices[mine[now]] = members[order[rank[now]]]
        repeats[mine] = passes
    return Draws(indices, repeats)


def _permutation(n: int, *key: int) -> np.ndarray:
    return np.random.default_rng([int(part) for part in key]).permutation(n)
