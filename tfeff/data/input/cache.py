"""The decoded images of a dataset, kept in memory, on disk or decoded on the fly.

Images of one size are rows of an array. Whole images, which keep their aspect ratios, are stored one after the other.
"""

import contextlib
import hashlib
import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfeff.data.dataset import Dataset
from tfeff.data.images import resizing
from tfeff.data.images.storage import host_constant
from tfeff.data.images.unreadable import IN_RUN, REPLACE, unreadable_images
from tfeff.data.input.disk_cache import DiskCache
from tfeff.errors import UserError, nearest
from tfeff.execution.resources import free_memory

CACHES = ("memory", "disk", "none")
WHOLE = "whole"
CORRUPT_IMAGES = ("error", "skip")
Progress = Callable[[int, int], None]
_CHUNK = 256  # Images that the decoding threads pass to Python at a time.
_DECODER = "upright"  # Changes with what files are decoded to, so that older caches on disk are not used.


@dataclass(frozen=True)
class CorruptImage:
    """An image that could not be read.

    Attributes:
        id: its id in the dataset, such as its path.
        reason: the decoder's message.
    """

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageCache:
    """n decoded images; opened by `ImageCache.open`.

    Attributes:
        dataset: labels, objects and ids of the images, without those that were skipped.
        image_size: (height, width) of every image, or that each whole image covers; None: images are not resized.
        images: uint8 [m, height, width, channels], m >= n, in host memory or memory-mapped; of whole images, uint8
            [bytes]. None if images are not cached.
        rows: int64 [n], the row in `images`, or in `layout`, of each image of the dataset.
        skipped: the corrupt images, which `dataset` lacks.
        fit: how images were brought to `image_size`, a key of `resizing.FITS`.
        interpolation: how they were resized, a key of `resizing.FILTERS`.
        layout: layout of cached whole images, int64 [m, 3]: where each starts in `images`, its height and its width.
    """

    dataset: Dataset
    image_size: tuple[int, int] | None
    images: tf.Tensor | None
    rows: np.ndarray
    skipped: tuple[CorruptImage, ...] = ()
    fit: str = "stretch"
    interpolation: str = "bilinear"
    layout: np.ndarray | None = None

    @classmethod
    def open(
        cls,
        dataset: Dataset,
        image_size: tuple[int, int] | None = None,
        *,
        fit: str = "stretch",
        interpolation: str = "bilinear",
        cache: str = "memory",
        directory: str | Path | None = None,
        corrupt_images: str = "error",
        advice: str = IN_RUN,
        progress: Progress | None = None,
        parallelism: int | None = None,
    ) -> "ImageCache":
        """Decodes every image once, in parallel; with `cache="disk"` only the first time.

        Without a cache, images are decoded here too, so that corrupt ones are found before training starts, and then
        again at each use.

        Args:
            dataset: the images.
            image_size: (height, width) of the cached images; default the dataset's own size. For `whole`, the size that
                each image covers; default: images are not resized.
            fit: `stretch` each image to `image_size`; `crop` or `letterbox`: keep the aspect ratio and crop or pad;
                `whole`: keep the aspect ratio.
            interpolation: `bilinear` or `bicubic`.
            cache: `memory`, `disk` or `none`.
            directory: folder of the disk cache.
            corrupt_images: `error`, or `skip` to skip them and list them in `skipped`.
            advice: what to do about an error, see `unreadable_images`.
            progress: called with (images done, total images).
            parallelism: decoding threads; default one per core.

        Raises:
            UserError: images cannot be read (the message counts them and lists the first), no images or none of a class
                are left, they do not fit in the memory or on the disk, or invalid arguments.
        """
        options = (
            ("cache", cache, CACHES),
            ("fit", fit, resizing.FITS),
            ("interpolation", interpolation, resizing.FILTERS),
            ("corrupt_images", corrupt_images, CORRUPT_IMAGES),
        )
        for name, value, known in options:
            if value not in known:
                raise UserError(f'{name} = "{value}"; {nearest(value, known)}')
        if cache == "disk" and directory is None:
            raise UserError('cache = "disk" needs a directory')
        size = _size(dataset, image_size, fit)
        decoding = _Decoding(dataset, size, fit, interpolation, progress, parallelism or os.cpu_count() or 1)
        images, layout = None, None
        if cache == "none":
            reasons = decoding.run(None, None)
        elif cache == "memory":
            layout, shape = decoding.plan()
            _require_memory(dataset, math.prod(shape))
            array = np.zeros(shape, np.uint8)
            reasons = decoding.run(array, layout)
            with tf.device("CPU:0"):
                images = tf.convert_to_tensor(array)
        else:
            assert directory is not None
            folder = Path(directory) / f"images-{_key(dataset, size, fit, interpolation)}"
            disk, shape = DiskCache(folder), ()
            if fit != WHOLE:
                _, shape = decoding.plan()
                disk = DiskCache(folder, shape)
            note = disk.note()
            if note is None:
                layout, shape = decoding.plan()
                with DiskCache(folder, shape).filling() as (array, kept):
                    reasons = decoding.run(array, layout)
                    _require_intact(dataset, reasons, corrupt_images, advice)
                    corrupt = [[int(index), reason] for index, reason in reasons.items()]
                    kept["note"] = corrupt if layout is None else {"corrupt": corrupt, "sizes": layout[:, 1:].tolist()}
            elif fit == WHOLE:
                reasons = dict(note["corrupt"])
                layout, shape = _laid_out(np.array(note["sizes"], np.int64), dataset.channels)
            else:
                reasons = dict(note)
            if note is not None and progress:
                progress(len(dataset), len(dataset))
            images = _memory_mapped(disk.array_path, shape)
        _require_intact(dataset, reasons, corrupt_images, advice)
        rows = np.setdiff1d(np.arange(len(dataset)), np.fromiter(reasons, np.int64, len(reasons)))
        skipped = tuple(CorruptImage(dataset.ids[index], reason) for index, reason in reasons.items())
        taken = dataset.take(rows) if skipped else dataset
        return cls(taken, size, images, rows, skipped, fit, interpolation, layout)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def uniform(self) -> bool:
        """Whether all images have the size `image_size`."""
        return self.fit != WHOLE

    @property
    def form(self) -> tuple[object, ...]:
        """All that determines the pixels of an image, besides its file."""
        return self.image_size, self.fit, self.interpolation

    def take(self, indices: np.ndarray) -> "ImageCache":
        """Returns the images at `indices` (int [m]), in that order; pixels are shared, not copied."""
        indices = np.asarray(indices, np.int64)
        return replace(self, dataset=self.dataset.take(indices), rows=self.rows[indices])

    def chunks(self, count: int) -> Iterator[np.ndarray | list[np.ndarray]]:
        """Yields all images in order, `count` at a time: uint8 [<= count, height, width, channels].

        Whole images, which differ in size, come as lists.

        Raises:
            UserError: an image that is not cached can no longer be read.
        """
        if self.images is not None and self.uniform:
            for start in range(0, len(self), count):
                with tf.device("CPU:0"):  # A GPU would copy all images for each chunk.
                    chunk = tf.gather(self.images, self.rows[start : start + count])
                yield chunk.numpy()
            return
        images = tf.data.Dataset.range(len(self)).map(self.read, num_parallel_calls=os.cpu_count())
        elements, done = images.as_numpy_iterator(), 0
        try:
            while chunk := list(itertools.islice(elements, count)):
                yield np.stack(chunk) if self.uniform else chunk
                done += len(chunk)
        except (tf.errors.OpError, UserError) as error:
            candidates = range(done, min(done + count, len(self)))
            raise self.unreadable(candidates) or self.unstable(candidates[0]) from error

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """Returns one image, decoded anew if it is not cached: scalar int64 -> uint8 [height, width, channels]."""
        if self.images is None:
            return _fitted(self.dataset.read(index), self.image_size, self.fit, self.interpolation)
        row = tf.gather(self._rows, index)
        if self.layout is None:
            return tf.gather(self.images, row)
        start, height, width = tf.unstack(tf.gather(self._layout, row))
        channels = self.dataset.channels
        pixels = tf.slice(self.images, [start], [height * width * channels])
        return tf.reshape(pixels, [height, width, channels])

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns several images of one size that are cached: int64 [n] -> uint8 [n, height, width, channels]."""
        return tf.gather(self.images, tf.gather(self._rows, indices))

    @cached_property
    def _rows(self) -> tf.Tensor:
        return host_constant(self.rows)

    @cached_property
    def _layout(self) -> tf.Tensor:
        return host_constant(self.layout)

    def unreadable(self, candidates: Sequence[int]) -> UserError | None:
        """Returns the error for the first of some images that can no longer be read; reads them to find out."""
        for index in candidates:
            try:
                self.read(tf.constant(index, tf.int64))
            except (tf.errors.OpError, UserError, OSError, ValueError) as error:
                return UserError(
                    f"{self.dataset.ids[index]} can no longer be read: {_reason(error)}; "
                    "restore it, and do not change images in use without a cache"
                )
        return None

    def unstable(self, index: int) -> UserError:
        """Returns the error for a failed read near `index` that does not fail again."""
        return UserError(
            f"reading {self.dataset.ids[index]} or one of the next images failed once and then succeeded; "
            "check the disk"
        )


@dataclass(frozen=True)
class _Decoding:
    """One pass over all images of a dataset."""

    dataset: Dataset
    size: tuple[int, int] | None
    fit: str
    interpolation: str
    progress: Progress | None
    parallelism: int

    def plan(self) -> tuple[np.ndarray | None, tuple[int, ...]]:
        """Returns the layout of whole images, from their headers, else None; the shape of the array of all images."""
        if self.fit != WHOLE:
            assert self.size is not None
            return None, (len(self.dataset), *self.size, self.dataset.channels)
        sizes = self.dataset.sizes if len(self.dataset.sizes) else self._sizes()
        if self.size is not None:
            sizes = resizing.whole_size(tf.constant(sizes, tf.int32), self.size).numpy()
        return _laid_out(sizes.astype(np.int64), self.dataset.channels)

    def run(self, array: np.ndarray | None, layout: np.ndarray | None) -> dict[int, str]:
        """Writes each image into `array` (None: only decodes it); returns index -> reason of failures.

        Args:
            array: uint8 [n, height, width, channels]; with a layout, uint8 [bytes].
            layout: layout of whole images.
        """
        n = len(self.dataset)
        done = np.zeros(n, bool)
        report = self.progress or (lambda done, total: None)
        report(0, n)

        def store(index: int, image: np.ndarray) -> None:
            if array is None:
                return
            place = array[index]
            if layout is not None:
                start, height, width = layout[index].tolist()
                place = array[start : start + height * width * image.shape[2]].reshape(height, width, -1)
            if place.shape != image.shape:
                raise ValueError(f"its header says {place.shape[:2]} pixels, it has {image.shape[:2]}")
            place[:] = image

        for indices, images in self._chunks(with_images=array is not None):
            for index, image in zip(indices, images, strict=True):
                with contextlib.suppress(ValueError):
                    store(index, image)
                    done[index] = True
            report(int(done.sum()), n)
        corrupt: dict[int, str] = {}
        # The parallel pass drops failures silently; reading them again one by one gives the reasons.
        for index in np.flatnonzero(~done):
            try:
                store(int(index), self._read(tf.constant(index)).numpy())
            except (tf.errors.OpError, UserError, OSError, ValueError) as error:
                corrupt[int(index)] = _reason(error)
        report(n, n)
        return corrupt

    def _read(self, index: tf.Tensor) -> tf.Tensor:
        return _fitted(self.dataset.read(index), self.size, self.fit, self.interpolation)

    def _sizes(self) -> np.ndarray:
        """Returns (height, width) of each stored image, int64 [n, 2]; 1 x 1 if the header cannot be read."""

        def size(index: int) -> tuple[int, int]:
            try:
                return self.dataset.images.size(index)
            except (UserError, OSError):
                return 1, 1  # decoding finds the reason

        with ThreadPoolExecutor(self.parallelism) as threads:
            return np.array(list(threads.map(size, range(len(self.dataset)))), np.int64)

    def _chunks(self, *, with_images: bool) -> Iterator[tuple[np.ndarray, Sequence[np.ndarray]]]:
        """Yields (indices, images) of readable images in chunks, in any order.

        Without `with_images`, the second item is a placeholder.
        """

        def element(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return index, self._read(index) if with_images else tf.size(self.dataset.read(index))

        options = tf.data.Options()
        options.deterministic = False
        options.threading.private_threadpool_size = self.parallelism
        options.threading.max_intra_op_parallelism = 1
        indices = tf.data.Dataset.range(len(self.dataset))
        elements = indices.map(element, num_parallel_calls=self.parallelism).ignore_errors(log_warning=False)
        if self.fit != WHOLE or not with_images:
            yield from elements.batch(_CHUNK).prefetch(2).with_options(options).as_numpy_iterator()
            return
        single = elements.prefetch(2 * _CHUNK).with_options(options).as_numpy_iterator()
        while chunk := list(itertools.islice(single, _CHUNK)):
            yield np.array([index for index, _ in chunk]), [image for _, image in chunk]


def _size(dataset: Dataset, image_size: tuple[int, int] | None, fit: str) -> tuple[int, int] | None:
    """Returns the size of the cached images, or that whole images cover; None if those are not resized."""
    size = image_size if fit == WHOLE else image_size or dataset.size
    if size is None and fit == WHOLE:
        return None
    if size is None:
        raise UserError(f"{dataset.name}: image sizes may differ; set image_size")
    if min(size) < 1:
        raise UserError(f"image_size {size} must be at least 1 pixel each way")
    return int(size[0]), int(size[1])


def _laid_out(sizes: np.ndarray, channels: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Lays out whole images of these sizes, int64 [n, 2], one after the other; returns layout and array shape."""
    ends = np.cumsum(sizes.prod(axis=1) * channels)
    starts = ends - sizes.prod(axis=1) * channels
    return np.column_stack([starts, sizes]), (int(ends[-1]),)


