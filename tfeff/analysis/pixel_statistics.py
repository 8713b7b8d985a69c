"""Mean and standard deviation of the images of a dataset, in color and in gray, for `model.mean` and `model.std`."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.input.statistics import Histogram
from tfeff.errors import UserError
from tfeff.execution.resources import cores

T = TypeVar("T")
CHUNK = min(32, 2 * cores())
"""Images that are decoded at a time; each can take tens of megabytes."""


@dataclass(frozen=True)
class PixelStatistics:
    """Statistics over all pixels of all images, at their own sizes, relative to 255.

    Attributes:
        color: mean and standard deviation of red, green and blue.
        gray: mean and standard deviation of the images in gray (ITU-R BT.601).
    """

    color: tuple[tuple[float, ...], tuple[float, ...]]
    gray: tuple[tuple[float, ...], tuple[float, ...]]
    images: int
    unreadable: tuple[str, ...]

    def to_text(self) -> str:
        """Returns the statistics, also as settings."""
        lines = [f"{self.images:,} images, at their own sizes"]
        for name, channels, (mean, std) in (("color", 3, self.color), ("gray", 1, self.gray)):
            settings = (
                f"--config.model.{key}={','.join(f'{255 * value:.1f}' for value in values)}"
                for key, values in (("mean", mean), ("std", std))
            )
            lines += [
                f"{name:<6} mean {' '.join(f'{value:.3f}' for value in mean)}   "
                f"standard deviation {' '.join(f'{value:.3f}' for value in std)}",
                f"       --config.data.channels={channels} {' '.join(settings)}",
            ]
        if self.unreadable:
            lines.append(f"skipped {len(self.unreadable)} unreadable images, the first is {self.unreadable[0]}")
        return "\n".join(lines)


def measure(dataset: Dataset, report: Callable[[int, int], None] = lambda done, total: None) -> PixelStatistics:
    """Reads all images of a dataset once; `report` is called with the number of images so far, and of all.

    Raises:
        UserError: no image can be read.
    """
    color, gray, unreadable = Histogram(3), Histogram(1), list[str]()
    for index, pixels in enumerate(in_chunks(partial(pixels_of, dataset), range(len(dataset)), report)):
        if pixels is None:
            unreadable.append(dataset.ids[index])
            continue
        color.add(pixels)
        gray.add(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., np.newaxis])
    if len(unreadable) == len(dataset):
        raise UserError(f"{dataset.name}: none of its {len(dataset)} images can be read, such as {unreadable[0]}")
    return PixelStatistics(_relative(color), _relative(gray), len(dataset) - len(unreadable), tuple(unreadable))


def in_chunks(function: Callable[[int], T], indices: Sequence[int], report: Callable[[int, int], None]) -> Iterator[T]:
    """Yields the results of a function for each index, in order, computed in threads, CHUNK at a time.

    `report` is as above.
    """
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(indices), CHUNK):
            part = indices[start : start + CHUNK]
            yield from threads.map(function, part)
            report(start + len(part), len(indices))


def pixels_of(dataset: Dataset, index: int) -> npt.NDArray[np.uint8] | None:
    """Returns an image, uint8 [height, width, 3]; None if it is unreadable."""
    try:
        return decoding.decode(dataset.encoded(index), dataset.ids[index])
    except (UserError, OSError):
        return None


def _relative(histogram: Histogram) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = (tuple((values.astype(float) / 255).tolist()) for values in histogram.statistics())
    return mean, std
