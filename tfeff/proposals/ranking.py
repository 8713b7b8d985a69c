"""The order of proposals that come from several hierarchies."""

from collections.abc import Sequence

import numpy as np

SMOOTHING = 50.0
"""Of reciprocal ranks: how much the first ranks count more than later ones."""


def ranked(hierarchies: Sequence[np.ndarray], quantum: int, seed: int) -> np.ndarray:
    """Different boxes, uint16 [n, 4], best first.

    A box's rank in a hierarchy counts from the whole image down. Boxes whose corners fall into the same cells of a grid
    of `quantum` pixels are one proposal, told by the one of the best rank. A proposal's score adds up 1 / (SMOOTHING +
    rank) over all times that it came up (reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009); equal ones
    are ordered by seed. Uijlings et al. (IJCV 2013, section 4.2) multiply each rank by a random number instead.

    Args:
        hierarchies: boxes uint16 [m, 4] each, in the order of merging.
        quantum: side of the grid's cells, in pixels; 1 keeps all boxes that differ.
        seed: of the order of equal ones.
    """
    boxes = np.ascontiguousarray(np.concatenate([of[::-1] for of in hierarchies]))
    ranks = np.concatenate([np.arange(1, len(of) + 1) for of in hierarchies])
    keys = ((boxes + np.uint16(quantum // 2)) // np.uint16(quantum)).view(np.uint64).ravel()
    order = np.lexsort((ranks, keys))
    keys = keys[order]
    new = np.concatenate([[True], keys[1:] != keys[:-1]])
    first = np.flatnonzero(new)
    score = np.bincount(np.cumsum(new) - 1, weights=1 / (SMOOTHING + ranks[order]))
    draw = _scrambled(keys[first] + np.uint64(seed % 2**64))
    return boxes[order[first[np.lexsort((draw, -score))]]]


def _scrambled(keys: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: equal keys stay equal, others lose their order."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
