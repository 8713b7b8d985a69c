"""The order of proposals that come from several hierarchies."""

from collections.abc import Sequence

import numpy as np


def ranked(hierarchies: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """All different boxes, uint16 [n, 4], best first.

    A box's rank in a hierarchy counts from the whole image down. Boxes that come up in several hierarchies are better
    than
    others: the best of a box's ranks is divided by the number of times that it came up. Equal ones are ordered by seed.
    (Uijlings et al., IJCV 2013, section 4.2, multiply each rank by a random number instead.)

    Args:
        hierarchies: boxes uint16 [m, 4] each, in the order of merging.
        seed: of the order of equal ones.
    """
    boxes = np.ascontiguousarray(np.concatenate([of[::-1] for of in hierarchies]))
    ranks = np.concatenate([np.arange(1, len(of) + 1) for of in hierarchies])
    keys = boxes.view(np.uint64).ravel()
    order = np.lexsort((ranks, keys))
    keys = keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    times = np.diff(np.append(first, len(keys)))
    value = ranks[order[first]] / times
    draw = _scrambled(keys[first] + np.uint64(seed % 2**64))
    return boxes[order[first[np.lexsort((draw, value))]]]


def _scrambled(keys: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: equal keys stay equal, others lose their order."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
