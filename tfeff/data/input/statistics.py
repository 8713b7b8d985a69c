"""Channel statistics of a dataset, for the normalization layer of a network."""

import numpy as np
import tensorflow as tf

from tfeff.data.images import resizing
from tfeff.data.input.cache import ImageCache

_CHUNK = 16  # Counting takes eight times the memory of the images.


class Histogram:
    """Counts of the values of each channel. The order in which images are added does not matter.

    Args:
        channels: channels of the images.
    """

    def __init__(self, channels: int) -> None:
        self._count = np.zeros((channels, 256), np.int64)

    def add(self, images: np.ndarray) -> None:
        """Adds images, uint8 [..., channels]."""
        self._count += [np.bincount(channel, minlength=256) for channel in images.reshape(-1, images.shape[-1]).T]

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean and standard deviation of each channel, on a scale of [0, 255].

        Returns:
            mean: float32 [channels].
            std: float32 [channels]; 1 for constant channels, since it is a divisor.
        """
        share = self._count / self._count.sum(axis=1, keepdims=True)
        levels = np.arange(256)
        mean = share @ levels
        std = np.sqrt(np.sum(share * (levels - mean[:, np.newaxis]) ** 2, axis=1))
        return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)


def channel_statistics(cache: ImageCache) -> tuple[np.ndarray, np.ndarray]:
    """Computes `Histogram.statistics` over all pixels of all images, without the padding of letterboxes."""
    histogram, sizes, done = Histogram(cache.dataset.channels), _letterboxes(cache), 0
    for chunk in cache.chunks(_CHUNK):
        parts = [chunk] if isinstance(chunk, np.ndarray) else chunk
        if sizes is not None:
            own = sizes[done : done + len(chunk)].tolist()
            parts = [image[:height, :width] for image, (height, width) in zip(chunk, own, strict=True)]
        for images in parts:
            histogram.add(images)
        done += len(chunk)
    return histogram.statistics()


def _letterboxes(cache: ImageCache) -> np.ndarray | None:
    """Returns the part of its letterbox that each image covers from the top left, int [n, 2]; None without padding."""
    if cache.fit != "letterbox" or cache.image_size is None or not len(cache.dataset.sizes):
        return None
    sizes: np.ndarray = resizing.letterbox_size(tf.constant(cache.dataset.sizes), cache.image_size).numpy()
    return sizes if (sizes != cache.image_size).any() else None
