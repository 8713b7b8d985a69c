"""Channel statistics of a dataset, for the normalization layer of a network."""

import numpy as np

from tfeff.data.input.cache import ImageCache

_CHUNK = 64


def channel_statistics(cache: ImageCache) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of all images, on a scale of [0, 255].

    Computed from histograms, so the result does not depend on the order of images.

    Returns:
        mean: float32 [channels].
        std: float32 [channels]; 1 for constant channels, since it is a divisor.
    """
    count = np.zeros((cache.dataset.channels, 256), np.int64)
    for images in cache.chunks(_CHUNK):
        count += [np.bincount(channel, minlength=256) for channel in images.reshape(-1, images.shape[-1]).T]
    share = count / count.sum(axis=1, keepdims=True)
    levels = np.arange(256)
    mean = share @ levels
    std = np.sqrt(np.sum(share * (levels - mean[:, np.newaxis]) ** 2, axis=1))
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)
