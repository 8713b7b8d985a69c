"""Graph-based segmentation: Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.

Pixels are nodes, joined to their neighbours by edges that weigh the distance of their colours. Edges are taken from the
lightest on; one joins the components of its ends when it is no heavier than the heaviest edge inside either of
them plus threshold / size. Components below a least size are joined with a neighbour afterwards.

Weights are whole numbers of steps, so that a counting sort orders them; equal ones stand in the order of their pixels.
With several thresholds, the next larger one goes on from the components of the one before, over the edges that it
refused: nearly what a segmentation of its own would be, for a tenth of the work.
"""

import numpy as np
from numba import njit

NO_EDGE = np.uint16(65535)
"""Where a neighbour would lie outside the image."""


def segmentations(
    planes: np.ndarray, thresholds: np.ndarray, minimum: int, *, steps: float, neighbours: int = 8
) -> np.ndarray:
    """Labels int32 [K, height, width], counted from 0 in the order of their first pixels.

    Args:
        planes: float32 [C, height, width], a smoothed image; distances between its pixels stay below 65,000 / steps.
        thresholds: float [K], rising, k of the paper in units of colour distance x pixels.
        minimum: pixels of a component, at least (unless the image has fewer).
        steps: of the weights, a unit of colour distance.
        neighbours: that a pixel is joined to: 8, or 4 for half the work.
    """
    _, height, width = planes.shape
    weights = np.empty((neighbours // 2, height, width), np.uint16)
    heaviest = _weigh(planes, np.float32(steps), weights)
    edges, sorted_weights = _sort(weights, heaviest)
    labels = np.empty((len(thresholds), height, width), np.int32)
    in_steps = np.asarray(thresholds, np.float64) * steps
    _segment(edges, sorted_weights, in_steps, minimum, labels.reshape(len(thresholds), -1), width)
    return labels


@njit(cache=True, nogil=True, fastmath=True)
def _weigh(planes: np.ndarray, steps: np.float32, weights: np.ndarray) -> np.int64:
    """Weights of the edges to the right, below, below right, below left; the heaviest."""
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
    """Edges, uint32 4 * pixel + direction, by weight; their weights, uint16."""
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
    """The root of a node's tree; on the way every node is brought closer to it. A root holds minus its size.

    Indices are unsigned, since numba looks at the sign of others.
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
    """Makes one tree of two; its root."""
    if parent[one] > parent[other]:
        one, other = other, one
    parent[one] += parent[other]
    parent[other] = one
    return one


@njit(cache=True, nogil=True)
def _segment(
    edges: np.ndarray, weights: np.ndarray, thresholds: np.ndarray, minimum: int, labels: np.ndarray, width: int
) -> None:
    """Fills labels [K, pixels]; of `edges` and `weights`, those that each threshold refused are kept in front."""
    pixels = labels.shape[1]
    parent = np.full(pixels, -1, np.int32)
    # Heaviest weight that a component still takes in.
    limit = np.zeros(pixels, np.float32)
    count, before = len(edges), 0.0
    for index in range(len(thresholds)):
        for node in range(pixels):
            if parent[node] < 0:
                limit[node] += (thresholds[index] - before) / -parent[node]
        before = thresholds[index]
        count = _grow(parent, limit, edges, weights, count, before, width)
        _finish(parent, edges, count, minimum, labels[index], width)


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
    """Takes the first `count` edges in turn; those refused are moved to the front: how many."""
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
def _finish(parent: np.ndarray, refused: np.ndarray, count: int, minimum: int, labels: np.ndarray, width: int) -> None:
    """Joins small components (all edges that could are among the refused ones), and numbers what there is."""
    offsets = (1, width, width + 1, width - 1)
    final = parent.copy()
    for place in range(count):
        edge = refused[place]
        one = _root(final, np.int64(edge >> 2))
        other = _root(final, np.int64(edge >> 2) + offsets[edge & 3])
        if one != other and (-final[one] < minimum or -final[other] < minimum):
            _join(final, one, other)
    regions = 0
    number = np.full(len(final), -1, np.int32)
    up, label = np.int32(-1), np.int32(-1)
    for pixel in range(len(final)):
        if final[pixel] < 0 or final[pixel] != up:  # a neighbour often hangs on the same node
            root = _root(final, pixel)
            if number[root] < 0:
                number[root] = regions
                regions += 1
            up, label = final[pixel], number[root]
        labels[pixel] = label
