"""Hierarchical grouping: merges the two most similar neighboring regions until one region is left.

Uijlings et al., IJCV 2013, algorithm 1. A heap holds the pairs of neighbors by similarity; a popped pair is skipped if
one of its regions has been merged already. Each region has a linked list of neighbors, and merging joins two lists.

Kernels that call each other are in one file, because numba's cache only notices changes of the caller's file.

`rank_boxes` merges the boxes of several hierarchies into one ranked list.
"""

from collections.abc import Sequence

import numpy as np

from tfeff.proposals.kernels import kernel

COLOR, TEXTURE, SIZE, FILL = 1, 2, 4, 8
TERMS = {"color": COLOR, "texture": TEXTURE, "size": SIZE, "fill": FILL}
MAX_REGIONS = 500_000
NODE_BITS = 20
LAST_NODE = np.int64((1 << NODE_BITS) - 1)
SIMILARITY_STEPS = np.float32(1 << 20)
"""Resolution of similarities in a heap key: a sum of four terms of at most 1 and two nodes fill one 64-bit integer."""


@kernel(fastmath=True)
def similarity(
    one: int,
    other: int,
    size: np.ndarray,
    box: np.ndarray,
    histogram: np.ndarray,
    colors: int,
    pixels: int,
    terms: int,
) -> np.float32:
    """Returns the similarity of two regions: the sum of the selected terms, each in [0, 1].

    IJCV 2013, equations 2 to 6.

    Args:
        one: index of a region.
        other: index of another region.
        size: pixels of each region, int32 [N].
        box: box of each region, int32 [N, 4].
        histogram: float32 [N, bins]: color bins, then texture bins; each of the two parts sums to 1.
        colors: number of color bins.
        pixels: pixels of the image.
        terms: bitwise or of COLOR, TEXTURE, SIZE, FILL.
    """
    first = np.uint64(0 if terms & COLOR else colors)
    last = np.uint64(histogram.shape[1] if terms & TEXTURE else colors)
    own, others = np.uint64(one), np.uint64(other)
    total = np.float32(0)
    # Unsigned indices: otherwise numba handles negative ones and does not vectorize the loop.
    for index in range(first, last):
        total += min(histogram[own, index], histogram[others, index])
    # All float32: a float64 term would promote the loop above, which is then ten times slower.
    per_pixel = np.float32(1) / np.float32(pixels)
    both = size[one] + size[other]
    if terms & SIZE:
        total += np.float32(1) - np.float32(both) * per_pixel
    if terms & FILL:
        height = max(box[one, 2], box[other, 2]) - min(box[one, 0], box[other, 0])
        width = max(box[one, 3], box[other, 3]) - min(box[one, 1], box[other, 1])
        total += np.float32(1) - np.float32(height * width - both) * per_pixel
    return total


