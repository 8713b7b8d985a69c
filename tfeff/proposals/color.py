"""Color spaces for segmentation and color histograms (Uijlings et al., IJCV 2013, section 3.2.1)."""

import cv2
import numpy as np

SPACES = ("hsv", "lab", "rgi", "gray", "rgb")


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
