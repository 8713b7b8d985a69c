"""Images as proposers take them: any usual array as pixels of one kind."""

import numpy as np

from tfeff.errors import UserError


def check_sides(image: np.ndarray) -> None:
    """Raises UserError for an image [height, width, ...] whose corners 16 bits cannot hold."""
    if max(image.shape[:2]) > 65535:
        raise UserError(f"an image of {image.shape[0]} x {image.shape[1]} pixels; sides should be below 65,536")


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Any usual array of pixels as uint8 [height, width, 3].

    Raises:
        UserError: it has another shape or type, no pixels, or values that are not finite.
    """
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4) or not pixels.size:
        raise UserError(
            f"an image of shape {np.shape(image)}; it should be [height, width] or [height, width, 1, 3 or 4 channels]"
        )
    check_sides(pixels)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(pixels.dtype, np.floating):
        if not np.isfinite(pixels).all():
            raise UserError("an image with values that are not finite; mend them, or leave the image out")
        scale = 255.0 if pixels.min() >= 0 and pixels.max() <= 1 else 1.0
        pixels = np.rint(np.clip(pixels * scale, 0, 255)).astype(np.uint8)
    elif pixels.dtype != np.uint8 and np.issubdtype(pixels.dtype, np.integer):
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise UserError(f"an image of {pixels.dtype}; it should be of uint8, uint16 or floats")
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return np.ascontiguousarray(pixels[..., :3])
