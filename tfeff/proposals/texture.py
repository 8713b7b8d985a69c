"""Texture: derivatives of the luminance in eight directions (Uijlings et al., IJCV 2013, section 3.2.2)."""

import numpy as np
from numba import njit

BINS, ORIENTATIONS = 10, 8


@njit(cache=True, nogil=True, fastmath=True)
def texture_bins(luminance: np.ndarray, scale: float) -> np.ndarray:
    """Bins the positive part of the derivative in each direction: uint8 [height, width, ORIENTATIONS].

    Args:
        luminance: float32 [height, width].
        scale: bins per unit of the central difference. The last bin also holds all larger values.
    """
    height, width = luminance.shape
    bins = np.empty((height, width, ORIENTATIONS), np.uint8)
    factor, diagonal = np.float32(scale), np.float32(np.sqrt(0.5))
    last_bin = np.float32(BINS - 1)
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
