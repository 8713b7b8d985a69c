"""Channel statistics of a set, for the normalisation that opens a network."""

import numpy as np

from tfeff.data.input.cache import ImageCache

_CHUNK = 64


def channel_statistics(store: ImageCache) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of all images, in units of [0, 255].

    Levels are counted, so the result does not depend on any order.

    Returns:
        mean: float32 [channels].
        std: float32 [channels]; 1 where a channel is constant, since it divides.
    """
    count = np.zeros((store.dataset.channels, 256), np.int64)
    for images in store.chunks(_CHUNK):
        count += [np.bincount(channel, minlength=256) for channel in images.reshape(-1, images.shape[-1]).T]
    share = count / count.sum(axis=1, keepdims=True)
    levels = np.arange(256)
    mean = share @ levels
    std = np.sqrt(np.sum(share * (levels - mean[:, np.newaxis]) ** 2, axis=1))
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)
