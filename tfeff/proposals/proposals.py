"""The result of every proposer: the boxes of one image, best first."""

from dataclasses import dataclass

import numpy as np

from tfeff.errors import UserError

MOST_FLOAT = 511.0
"""Largest value of an image of floats; resampling may exceed 255 a bit."""


@dataclass(frozen=True, eq=False)
class ProposedBoxes:
    """n distinct boxes, best first. Their corners are whole pixels of the image at the proposer's working size.

    Attributes:
        cells: uint16 [n, 4], (top, left, bottom, right) in pixels at the working size.
        grid: working size, (height, width).
        size: size of the image, (height, width).
    """

    cells: np.ndarray
    grid: tuple[int, int]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def boxes_yxyx(self) -> np.ndarray:
        """Boxes in pixels of the image, float32 [n, 4]."""
        scale = np.array([self.size[0] / self.grid[0], self.size[1] / self.grid[1]] * 2)
        return (self.cells * scale).astype(np.float32)

    def first(self, count: int | None) -> "ProposedBoxes":
        """Returns the best `count` proposals; None returns all."""
        return ProposedBoxes(self.cells[:count], self.grid, self.size)


def unique(cells: np.ndarray) -> np.ndarray:
    """Removes repeated boxes [n, 4]; the first of each is kept, in order."""
    keys = np.ascontiguousarray(cells, np.uint16).view(np.uint64).ravel()
    _, first = np.unique(keys, return_index=True)
    return cells[np.sort(first)]


def check_sides(image: np.ndarray) -> None:
    """Raises UserError if box corners in an image [height, width, ...] do not fit into 16 bits."""
    if max(image.shape[:2]) > 65535:
        raise UserError(f"image of {image.shape[0]} x {image.shape[1]} pixels; each side must be below 65,536")


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Converts an array of pixels to uint8 [height, width, 3].

    Raises:
        UserError: unsupported shape or dtype, no pixels, or values that are not finite.
    """
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4) or not pixels.size:
        raise UserError(
            f"image of shape {np.shape(image)}; expected [height, width] or [height, width, 1, 3 or 4 channels]"
        )
    check_sides(pixels)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(pixels.dtype, np.floating):
        if not np.isfinite(pixels).all():
            raise UserError("image with values that are not finite; fix them, or skip the image")
        if (pixels.min() < 0 and pixels.max() <= 1) or pixels.max() > MOST_FLOAT:
            raise UserError(f"image with values from {pixels.min():g} to {pixels.max():g}; give 0 to 255, or 0 to 1")
        scale = 255.0 if pixels.min() >= 0 and pixels.max() <= 1 else 1.0
        pixels = np.rint(np.clip(pixels * scale, 0, 255)).astype(np.uint8)
    elif pixels.dtype != np.uint8 and np.issubdtype(pixels.dtype, np.integer):
        if pixels.min() < 0 or pixels.max() > 255:
            raise UserError(
                f"image with values from {pixels.min()} to {pixels.max()}; give 0 to 255, or a uint16 array"
            )
        pixels = pixels.astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise UserError(f"image of dtype {pixels.dtype}; expected an integer, float or bool dtype")
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return np.ascontiguousarray(pixels[..., :3])
