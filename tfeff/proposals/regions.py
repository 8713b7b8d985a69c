"""What selective search measures: color and texture of an image; sizes, boxes, neighbors, histograms of its R regions.

Uijlings et al., IJCV 2013, section 3.2.2.
"""

import cv2
import numpy as np

from tfeff.proposals.kernels import kernel

SPACES = ("hsv", "lab", "rgi", "gray", "rgb")
COLOR_BINS = 25
"""Bins per color channel."""
TEXTURE_BINS, ORIENTATIONS = 10, 8
_GOLDEN = np.int64(0x1E3779B97F4A7C15)  # golden ratio, for multiplicative hashing


def convert(rgb: np.ndarray, space: str) -> np.ndarray:
    """Converts an RGB image to a color space: uint8 [height, width, C].

    Hue ranges from 0 to 180, all other channels from 0 to 255. `rgi` is normalized red, normalized green and intensity.

    Args:
        rgb: uint8 [height, width, 3].
        space: one of SPACES.
    """
    match space:
        case "hsv":
            return cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
        case "lab":
            return cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)
        case "gray":
            return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
        case "rgi":
            pixels = rgb.astype(np.float32)
            total = pixels.sum(axis=-1)
            normalized = pixels[..., :2] * (255 / np.maximum(total, 1))[..., np.newaxis]
            return np.concatenate([normalized, total[..., np.newaxis] / 3], axis=-1).astype(np.uint8)
        case "rgb":
            return rgb
    raise ValueError(space)


@kernel(fastmath=True)
def texture_bins(luminance: np.ndarray, scale: float) -> np.ndarray:
    """Bins the positive part of the derivative in each direction: uint8 [height, width, ORIENTATIONS].

    Args:
        luminance: float32 [height, width].
        scale: bins per unit of the central difference. The last bin also holds all larger values.
    """
    height, width = luminance.shape
    bins = np.empty((height, width, ORIENTATIONS), np.uint8)
    factor, diagonal = np.float32(scale), np.float32(np.sqrt(0.5))
    last_bin = np.float32(TEXTURE_BINS - 1)
    zero = np.float32(0)
    for y in range(height):
        above, below = max(0, y - 1), min(height - 1, y + 1)
        for x in range(width):
            right = (luminance[y, min(width - 1, x + 1)] - luminance[y, max(0, x - 1)]) * factor
            down = (luminance[below, x] - luminance[above, x]) * factor
            falling, rising = (right + down) * diagonal, (right - down) * diagonal
            bins[y, x, 0] = np.uint8(min(last_bin, max(zero, right)))
            bins[y, x, 1] = np.uint8(min(last_bin, max(zero, -right)))
            bins[y, x, 2] = np.uint8(min(last_bin, max(zero, down)))
            bins[y, x, 3] = np.uint8(min(last_bin, max(zero, -down)))
            bins[y, x, 4] = np.uint8(min(last_bin, max(zero, falling)))
            bins[y, x, 5] = np.uint8(min(last_bin, max(zero, -falling)))
            bins[y, x, 6] = np.uint8(min(last_bin, max(zero, rising)))
            bins[y, x, 7] = np.uint8(min(last_bin, max(zero, -rising)))
    return bins


@kernel()
def measure(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measures labels int32 [height, width]: pixels int32 [R] and boxes int32 [R, 4] (top, left, bottom, right)."""
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


@kernel()
def neighbors(labels: np.ndarray, regions: int) -> np.ndarray:
    """Returns pairs of 4-connected regions, int32 [P, 2]: the smaller label first, pairs in raster order."""
    height, width = labels.shape
    capacity = 1024
    table = np.full(2 * capacity, -1, np.int64)
    keys = np.empty(capacity, np.int64)
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
                slot = _find(table, key)
                if table[slot] == key:
                    continue
                if count == capacity:
                    capacity *= 2
                    table = np.full(2 * capacity, -1, np.int64)
                    grown = np.empty(capacity, np.int64)
                    for index in range(count):  # sooner compiled, by seconds, than the assignment of a slice
                        grown[index] = keys[index]
                    keys = grown
                    for known in keys[:count]:
                        table[_find(table, known)] = known
                    slot = _find(table, key)
                table[slot] = key
                keys[count] = key
                count += 1
    pairs = np.empty((count, 2), np.int32)
    for index in range(count):
        pairs[index, 0] = keys[index] // regions
        pairs[index, 1] = keys[index] % regions
    return pairs


@kernel(inline="always")
def _find(table: np.ndarray, key: np.int64) -> np.int64:
    """Returns the slot of a key in a hash table with linear probing, or the free slot where it belongs."""
    slot = ((key * _GOLDEN) >> 20) & (len(table) - 1)
    while table[slot] >= 0 and table[slot] != key:
        slot = (slot + 1) & (len(table) - 1)
    return slot


@kernel()
def histograms(
    labels: np.ndarray, color: np.ndarray, texture: np.ndarray, texture_bins: int, regions: int, stride: int
) -> np.ndarray:
    """Returns the color and texture histograms of all regions, float32 [2R - 1, bins].

    Each of the two sums to 1 in a region.

    The rows from R on are zero, reserved for merged regions.

    Args:
        labels: int32 [height, width].
        color: bin of each channel, uint8 [height, width, C], below COLOR_BINS.
        texture: bin of each of O orientations, uint8 [height, width, O], below `texture_bins`.
        texture_bins: bins per orientation.
        regions: R.
        stride: count every `stride`-th pixel of every `stride`-th row. Regions without such a pixel are counted fully.
    """
    height, width, channels = color.shape
    orientations = texture.shape[2]
    first = channels * COLOR_BINS
    counts = np.zeros((2 * regions - 1, first + orientations * texture_bins), np.float32)
    sampled = np.zeros(regions, np.int32)
    for step in (stride, 1):
        second_pass = step != stride
        for y in range(0, height, step):
            for x in range(0, width, step):
                region = labels[y, x]
                if second_pass and sampled[region] >= 0:
                    continue
                sampled[region] += 1
                for channel in range(channels):
                    counts[region, channel * COLOR_BINS + color[y, x, channel]] += 1
                for orientation in range(orientations):
                    counts[region, first + orientation * texture_bins + texture[y, x, orientation]] += 1
        missed = 0
        for region in range(regions):
            missed += sampled[region] == 0
            if sampled[region] == 0:
                sampled[region] = -(1 << 30)
        if second_pass or missed == 0:
            break
    for region in range(regions):
        counted = np.float32(0)
        for index in range(COLOR_BINS):
            counted += counts[region, index]
        share = np.float32(1) / (counted * channels)
        for index in range(first):  # as above, sooner compiled than a slice
            counts[region, index] *= share
        share = np.float32(1) / (counted * orientations)
        for index in range(first, counts.shape[1]):
            counts[region, index] *= share
    return counts
