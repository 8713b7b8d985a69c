"""One pass over all images of a dataset, which decodes and resizes each of them."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfeff.data.dataset import Dataset
from tfeff.data.images import pixels, resizing
from tfeff.data.images.header import MOST_SHARE, most_pixels
from tfeff.errors import UserError

WHOLE = "whole"
Progress = Callable[[int, int], None]
_CHUNK = 256  # Images that the decoding threads pass to Python at a time, and their bytes.
_CHUNK_BYTES = 2 << 20
_REPORTED = 64  # Images between two calls of `progress`.


@dataclass(frozen=True)
class Decoding:
    """How all images of a dataset are decoded.

    Attributes:
        dataset: the images.
        size: (height, width) of every image, or that each whole image covers; None: images are not resized.
        fit: how images are brought to that size, a key of `resizing.FITS`.
        interpolation: how they are resized, a key of `resizing.FILTERS`.
        reduced: whether JPEGs are decoded at a reduced size if they are much larger.
        progress: called with (images done, total images).
        parallelism: decoding threads.
    """

    dataset: Dataset
    size: tuple[int, int] | None
    fit: str
    interpolation: str
    reduced: bool
    progress: Progress
    parallelism: int

    def plan(self) -> tuple[np.ndarray, int]:
        """Lays out the images one after the other; whole images by their headers.

        Returns:
            layout: int64 [n, 3], where each image starts, its height and its width.
            size: bytes of all images.
        """
        if self.fit != WHOLE:
            sizes = np.tile(np.array(self.size, np.int64), (len(self.dataset), 1))
        else:
            sizes = self._sizes()
            if self.size is not None:
                sizes = resizing.whole_size(tf.constant(sizes, tf.int32), self.size).numpy().astype(np.int64)
                sizes[sizes.prod(axis=1) > most_pixels()] = 1  # decoding refuses these
        sizes = sizes.astype(np.int64)
        ends = np.cumsum(sizes.prod(axis=1) * self.dataset.channels)
        return np.column_stack([ends - sizes.prod(axis=1) * self.dataset.channels, sizes]), int(ends[-1])

    def run(self, memory: np.ndarray | None, layout: np.ndarray | None) -> dict[int, str]:
        """Writes each image into memory (None: only decodes it); returns index -> reason of failures.

        Args:
            memory: uint8 [bytes].
            layout: see `plan`.
        """
        n = len(self.dataset)
        done = np.zeros(n, bool)
        self.progress(0, n)

        def store(index: int, image: np.ndarray) -> None:
            if memory is None or layout is None:
                return
            start, height, width = layout[index].tolist()
            if image.shape[:2] != (height, width):
                raise ValueError(f"its header says {(height, width)} pixels, it has {image.shape[:2]}")
            memory[start : start + image.size] = image.ravel()

        for number, (index, image) in enumerate(self._decoded(memory is not None), 1):
            with contextlib.suppress(ValueError):
                store(index, image)
                done[index] = True
            if number % _REPORTED == 0:
                self.progress(number, n)
        # The parallel pass drops failures silently; reading them again one by one gives the reasons.
        corrupt = self.failures(np.flatnonzero(~done).tolist(), store)
        self.progress(n, n)
        return corrupt

    def doubtful(self) -> list[int]:
        """Returns the images that, by their headers, are too thin for the size, or may have more pixels than are
        decoded here."""
        if self.size is None and self.dataset.images.sizes() is None:
            return []
        sizes = self._sizes()
        found = sizes.prod(axis=1, dtype=np.int64) > most_pixels() // MOST_SHARE
        if self.size is not None:
            found |= resizing.infeasible(sizes, self.size, self.fit)
        indices: list[int] = np.flatnonzero(found).tolist()
        return indices

    def failures(
        self, indices: Iterable[int], store: Callable[[int, np.ndarray], None] = lambda index, image: None
    ) -> dict[int, str]:
        """Decodes some images one by one; returns index -> reason of those that cannot be read, or stored."""
        corrupt: dict[int, str] = {}
        for index in indices:
            try:
                store(index, self.read(tf.constant(index, tf.int64)).numpy())
            except (tf.errors.OpError, UserError, OSError, ValueError) as error:
                corrupt[index] = reason(error)
        return corrupt

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """Returns one image: scalar int64 -> uint8 [height, width, channels]."""
        return resized(self.dataset, index, self.size, self.fit, self.interpolation, self.reduced)

    def _sizes(self) -> np.ndarray:
        """Returns (height, width) of each stored image, int [n, 2]; 1 x 1 if the header cannot be read."""
        known = self.dataset.sizes if len(self.dataset.sizes) else self.dataset.images.sizes()
        if known is not None:
            return np.maximum(known, 1)

        def size(index: int) -> tuple[int, int]:
            try:
                return self.dataset.images.size(index)
            except (UserError, OSError):
                return 1, 1  # decoding finds the reason

        with ThreadPoolExecutor(self.parallelism) as threads:
            return np.array(list(threads.map(size, range(len(self.dataset)))), np.int64)

    def _decoded(self, with_images: bool) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (index, image) of readable images, in any order.

        Without `with_images`, the second item is a placeholder.
        """

        @tf.autograph.experimental.do_not_convert
        def element(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if with_images:
                return index, self.read(index)
            image = self.dataset.read(index)
            return index, tf.size(image if self.size is None else resizing.feasible(image, self.size, self.fit))

        options = pixels.options()
        options.deterministic = False
        options.threading.private_threadpool_size = self.parallelism
        indices = tf.data.Dataset.range(len(self.dataset))
        elements = indices.map(element, num_parallel_calls=self.parallelism).ignore_errors(log_warning=False)
        if self.fit == WHOLE and with_images:
            yield from elements.prefetch(2 * self.parallelism).with_options(options).as_numpy_iterator()
            return
        height, width = self.size or (1, 1)
        count = min(_CHUNK, 1 + _CHUNK_BYTES // (height * width * self.dataset.channels))
        for chunk in elements.batch(count).prefetch(2).with_options(options).as_numpy_iterator():
            yield from zip(*chunk, strict=True)


def form_of(size: tuple[int, int] | None, fit: str, interpolation: str, reduced: bool) -> tuple[object, ...]:
    """Returns all that determines the pixels of an image, besides its file; see `Decoding`."""
    return size, fit, interpolation, *(("reduced",) if reduced else ())


def resized(
    dataset: Dataset, index: tf.Tensor, size: tuple[int, int] | None, fit: str, interpolation: str, reduced: bool
) -> tf.Tensor:
    """Returns one image at the size of a cache: scalar int64 -> uint8 [height, width, channels]; see `Decoding`."""
    if size is None:
        return dataset.read(index)
    shrinkage = (lambda native: resizing.shrinkage(native, size, fit)) if reduced else None
    return resizing.FITS[fit](dataset.read(index, shrinkage), size, interpolation)


def reason(error: Exception) -> str:
    """Returns the decoder's message without the names of graph nodes."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    if found := re.search(r"^(?:.*UserError: )?image \d+: (.*)", message):
        return found[1]
    return re.sub(r"\{\{.*?\}\}|\[Op:.*", "", message).strip().split("\n")[0]