def _require_memory(dataset: Dataset, needed: int) -> None:
    """Refuses to keep more in memory than is free; the system would kill the process instead.

    The array is copied once, to a tensor.
    """
    free = free_memory()
    if 2 * needed > free:
        while_read, after, left = (f"{count / 1e6:,.0f} MB" for count in (2 * needed, needed, free))
        raise UserError(
            f"{dataset.name}: to keep {len(dataset):,} decoded images in memory takes {while_read} while they are read "
            f"({after} from then on), and {left} are free. Set data.cache=disk with data.cache_directory, or "
            "data.cache=none"
        )


def _fitted(image: tf.Tensor, size: tuple[int, int] | None, fit: str, interpolation: str) -> tf.Tensor:
    return image if size is None else resizing.FITS[fit](image, size, interpolation)


def _memory_mapped(path: Path, shape: tuple[int, ...]) -> tf.Tensor:
    """Returns a file's bytes as a tensor; the operating system loads pages on use and may drop them again."""
    with tf.device("CPU:0"):
        return tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=shape, memory_region_name=str(path))


def _key(dataset: Dataset, size: tuple[int, int] | None, fit: str, interpolation: str) -> str:
    form = "" if fit == "stretch" else f" {fit}"
    form += "" if interpolation == "bilinear" else f" {interpolation}"
    return hashlib.sha256(f"{_DECODER} {dataset.fingerprint} {size} {dataset.channels}{form}".encode()).hexdigest()[:20]


def _reason(error: Exception) -> str:
    """Returns the decoder's message without the names of graph nodes."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    if found := re.search(r"^(?:.*UserError: )?image \d+: (.*)", message):
        return found[1]
    return re.sub(r"\{\{.*?\}\}|\[Op:.*", "", message).strip().split("\n")[0]


def _require_intact(dataset: Dataset, corrupt: dict[int, str], corrupt_images: str, advice: str) -> None:
    if not corrupt:
        return
    reasons = {dataset.ids[index]: reason for index, reason in corrupt.items()}
    if corrupt_images == "error":
        raise UserError(unreadable_images(dataset.name, len(dataset), reasons, advice))
    found = unreadable_images(dataset.name, len(dataset), reasons, "")
    if len(corrupt) == len(dataset):
        raise UserError(f"{found}\nno images are left; {REPLACE}")
    if not dataset.has_labels:
        return
    emptied = np.setdiff1d(dataset.labels, np.delete(dataset.labels, list(corrupt)))
    if len(emptied):
        raise UserError(f'{found}\nwithout them, class "{dataset.class_names[emptied[0]]}" has no images')
