"""Ranks the boxes of several hierarchies in one list."""

from collections.abc import Sequence

import numpy as np

RANK_CONSTANT = 50.0
"""Added to every rank before it is inverted. Smaller values favor the first ranks of each hierarchy more."""


def rank_boxes(hierarchies: Sequence[np.ndarray], cell: int, seed: int) -> np.ndarray:
    """Merges the boxes of all hierarchies: uint16 [n, 4], best first, without near duplicates.

    The whole image has rank 1 in each hierarchy; earlier merges have larger ranks. Boxes whose corners round to the
    same cells of a grid of `cell` pixels are near duplicates; the best-ranked one represents them. Its score is the sum
    of 1 / (RANK_CONSTANT + rank) over all of them (reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009).
    The seed orders ties. Uijlings et al. (IJCV 2013, section 4.2) multiply each rank by a random number instead.

    Args:
        hierarchies: boxes of each hierarchy, uint16 [m, 4], in the order of merging.
        cell: side of a grid cell in pixels; 1 removes exact duplicates only.
        seed: seed of the order of ties.
    """
    boxes = np.ascontiguousarray(np.concatenate([hierarchy[::-1] for hierarchy in hierarchies]))
    ranks = np.concatenate([np.arange(1, len(hierarchy) + 1) for hierarchy in hierarchies])
    keys = ((boxes + np.uint16(cell // 2)) // np.uint16(cell)).view(np.uint64).ravel()
    order = np.lexsort((ranks, keys))
    keys = keys[order]
    new = np.concatenate([[True], keys[1:] != keys[:-1]])
    first = np.flatnonzero(new)
    score = np.bincount(np.cumsum(new) - 1, weights=1 / (RANK_CONSTANT + ranks[order]))
    tie_break = _scramble(keys[first] + np.uint64(seed % 2**64))
    return boxes[order[first[np.lexsort((tie_break, -score))]]]


def _scramble(keys: np.ndarray) -> np.ndarray:
    """Hashes uint64 keys with SplitMix64's finalizer: a pseudo-random order that depends on the keys alone."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
