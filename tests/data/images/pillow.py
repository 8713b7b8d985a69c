"""Pillow's resizing in floating point. Its 8-bit bicubic resizing clips between the two directions."""

import numpy as np
from PIL import Image


def resized(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Returns an image [height, width, channels] at a size (height, width): float32, clipped to [0, 255]."""
    method = Image.Resampling[interpolation.upper()]
    channels = [
        np.asarray(Image.fromarray(channel.astype(np.float32)).resize(size[::-1], method))
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1).clip(0, 255)
