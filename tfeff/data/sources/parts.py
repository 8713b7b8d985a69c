"""Parts of the images of a source as images of their own: crops, tiles."""

import functools
import hashlib
import threading
from collections import Counter

import cv2
import numpy as np

from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.images.storage import ImageStorage
from tfeff.data.sources.source import Options, Source
from tfeff.execution.resources import cores

_DECODED = 16
"""Decoded images kept, or one per core, if these are more. Crops of one image follow each other."""
_DECODED_BYTES = 2**28
"""Of large images, so many fewer are kept."""


class Parts(Source):
    """Parts of every image of a source with objects.

    Args:
        name: how messages refer to it.
        source: a source with objects.
        options: how it is read.
    """

    def __init__(self, name: str, source: Source, options: Options) -> None:
        super().__init__(name, options)
        self.source = source

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the source."""
        return self.source.splits

    @property
    def drawn(self) -> bool:
        """Whether the source has no splits of its own."""
        return self.source.drawn

    @property
    def disjoint(self) -> bool:
        """Whether no image of the source can belong to two splits."""
        return self.source.disjoint

    def _described(self, dataset: Dataset, split: str) -> Dataset:
        """Returns the parts as they are: their images have said it all."""
        return dataset


class _Image:
    """A decoded image, uint8 [height, width, 3]."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """The mean color, [3]."""
        return np.rint(self.pixels.mean(axis=(0, 1)))


class CroppedImages(ImageStorage):
    """Parts of the images of a dataset.

    Args:
        dataset: the images.
        owners: int [n], the image of each part.
        boxes_yxyx: float32 [n, 4], in pixels.
        context: see `Options.crop_context`.
    """

    def __init__(self, dataset: Dataset, owners: np.ndarray, boxes_yxyx: np.ndarray, context: float) -> None:
        super().__init__()
        self._dataset, self._owners, self._boxes, self._context = dataset, owners, boxes_yxyx, context
        largest = 3 * int(dataset.sizes.astype(np.int64).prod(axis=1).max()) if len(dataset.sizes) else 1
        self._kept = max(2, min(max(_DECODED, cores()), _DECODED_BYTES // largest))
        self._whole = functools.lru_cache(maxsize=self._kept)(self._decode)
        self._locks = [threading.Lock() for _ in range(self._kept)]

    def __len__(self) -> int:
        return len(self._owners)

    def encoded(self, index: int) -> bytes:
        """Returns a part as a PNG file."""
        return cv2.imencode(".png", self._decoded(index)[..., ::-1])[1].tobytes()

    def fingerprint(self, channels: int) -> str:
        """See `ImageStorage`."""
        made = hashlib.sha256(f"{channels} {self._dataset.images.fingerprint(channels)} {self._context}".encode())
        made.update(self._boxes.tobytes() + np.ascontiguousarray(self._owners).tobytes())
        return made.hexdigest()

    def stamp(self, index: int) -> bytes:
        """See `ImageStorage`."""
        made = hashlib.blake2b(self._dataset.images.stamp(int(self._owners[index])), digest_size=8)
        made.update(f"{self._context}".encode() + np.ascontiguousarray(self._boxes[index]).tobytes())
        return made.digest()

    def origin(self, index: int) -> bytes:
        """Returns that of the image."""
        return self._dataset.images.origin(int(self._owners[index]))

    def _decode(self, image: int) -> _Image:
        return _Image(decoding.decode(self._dataset.encoded(image), self._dataset.ids[image]))

    def _decoded(self, index: int, shrinkage: decoding.Shrinkage | None = None, channels: int = 3) -> np.ndarray:
        image = int(self._owners[index])
        with self._locks[image % self._kept]:  # Threads that crop the same image wait while one of them decodes it.
            whole = self._whole(image)
        return decoding.in_channels(_cropped(whole, self._boxes[index], self._context), channels)


def window(boxes_yxyx: np.ndarray, sizes: np.ndarray, context: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes with their context in whole pixels, at least one in each direction: top left and bottom right.

    Args:
        boxes_yxyx: float32 [..., 4].
        sizes: int [..., 2], (height, width) of the image of each box.
        context: see `Options.crop_context`.

    Returns:
        int64 [..., 2], twice.
    """
    margin = context * (boxes_yxyx[..., 2:] - boxes_yxyx[..., :2])
    low = np.minimum(np.floor(boxes_yxyx[..., :2] - margin + 0.5), sizes - 1).astype(np.int64)
    return low, np.maximum(np.floor(boxes_yxyx[..., 2:] + margin + 0.5), low + 1).astype(np.int64)


def _cropped(image: _Image, box: np.ndarray, context: float) -> np.ndarray:
    """Returns a box and its context; beyond the image, in its mean color."""
    pixels, size = image.pixels, np.array(image.pixels.shape[:2])
    low, high = window(box, size, context)
    (top, left), (bottom, right) = np.maximum(low, 0), np.minimum(high, size)
    inside = pixels[top:bottom, left:right]
    if (low >= 0).all() and (high <= size).all():
        return np.ascontiguousarray(inside)
    shown = np.empty((*(high - low), 3), np.uint8)
    shown[:] = image.mean
    shown[top - low[0] : bottom - low[0], left - low[1] : right - low[1]] = inside
    return shown


def part_ids(dataset: Dataset, owners: np.ndarray, boxes_yxyx: np.ndarray) -> list[str]:
    """Returns an id of each part: that of the image, the box, and a number from the second one with the same pixels."""
    ids, known = list[str](), Counter[str]()
    for owner, box in zip(owners, boxes_yxyx, strict=True):
        id_ = f"{dataset.ids[owner]} {_coordinates(box)}"
        known[id_] += 1
        ids.append(id_ if known[id_] == 1 else f"{id_} #{known[id_]}")
    return ids


def _coordinates(box: np.ndarray) -> str:
    return f"[{', '.join(f'{side:.0f}' for side in box)}]"
