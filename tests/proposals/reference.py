"""Plain reference implementations of segmentation and grouping, to test the kernels against."""

import numpy as np

OFFSETS = ((0, 1), (1, 0), (1, 1), (1, -1))


def edges(planes, steps, neighbors):
    """Returns (bucket, pixel, direction, other pixel) of all edges, sorted."""
    _, height, width = planes.shape
    found = []
    for y in range(height):
        for x in range(width):
            for direction, (dy, dx) in enumerate(OFFSETS[: neighbors // 2]):
                if y + dy < height and 0 <= x + dx < width:
                    difference = planes[:, y, x].astype(np.float64) - planes[:, y + dy, x + dx]
                    bucket = int(np.sqrt((difference**2).sum()) * steps + 0.5)
                    found.append((bucket, y * width + x, direction, (y + dy) * width + x + dx))
    return sorted(found)


def segmentations(planes, steps, thresholds, min_size, neighbors):
    """Felzenszwalb and Huttenlocher's segmentation at increasing thresholds; K labels int [height, width]."""
    n = planes[0].size
    parent = list(range(n))
    size = [1] * n
    internal = [0] * n
    out = []
    remaining = edges(planes, steps, neighbors)

    def root(of, u):
        while of[u] != u:
            u = of[u]
        return u

    for threshold in thresholds:
        rejected = []
        for bucket, u, direction, v in remaining:
            a, b = root(parent, u), root(parent, v)
            if a == b:
                continue
            if bucket <= internal[a] + threshold / size[a] and bucket <= internal[b] + threshold / size[b]:
                parent[b] = a
                size[a] += size[b]
                internal[a] = bucket
            else:
                rejected.append((bucket, u, direction, v))
        remaining = rejected
        final, sizes = list(parent), list(size)
        for _, u, _, v in rejected:
            a, b = root(final, u), root(final, v)
            if a != b and min(sizes[a], sizes[b]) < min_size:
                final[b] = a
                sizes[a] += sizes[b]
        names = {}
        labels = [names.setdefault(root(final, u), len(names)) for u in range(n)]
        out.append(np.array(labels).reshape(planes.shape[1:]))
    return out


def similarity(one, other, total, terms):
    """Similarity of two regions (size, box, color histogram, texture histogram): IJCV 2013, equations 2 to 6."""
    (size, box, color, texture), (size2, box2, color2, texture2) = one, other
    height = max(box[2], box2[2]) - min(box[0], box2[0])
    width = max(box[3], box2[3]) - min(box[1], box2[1])
    values = {
        "color": sum(min(a, b) for a, b in zip(color, color2, strict=True)),
        "texture": sum(min(a, b) for a, b in zip(texture, texture2, strict=True)),
        "size": 1 - (size + size2) / total,
        "fill": 1 - (height * width - size - size2) / total,
    }
    return sum(values[term] for term in terms)


def merged(one, other):
    """Returns the union of two regions."""
    (size, box, *histograms), (size2, box2, *histograms2) = one, other
    share = size / (size + size2)
    return (
        size + size2,
        (min(box[0], box2[0]), min(box[1], box2[1]), max(box[2], box2[2]), max(box[3], box2[3])),
        *(share * a + (1 - share) * b for a, b in zip(histograms, histograms2, strict=True)),
    )


def group(regions, pairs, total, terms):
    """Returns boxes of all regions and merged regions, in the order of merging; each step compares all pairs."""
    alive = dict(enumerate(regions))
    neighbors = {frozenset(map(int, pair)) for pair in pairs}
    boxes = [region[1] for region in regions]

    def order(pair):
        # Ties, which are frequent: older pairs first.
        return -round(similarity(*(alive[i] for i in sorted(pair)), total, terms), 6), sorted(pair)

    while neighbors:
        best = min(neighbors, key=order)
        i, j = sorted(best)
        new = len(boxes)
        alive[new] = merged(alive.pop(i), alive.pop(j))
        boxes.append(alive[new][1])
        neighbors = {frozenset(new if k in best else k for k in pair) for pair in neighbors if pair != best}
        neighbors = {pair for pair in neighbors if len(pair) == 2}
    return boxes
