"""Thumbnails of the images of a dataset."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from PIL import Image

from tfeff.data.dataset import Dataset

SIDE = 224
"""Maximum side of a thumbnail, in pixels."""


class Thumbnails:
    """Thumbnails of the images of a dataset; each is read once."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._kept = dict[int, np.ndarray]()

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns uint8 [h, w, 1 or 3], at most `SIDE` pixels a side; the whole image, not as a network sees it."""
        if index not in self._kept:
            pixels = self._dataset.read(tf.constant(index, tf.int64)).numpy()
            self._kept[index] = resized(pixels, SIDE / max(*pixels.shape[:2], SIDE))
        return self._kept[index]

    def take(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Returns several thumbnails."""
        return [self[int(index)] for index in indices]


def resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Returns an image at another scale, uint8 [h, w, 1 or 3]; unchanged at a scale of 1."""
    if scale == 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return fitted(pixels, (height, width))


def fitted(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns an image stretched to (height, width), uint8 [h, w, 1 or 3]."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(*size, pixels.shape[2])
