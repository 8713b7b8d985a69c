"""Hierarchical grouping: the two neighbouring regions that are most alike become one, until one is left.

Uijlings et al., IJCV 2013, algorithm 1. Every pair of neighbours waits in a heap; pairs of which a region is gone are
passed over when they come up. Neighbours stand in linked lists that are joined with their regions.

What is compiled together stands in one file: numba's cache notices changes of that file alone.
"""

import numpy as np
from numba import njit

COLOUR, TEXTURE, SIZE, FILL = 1, 2, 4, 8
TERMS = {"colour": COLOUR, "texture": TEXTURE, "size": SIZE, "fill": FILL}
MOST_REGIONS = 500_000
NODE_BITS = 20
LAST_NODE = np.int64((1 << NODE_BITS) - 1)
ALIKE_STEPS = np.float32(1 << 20)
"""In which similarities are compared: a sum of four terms of at most 1 and two nodes fill the bits of one number."""


@njit(cache=True, nogil=True, fastmath=True)
def similarity(
    one: int,
    other: int,
    size: np.ndarray,
    box: np.ndarray,
    histogram: np.ndarray,
    colours: int,
    pixels: int,
    terms: int,
) -> np.float32:
    """The sum of the wanted terms, each from 0 to 1 (IJCV 2013, equations 2 to 6).

    Args:
        one: a region.
        other: another one.
        size: int32 [N], pixels of each region.
        box: int32 [N, 4].
        histogram: float32 [N, bins], colour first, each part adding up to 1.
        colours: bins of colour.
        pixels: of the image.
        terms: sum of COLOUR, TEXTURE, SIZE, FILL.
    """
    first = 0 if terms & COLOUR else colours
    last = histogram.shape[1] if terms & TEXTURE else colours
    alike = np.float32(0)
    if first < last:
        # Slices, and counting from 0: else every index could be negative, and the loop would not be vectorised.
        own, others = histogram[one, first:last], histogram[other, first:last]
        for index in range(len(own)):
            alike += min(own[index], others[index])
    # All in float32: with one term of float64 the loop above would be so too, at a tenth of its speed.
    share = np.float32(1) / np.float32(pixels)
    both = size[one] + size[other]
    if terms & SIZE:
        alike += np.float32(1) - np.float32(both) * share
    if terms & FILL:
        height = max(box[one, 2], box[other, 2]) - min(box[one, 0], box[other, 0])
        width = max(box[one, 3], box[other, 3]) - min(box[one, 1], box[other, 1])
        alike += np.float32(1) - np.float32(height * width - both) * share
    return alike


@njit(cache=True, nogil=True)
def group(
    size: np.ndarray, box: np.ndarray, pairs: np.ndarray, histogram: np.ndarray, colours: int, pixels: int, terms: int
) -> tuple[np.ndarray, np.ndarray]:
    """The hierarchy over R regions.

    Args:
        size: int32 [R], pixels of the regions; R is at most MOST_REGIONS.
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
    first_bin = 0 if terms & COLOUR else colours
    last_bin = histogram.shape[1] if terms & TEXTURE else colours

    seen = np.full(nodes, -1, np.int32)
    head = np.full(nodes, -1, np.int32)
    tail = np.full(nodes, -1, np.int32)
    follows = np.full(2 * len(pairs), -1, np.int32)
    neighbour = np.empty(2 * len(pairs), np.int32)
    # There are never more pairs than at first; the dead ones are cleared away when the heap is full.
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
        waiting[count] = _key(similarity(one, other, sizes, boxes, histogram, colours, pixels, terms), one, other)
        count += 1
    for place in range(count // 2 - 1, -1, -1):
        _down(waiting, place, count)

    new = regions
    while count > 0:
        one, other = _pair(waiting[0])
        count -= 1
        waiting[0] = waiting[count]
        _down(waiting, 0, count)
        if parent[one] >= 0 or parent[other] >= 0:
            continue
        parent[one] = parent[other] = become[one] = become[other] = new
        sizes[new] = sizes[one] + sizes[other]
        share = np.float32(sizes[one]) / np.float32(sizes[new])
        rest = np.float32(1) - share
        merged = histogram[new, first_bin:last_bin]
        own, others = histogram[one, first_bin:last_bin], histogram[other, first_bin:last_bin]
        for index in range(len(merged)):
            merged[index] = share * own[index] + rest * others[index]
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
                if count == len(waiting):
                    count = _clear(waiting, count, parent)
                alike = similarity(region, new, sizes, boxes, histogram, colours, pixels, terms)
                waiting[count] = _key(alike, region, new)
                _up(waiting, count)
                count += 1
            entry = after
        tail[new] = last
        if last >= 0:
            follows[last] = -1
        new += 1
    return boxes[:new], parent[:new]


@njit(cache=True, nogil=True, inline="always")
def _key(alike: np.float32, one: int, other: int) -> np.int64:
    """A pair as one number: the more alike, the larger; of equals the older is larger."""
    return (
        (np.int64(alike * ALIKE_STEPS) << 2 * NODE_BITS)
        | ((LAST_NODE - np.int64(one)) << NODE_BITS)
        | (LAST_NODE - np.int64(other))
    )


@njit(cache=True, nogil=True, inline="always")
def _pair(key: np.int64) -> tuple[np.int64, np.int64]:
    """The pair of a key."""
    return LAST_NODE - ((key >> NODE_BITS) & LAST_NODE), LAST_NODE - (key & LAST_NODE)


@njit(cache=True, nogil=True)
def _up(waiting: np.ndarray, place: int) -> None:
    """Moves a pair of the heap to where it belongs, towards the top."""
    key = waiting[place]
    while place > 0 and waiting[(place - 1) >> 1] < key:
        waiting[place] = waiting[(place - 1) >> 1]
        place = (place - 1) >> 1
    waiting[place] = key


@njit(cache=True, nogil=True)
def _down(waiting: np.ndarray, place: int, count: int) -> None:
    """Moves a pair of the heap to where it belongs, away from the top."""
    key = waiting[place]
    while 2 * place + 1 < count:
        child = 2 * place + 1
        if child + 1 < count and waiting[child + 1] > waiting[child]:
            child += 1
        if waiting[child] <= key:
            break
        waiting[place] = waiting[child]
        place = child
    waiting[place] = key


@njit(cache=True, nogil=True)
def _clear(waiting: np.ndarray, count: int, parent: np.ndarray) -> int:
    """Removes the pairs of which a region is gone; how many are left."""
    kept = 0
    for place in range(count):
        one, other = _pair(waiting[place])
        if parent[one] < 0 and parent[other] < 0:
            waiting[kept] = waiting[place]
            kept += 1
    for place in range(kept // 2 - 1, -1, -1):
        _down(waiting, place, kept)
    return kept
