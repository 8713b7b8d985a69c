"""Graph-based segmentation: Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.

Pixels are nodes; an edge joins two neighboring pixels, and its weight is the distance of their colors. Edges are
processed by increasing weight. An edge merges the components of its ends if its weight is at most the heaviest edge
inside each of them plus threshold / size. Finally, components below a minimum size are merged with a neighbor.

Weights are quantized, so that a counting sort orders them; ties keep the order of the pixels. Several thresholds share
the work: each continues from the components of the next smaller one, over the edges rejected so far. The result is
close to a separate segmentation at a tenth of the cost.
"""

import numpy as np
from numba import njit

NO_EDGE = np.uint16(65535)
"""Weight of an edge that would leave the image."""


def segmentations(
    planes: np.ndarray, thresholds: np.ndarray, min_size: int, *, steps: float, neighbors: int = 8
) -> np.ndarray:
    """Segments an image at K thresholds: labels int32 [K, height, width], numbered from 0 in raster order.

    Args:
        planes: smoothed image, float32 [C, height, width]; distances between pixels must be below 65,000 / steps.
        thresholds: increasing values of the paper's k, float [K], in units of color distance x pixels.
        min_size: minimum pixels of a component (fewer only if the whole image has fewer).
        steps: quantization steps per unit of color distance.
        neighbors: neighbors of a pixel: 8, or 4 for half the work.
    """
    _, height, width = planes.shape
    weights = np.empty((neighbors // 2, height, width), np.uint16)
    heaviest = _weigh(planes, np.float32(steps), weights)
    edges, sorted_weights = _sort(weights, heaviest)
    labels = np.empty((len(thresholds), height, width), np.int32)
    in_steps = np.asarray(thresholds, np.float64) * steps
    _segment(edges, sorted_weights, in_steps, min_size, labels.reshape(len(thresholds), -1), width)
    return labels


@njit(cache=True, nogil=True, fastmath=True)
def _weigh(planes: np.ndarray, steps: np.float32, weights: np.ndarray) -> np.int64:
    """Writes the weights of the edges to the right, below, below right and below left; returns the largest."""
    channels, height, width = planes.shape
    squares = np.empty(width, np.float32)
    heaviest = np.int64(0)
    for direction in range(len(weights)):
        down = 0 if direction == 0 else 1
        right = (1, 0, 1, -1)[direction]
        first, last = max(0, -right), width - max(0, right)
        for y in range(height):
            line = weights[direction, y]
            line[:] = NO_EDGE
            if y + down >= height:
                continue
            squares[:] = 0
            for channel in range(channels):
                for x in range(first, last):
                    difference = planes[channel, y, x] - planes[channel, y + down, x + right]
                    squares[x] += difference * difference
            for x in range(first, last):
                line[x] = np.uint16(np.sqrt(squares[x]) * steps + np.float32(0.5))
            for x in range(first, last):
                if line[x] > heaviest:
                    heaviest = np.int64(line[x])
    return heaviest


@njit(cache=True, nogil=True)
def _sort(weights: np.ndarray, heaviest: np.int64) -> tuple[np.ndarray, np.ndarray]:
    """Sorts the edges by weight: uint32 4 * pixel + direction, and their weights, uint16."""
    pixels = weights.shape[1] * weights.shape[2]
    flat = weights.reshape(len(weights), pixels)
    starts = np.zeros(heaviest + 2, np.int64)
    for direction in range(len(weights)):
        for pixel in range(pixels):
            if flat[direction, pixel] != NO_EDGE:
                starts[flat[direction, pixel] + 1] += 1
    for weight in range(heaviest + 1):
        starts[weight + 1] += starts[weight]
    places = starts[:-1].copy()
    order = np.empty(starts[-1], np.uint32)
    for pixel in range(pixels):
        for direction in range(len(weights)):
            weight = flat[direction, pixel]
            if weight != NO_EDGE:
                order[places[weight]] = 4 * pixel + direction
                places[weight] += 1
    by_weight = np.empty(len(order), np.uint16)
    for weight in range(heaviest + 1):
        by_weight[starts[weight] : starts[weight + 1]] = weight
    return order, by_weight


@njit(cache=True, nogil=True, inline="always")
def _root(parent: np.ndarray, node: int) -> int:
    """The root of a node's tree, with path halving. The entry of a root is minus its size.

    Unsigned indices spare numba the check for negative ones.
    """
    up = parent[np.uint32(node)]
    while up >= 0:
        above = parent[np.uint32(up)]
        if above >= 0:
            parent[np.uint32(node)] = above
        node = int(up)
        up = above
    return node


@njit(cache=True, nogil=True, inline="always")
def _join(parent: np.ndarray, one: int, other: int) -> int:
    """Merges two trees by size; returns the root."""
    if parent[one] > parent[other]:
        one, other = other, one
    parent[one] += parent[other]
    parent[other] = one
    return one


@njit(cache=True, nogil=True)
def _segment(
    edges: np.ndarray, weights: np.ndarray, thresholds: np.ndarray, min_size: int, labels: np.ndarray, width: int
) -> None:
    """Writes labels [K, pixels]. Rejected edges and their weights are moved to the front of `edges` and `weights`."""
    pixels = labels.shape[1]
    parent = np.full(pixels, -1, np.int32)
    # The largest weight at which a component still merges.
    limit = np.zeros(pixels, np.float32)
    count, previous = len(edges), 0.0
    for index in range(len(thresholds)):
        for node in range(pixels):
            if parent[node] < 0:
                limit[node] += (thresholds[index] - previous) / -parent[node]
        previous = thresholds[index]
        count = _grow(parent, limit, edges, weights, count, previous, width)
        _finish(parent, edges, count, min_size, labels[index], width)


@njit(cache=True, nogil=True)
def _grow(
    parent: np.ndarray,
    limit: np.ndarray,
    edges: np.ndarray,
    weights: np.ndarray,
    count: int,
    threshold: float,
    width: int,
) -> int:
    """Processes the first `count` edges; moves the rejected ones to the front and returns their number."""
    offsets = (1, width, width + 1, width - 1)
    kept = 0
    for place in range(count):
        edge, weight = edges[place], weights[place]
        one = _root(parent, np.int64(edge >> 2))
        other = _root(parent, np.int64(edge >> 2) + offsets[edge & 3])
        if one == other:
            continue
        if weight <= limit[one] and weight <= limit[other]:
            root = _join(parent, one, other)
            limit[root] = weight - threshold / parent[root]
        else:
            edges[kept] = edge
            weights[kept] = weight
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _finish(
    parent: np.ndarray, rejected: np.ndarray, count: int, min_size: int, labels: np.ndarray, width: int
) -> None:
    """Merges small components over the rejected edges, then numbers the components."""
    offsets = (1, width, width + 1, width - 1)
    final = parent.copy()
    for place in range(count):
        edge = rejected[place]
        one = _root(final, np.int64(edge >> 2))
        other = _root(final, np.int64(edge >> 2) + offsets[edge & 3])
        if one != other and (-final[one] < min_size or -final[other] < min_size):
            _join(final, one, other)
    regions = 0
    number = np.full(len(final), -1, np.int32)
    up, label = np.int32(-1), np.int32(-1)
    for pixel in range(len(final)):
        if final[pixel] < 0 or final[pixel] != up:  # adjacent pixels often share a parent
            root = _root(final, pixel)
            if number[root] < 0:
                number[root] = regions
                regions += 1
            up, label = final[pixel], number[root]
        labels[pixel] = label
