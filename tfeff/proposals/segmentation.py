"""Graph-based segmentation: Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.

Pixels are nodes; an edge joins two neighboring pixels, and its weight is the distance of their colors. Edges are
processed by increasing weight. An edge merges the components of its ends if its weight is at most the heaviest edge
inside each of them plus threshold / size. Finally, components below a minimum size are merged with a neighbor.

Weights are quantized, so that a counting sort orders them; ties keep the order of the pixels. Several thresholds share
the work: each continues from the components of the next smaller one, over the edges rejected so far. The result is
close to a separate segmentation at a tenth of the cost. After the smallest threshold, its components replace the pixels
as nodes.
"""

import numpy as np

from tfeff.proposals.kernels import kernel

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
    ends, sorted_weights = _sort(weights, heaviest)
    labels = np.empty((len(thresholds), height, width), np.int32)
    in_steps = np.asarray(thresholds, np.float64) * steps
    _segment(ends, sorted_weights, in_steps, min_size, labels.reshape(len(thresholds), -1))
    return labels


@kernel(fastmath=True)
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


@kernel()
def _sort(weights: np.ndarray, heaviest: np.int64) -> tuple[np.ndarray, np.ndarray]:
    """Sorts the edges by weight: the pixels at their ends, int32 [edges, 2], and their weights, uint16."""
    directions, _, width = weights.shape
    pixels = weights.shape[1] * width
    flat = weights.reshape(directions, pixels)
    offsets = (1, width, width + 1, width - 1)
    starts = np.zeros(heaviest + 2, np.int64)
    for direction in range(directions):
        for pixel in range(pixels):
            if flat[direction, pixel] != NO_EDGE:
                starts[flat[direction, pixel] + 1] += 1
    for weight in range(heaviest + 1):
        starts[weight + 1] += starts[weight]
    places = starts[:-1].copy()
    ends = np.empty((starts[-1], 2), np.int32)
    for pixel in range(pixels):
        for direction in range(directions):
            weight = flat[direction, pixel]
            if weight != NO_EDGE:
                place = np.uint64(places[weight])
                ends[place, 0] = pixel
                ends[place, 1] = pixel + offsets[direction]
                places[weight] += 1
    by_weight = np.empty(len(ends), np.uint16)
    for weight in range(heaviest + 1):
        by_weight[starts[weight] : starts[weight + 1]] = weight
    return ends, by_weight


@kernel(inline="always")
def _root(parent: np.ndarray, node: int) -> int:
    """Returns the root of a node's tree, with path halving. The entry of a root is minus its size.

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


@kernel(inline="always")
def _join(parent: np.ndarray, one: int, other: int) -> int:
    """Merges two trees by size; returns the root."""
    if parent[one] > parent[other]:
        one, other = other, one
    parent[one] += parent[other]
    parent[other] = one
    return one


@kernel()
def _segment(ends: np.ndarray, weights: np.ndarray, thresholds: np.ndarray, min_size: int, labels: np.ndarray) -> None:
    """Writes labels int32 [K, pixels]. Overwrites `ends` and `weights`."""
    pixels = labels.shape[1]
    parent = np.full(pixels, -1, np.int32)
    internal = np.zeros(pixels, np.int32)
    count = _grow(parent, internal, ends, weights, len(ends), thresholds[0])
    # From here on, the components are the nodes: they are far fewer than the pixels.
    component, roots = _number(parent)
    parent, internal = parent[roots], internal[roots]
    for place in range(np.uint64(count)):
        ends[place, 0] = component[np.uint32(ends[place, 0])]
        ends[place, 1] = component[np.uint32(ends[place, 1])]
    for index in range(len(thresholds)):
        if index > 0:
            count = _grow(parent, internal, ends, weights, count, thresholds[index])
        number = _finish(parent, ends, count, min_size)
        for pixel in range(pixels):
            labels[index, pixel] = number[np.uint32(component[pixel])]


@kernel()
def _grow(
    parent: np.ndarray, internal: np.ndarray, ends: np.ndarray, weights: np.ndarray, count: int, threshold: float
) -> int:
    """Processes the first `count` edges; moves the rejected ones to the front and returns their number.

    Args:
        parent: trees of the components, int32 [nodes], see `_root`.
        internal: largest weight inside the component of a root, int32 [nodes].
        ends: nodes at the ends of the edges, int32 [edges, 2].
        weights: weights of the edges, uint16 [edges], increasing.
        count: number of edges.
        threshold: the paper's k, in steps.
    """
    kept = 0
    for place in range(np.uint64(count)):
        weight = np.int64(weights[place])
        one, other = np.uint32(_root(parent, ends[place, 0])), np.uint32(_root(parent, ends[place, 1]))
        if one == other:
            continue
        # weight <= internal + threshold / size, where `parent` of a root is minus its size.
        own, others = (internal[one] - weight) * parent[one], (internal[other] - weight) * parent[other]
        if max(own, others) <= threshold:
            internal[_join(parent, one, other)] = weight
        else:
            ends[kept, 0], ends[kept, 1], weights[kept] = one, other, weight
            kept += 1
    return kept


@kernel()
def _finish(parent: np.ndarray, ends: np.ndarray, count: int, min_size: int) -> np.ndarray:
    """Merges small components over the rejected edges; returns the final component of each node, int32 [nodes]."""
    final = parent.copy()
    for place in range(np.uint64(count)):
        one, other = _root(final, ends[place, 0]), _root(final, ends[place, 1])
        if one != other and (-final[one] < min_size or -final[other] < min_size):
            _join(final, one, other)
    return _number(final)[0]


@kernel()
def _number(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the components in the order of their first nodes.

    Returns:
        The number of each node, int32 [nodes], and the root of each component, int32.
    """
    number = np.full(len(parent), -1, np.int32)  # of roots
    numbers = np.empty(len(parent), np.int32)
    roots = np.empty(len(parent), np.int32)
    count = 0
    up, current = np.int32(-1), np.int32(-1)
    for node in range(len(parent)):
        if parent[node] < 0 or parent[node] != up:  # adjacent nodes often share a parent
            root = _root(parent, node)
            if number[root] < 0:
                number[root] = count
                roots[count] = root
                count += 1
            up, current = parent[node], number[root]
        numbers[node] = current
    return numbers, roots[:count].copy()