@kernel()
def group(
    size: np.ndarray, box: np.ndarray, pairs: np.ndarray, histogram: np.ndarray, colors: int, pixels: int, terms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Groups R regions into a hierarchy.

    Args:
        size: pixels of each region, int32 [R]; R is at most MAX_REGIONS.
        box: box of each region, int32 [R, 4].
        pairs: pairs of neighbors, int32 [P, 2].
        histogram: float32 [2R - 1, bins], see `similarity`; the rows from R on are overwritten.
        colors: number of color bins.
        pixels: pixels of the image.
        terms: bitwise or of the similarity terms.

    Returns:
        Boxes int32 [M, 4] of the R regions and then of the merged regions in the order of merging; and the parent of
        each, int32 [M], -1 for a root. M is 2R - 1 if all regions are connected.
    """
    regions = len(size)
    nodes = 2 * regions - 1
    sizes = np.zeros(nodes, np.int32)
    boxes = np.zeros((nodes, 4), np.int32)
    for region in range(regions):  # sooner compiled, by seconds, than the assignment of a slice
        sizes[region] = size[region]
        for side in range(4):
            boxes[region, side] = box[region, side]
    parent = np.full(nodes, -1, np.int32)
    # Union-find: from a merged region to the region that contains it, with path compression.
    merged_into = np.full(nodes, -1, np.int32)
    first_bin = np.uint64(0 if terms & COLOR else colors)
    last_bin = np.uint64(histogram.shape[1] if terms & TEXTURE else colors)

    visited_by = np.full(nodes, -1, np.int32)
    head = np.full(nodes, -1, np.int32)
    tail = np.full(nodes, -1, np.int32)
    next_entry = np.full(2 * len(pairs), -1, np.int32)
    neighbor = np.empty(2 * len(pairs), np.int32)
    # There are never more live pairs than at first. Stale pairs are removed when the heap is full.
    heap = np.empty(2 * len(pairs) + 1, np.int64)
    count = 0
    for index in range(len(pairs)):
        for side in range(2):
            entry, region = 2 * index + side, pairs[index, side]
            neighbor[entry] = pairs[index, 1 - side]
            if head[region] < 0:
                head[region] = entry
            else:
                next_entry[tail[region]] = entry
            tail[region] = entry
        one, other = pairs[index, 0], pairs[index, 1]
        heap[count] = _key(similarity(one, other, sizes, boxes, histogram, colors, pixels, terms), one, other)
        count += 1
    for place in range(count // 2 - 1, -1, -1):
        _sift_down(heap, place, count)

    new = regions
    while count > 0:
        one, other = _pair(heap[0])
        count -= 1
        heap[0] = heap[count]
        _sift_down(heap, 0, count)
        if parent[one] >= 0 or parent[other] >= 0:
            continue
        parent[one] = parent[other] = merged_into[one] = merged_into[other] = new
        sizes[new] = sizes[one] + sizes[other]
        weight = np.float32(sizes[one]) / np.float32(sizes[new])
        rest = np.float32(1) - weight
        merged, own, others = np.uint64(new), np.uint64(one), np.uint64(other)
        for index in range(first_bin, last_bin):
            histogram[merged, index] = weight * histogram[own, index] + rest * histogram[others, index]
        boxes[new, 0] = min(boxes[one, 0], boxes[other, 0])
        boxes[new, 1] = min(boxes[one, 1], boxes[other, 1])
        boxes[new, 2] = max(boxes[one, 2], boxes[other, 2])
        boxes[new, 3] = max(boxes[one, 3], boxes[other, 3])

        # Collect the neighbors of both, each once: `visited_by` holds the last merged region that visited a region.
        next_entry[tail[one]] = head[other]
        entry, last = head[one], np.int32(-1)
        while entry >= 0:
            after, region = next_entry[entry], neighbor[entry]
            while merged_into[region] >= 0:
                up = merged_into[region]
                if merged_into[up] >= 0:
                    merged_into[region] = merged_into[up]
                region = up
            if region != new and visited_by[region] != new:
                visited_by[region] = new
                neighbor[entry] = region
                if last < 0:
                    head[new] = entry
                else:
                    next_entry[last] = entry
                last = entry
                if count == len(heap):
                    count = _remove_stale(heap, count, parent)
                score = similarity(region, new, sizes, boxes, histogram, colors, pixels, terms)
                heap[count] = _key(score, region, new)
                _sift_up(heap, count)
                count += 1
            entry = after
        tail[new] = last
        if last >= 0:
            next_entry[last] = -1
        new += 1
    return boxes[:new], parent[:new]


@kernel(inline="always")
def _key(score: np.float32, one: int, other: int) -> np.int64:
    """Encodes a pair as one integer. More similar pairs have larger keys; among equals, older pairs do."""
    return (
        (np.int64(score * SIMILARITY_STEPS) << 2 * NODE_BITS)
        | ((LAST_NODE - np.int64(one)) << NODE_BITS)
        | (LAST_NODE - np.int64(other))
    )


@kernel(inline="always")
def _pair(key: np.int64) -> tuple[np.int64, np.int64]:
    """Decodes the pair of a key."""
    return LAST_NODE - ((key >> NODE_BITS) & LAST_NODE), LAST_NODE - (key & LAST_NODE)


@kernel()
def _sift_up(heap: np.ndarray, place: int) -> None:
    """Moves a key of the heap up to its place."""
    key = heap[place]
    while place > 0 and heap[(place - 1) >> 1] < key:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = key


@kernel()
def _sift_down(heap: np.ndarray, place: int, count: int) -> None:
    """Moves a key of the heap down to its place."""
    key = heap[place]
    while 2 * place + 1 < count:
        child = 2 * place + 1
        if child + 1 < count and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= key:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = key


@kernel()
def _remove_stale(heap: np.ndarray, count: int, parent: np.ndarray) -> int:
    """Removes the pairs with a merged region; returns the number of pairs left."""
    kept = 0
    for place in range(count):
        one, other = _pair(heap[place])
        if parent[one] < 0 and parent[other] < 0:
            heap[kept] = heap[place]
            kept += 1
    for place in range(kept // 2 - 1, -1, -1):
        _sift_down(heap, place, kept)
    return kept


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
