"""What is known of the regions of a segmentation: sizes, boxes, neighbours, histograms. R: regions."""

import numpy as np
from numba import njit

COLOUR_BINS = 25
"""A channel (Uijlings et al., IJCV 2013, section 3.2.2)."""
_GOLDEN = np.int64(0x1E3779B97F4A7C15)  # spreads the keys of a hash table


@njit(cache=True, nogil=True)
def measure(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels int32 [R] and boxes int32 [R, 4] (top, left, bottom, right) of labels int32 [height, width]."""
    height, width = labels.shape
    regions = labels.max() + 1
    size = np.zeros(regions, np.int32)
    box = np.empty((regions, 4), np.int32)
    box[:, 0], box[:, 1], box[:, 2], box[:, 3] = height, width, 0, 0
    for y in range(height):
        line = labels[y]
        x = 0
        while x < width:
            region, left = line[x], x
            while x < width and line[x] == region:
                x += 1
            size[region] += x - left
            box[region, 0] = min(box[region, 0], y)
            box[region, 1] = min(box[region, 1], left)
            box[region, 2] = y + 1
            box[region, 3] = max(box[region, 3], x)
    return size, box


@njit(cache=True, nogil=True)
def neighbours(labels: np.ndarray, regions: int) -> np.ndarray:
    """Pairs of regions that share a side of a pixel, int32 [P, 2], the smaller label first, in the order met."""
    height, width = labels.shape
    room = 1024
    table = np.full(2 * room, -1, np.int64)
    keys = np.empty(room, np.int64)
    count = 0
    for y in range(height):
        line, below = labels[y], labels[min(y + 1, height - 1)]
        for x in range(width):
            here, right = line[x], line[min(x + 1, width - 1)]
            if here == right and here == below[x]:
                continue
            for there in (right, below[x]):
                if here == there:
                    continue
                key = np.int64(min(here, there)) * regions + max(here, there)
                place = _place(table, key)
                if table[place] == key:
                    continue
                if count == room:
                    room *= 2
                    table = np.full(2 * room, -1, np.int64)
                    longer = np.empty(room, np.int64)
                    longer[:count] = keys
                    keys = longer
                    for known in keys[:count]:
                        table[_place(table, known)] = known
                    place = _place(table, key)
                table[place] = key
                keys[count] = key
                count += 1
    pairs = np.empty((count, 2), np.int32)
    for index in range(count):
        pairs[index, 0] = keys[index] // regions
        pairs[index, 1] = keys[index] % regions
    return pairs


@njit(cache=True, nogil=True, inline="always")
def _place(table: np.ndarray, key: np.int64) -> np.int64:
    """Where a key is in an open hash table, or would be."""
    place = ((key * _GOLDEN) >> 20) & (len(table) - 1)
    while table[place] >= 0 and table[place] != key:
        place = (place + 1) & (len(table) - 1)
    return place


@njit(cache=True, nogil=True)
def histograms(
    labels: np.ndarray, colour: np.ndarray, texture: np.ndarray, texture_bins: int, regions: int, stride: int
) -> np.ndarray:
    """Histograms float32 [2R - 1, bins] of regions; rows from R on are left for what they are merged to.

    Colour and texture each add up to 1 in a region.

    Args:
        labels: int32 [height, width].
        colour: uint8 [height, width, C], bins of COLOUR_BINS.
        texture: uint8 [height, width, O], bins of `texture_bins` in each of O orientations.
        texture_bins: how many.
        regions: R.
        stride: one pixel of so many, in a row and in a column, is counted; of regions that have none of them, all.
    """
    height, width, channels = colour.shape
    orientations = texture.shape[2]
    first = channels * COLOUR_BINS
    counts = np.zeros((2 * regions - 1, first + orientations * texture_bins), np.float32)
    looked_at = np.zeros(regions, np.int32)
    for step in (stride, 1):
        late = step != stride
        for y in range(0, height, step):
            for x in range(0, width, step):
                region = labels[y, x]
                if late and looked_at[region] >= 0:
                    continue
                looked_at[region] += 1
                for channel in range(channels):
                    counts[region, channel * COLOUR_BINS + colour[y, x, channel]] += 1
                for orientation in range(orientations):
                    counts[region, first + orientation * texture_bins + texture[y, x, orientation]] += 1
        missed = 0
        for region in range(regions):
            missed += looked_at[region] == 0
            if looked_at[region] == 0:
                looked_at[region] = -(1 << 30)
        if late or missed == 0:
            break
    for region in range(regions):
        seen = np.float32(0)
        for index in range(COLOUR_BINS):
            seen += counts[region, index]
        counts[region, :first] *= np.float32(1) / (seen * channels)
        counts[region, first:] *= np.float32(1) / (seen * orientations)
    return counts
