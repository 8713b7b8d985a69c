"""Hierarchical grouping: the two neighbouring regions that are most alike become one, until one is left.

Uijlings et al., IJCV 2013, algorithm 1. Every pair of neighbours waits in a heap; pairs of which a region is gone are
passed over when they come up. Neighbours stand in linked lists that are joined with their regions.
"""

import numpy as np
from numba import njit

from tfeff.proposals.similarity import similarity


@njit(cache=True, nogil=True)
def group(
    size: np.ndarray, box: np.ndarray, pairs: np.ndarray, histogram: np.ndarray, colours: int, pixels: int, terms: int
) -> tuple[np.ndarray, np.ndarray]:
    """The hierarchy over R regions.

    Args:
        size: int32 [R], pixels of the regions.
        box: int32 [R, 4].
        pairs: int32 [P, 2], neighbours.
        histogram: float32 [2R - 1, bins]; rows from R on are overwritten.
        colours: bins of colour, which come first.
        pixels: of the image.
        terms: of the similarity.

    Returns:
        Boxes int32 [M, 4] of the regions and then of what they are merged to, in the order of merging, and the parent
        of each, int32 [M], -1 for the last. M is 2R - 1 where all regions are connected.
    """
    regions = len(size)
    nodes = 2 * regions - 1
    sizes = np.zeros(nodes, np.int32)
    sizes[:regions] = size
    boxes = np.zeros((nodes, 4), np.int32)
    boxes[:regions] = box
    parent = np.full(nodes, -1, np.int32)
    # Path from a region that is gone to the one that it has become, shortened on the way.
    become = np.full(nodes, -1, np.int32)
    first_bin = 0 if terms & 1 else colours
    last_bin = histogram.shape[1] if terms & 2 else colours

    seen = np.full(nodes, -1, np.int32)
    head = np.full(nodes, -1, np.int32)
    tail = np.full(nodes, -1, np.int32)
    follows = np.full(2 * len(pairs), -1, np.int32)
    neighbour = np.empty(2 * len(pairs), np.int32)
    # There are never more pairs than at first; the dead ones are cleared away when the heap is full.
    alike = np.empty(2 * len(pairs) + 1, np.float32)
    waiting = np.empty(2 * len(pairs) + 1, np.int64)
    count = 0
    for index in range(len(pairs)):
        for side in range(2):
            entry, region = 2 * index + side, pairs[index, side]
            neighbour[entry] = pairs[index, 1 - side]
            if head[region] < 0:
                head[region] = entry
            else:
                follows[tail[region]] = entry
            tail[region] = entry
        one, other = pairs[index, 0], pairs[index, 1]
        alike[count] = similarity(one, other, sizes, boxes, histogram, colours, pixels, terms)
        waiting[count] = np.int64(one) * nodes + other
        count += 1
    for place in range(count // 2 - 1, -1, -1):
        _down(alike, waiting, place, count)

    new = regions
    while count > 0:
        pair = waiting[0]
        count -= 1
        alike[0], waiting[0] = alike[count], waiting[count]
        if count > 0:
            _down(alike, waiting, 0, count)
        one, other = np.int32(pair // nodes), np.int32(pair % nodes)
        if parent[one] >= 0 or parent[other] >= 0:
            continue
        parent[one] = parent[other] = become[one] = become[other] = new
        sizes[new] = sizes[one] + sizes[other]
        share = np.float32(sizes[one]) / np.float32(sizes[new])
        rest = np.float32(1) - share
        for index in range(first_bin, last_bin):
            histogram[new, index] = share * histogram[one, index] + rest * histogram[other, index]
        boxes[new, 0] = min(boxes[one, 0], boxes[other, 0])
        boxes[new, 1] = min(boxes[one, 1], boxes[other, 1])
        boxes[new, 2] = max(boxes[one, 2], boxes[other, 2])
        boxes[new, 3] = max(boxes[one, 3], boxes[other, 3])

        # The neighbours of both, each once: `seen` says for whom a region was met last.
        follows[tail[one]] = head[other]
        entry, last = head[one], np.int32(-1)
        while entry >= 0:
            after, region = follows[entry], neighbour[entry]
            while become[region] >= 0:
                up = become[region]
                if become[up] >= 0:
                    become[region] = become[up]
                region = up
            if region != new and seen[region] != new:
                seen[region] = new
                neighbour[entry] = region
                if last < 0:
                    head[new] = entry
                else:
                    follows[last] = entry
                last = entry
                if count == len(alike):
                    count = _clear(alike, waiting, count, parent, nodes)
                alike[count] = similarity(region, new, sizes, boxes, histogram, colours, pixels, terms)
                waiting[count] = np.int64(region) * nodes + new
                _up(alike, waiting, count)
                count += 1
            entry = after
        tail[new] = last
        if last >= 0:
            follows[last] = -1
        new += 1
    return boxes[:new], parent[:new]


@njit(cache=True, nogil=True, inline="always")
def _before(alike: np.ndarray, waiting: np.ndarray, one: int, other: int) -> bool:
    """Whether a pair comes before another: more alike, or of equals the older."""
    return alike[one] > alike[other] or (alike[one] == alike[other] and waiting[one] < waiting[other])


@njit(cache=True, nogil=True, inline="always")
def _swap(alike: np.ndarray, waiting: np.ndarray, one: int, other: int) -> None:
    alike[one], alike[other] = alike[other], alike[one]
    waiting[one], waiting[other] = waiting[other], waiting[one]


@njit(cache=True, nogil=True)
def _up(alike: np.ndarray, waiting: np.ndarray, place: int) -> None:
    """Moves a pair of the heap to where it belongs, towards the top."""
    while place > 0 and _before(alike, waiting, place, (place - 1) // 2):
        _swap(alike, waiting, place, (place - 1) // 2)
        place = (place - 1) // 2


@njit(cache=True, nogil=True)
def _down(alike: np.ndarray, waiting: np.ndarray, place: int, count: int) -> None:
    """Moves a pair of the heap to where it belongs, away from the top."""
    while True:
        best = place
        for child in (2 * place + 1, 2 * place + 2):
            if child < count and _before(alike, waiting, child, best):
                best = child
        if best == place:
            return
        _swap(alike, waiting, place, best)
        place = best


@njit(cache=True, nogil=True)
def _clear(alike: np.ndarray, waiting: np.ndarray, count: int, parent: np.ndarray, nodes: int) -> int:
    """Removes the pairs of which a region is gone; how many are left."""
    kept = 0
    for place in range(count):
        if parent[waiting[place] // nodes] < 0 and parent[waiting[place] % nodes] < 0:
            alike[kept], waiting[kept] = alike[place], waiting[place]
            kept += 1
    for place in range(kept // 2 - 1, -1, -1):
        _down(alike, waiting, place, kept)
    return kept
