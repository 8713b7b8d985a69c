"""The decoded images of a dataset, kept in memory, on disk or decoded on the fly."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfeff.data.dataset import Dataset
from tfeff.data.images import resizing
from tfeff.data.input.disk_cache import DiskCache
from tfeff.errors import UserError, nearest

CACHES = ("memory", "disk", "none")
FITS = (*resizing.FITS, "none")
CORRUPT_IMAGES = ("error", "skip")
Progress = Callable[[int, int], None]
_CHUNK = 256  # Images that the decoding threads pass to Python at a time.
_LISTED = 10  # Corrupt files listed in a message.


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
    """n decoded images, usually of one size; opened by `ImageCache.open`.

    Attributes:
        dataset: labels, objects and ids of the images, without those that were skipped.
        image_size: (height, width) of every image; None if images keep their own sizes.
        images: uint8 [m, height, width, channels], m >= n, in host memory or memory-mapped; None if not cached.
        rows: int64 [n], the row in `images` of each image of the dataset.
        skipped: the corrupt images, which `dataset` lacks.
        fit: how images were brought to `image_size`: `stretch`, `crop`, `letterbox` (see `resizing`) or `none`.
    """

    dataset: Dataset
    image_size: tuple[int, int] | None
    images: tf.Tensor | None
    rows: np.ndarray
    skipped: tuple[CorruptImage, ...] = ()
    fit: str = "stretch"

    @classmethod
    def open(
        cls,
        dataset: Dataset,
        image_size: tuple[int, int] | None = None,
        *,
        fit: str = "stretch",
        cache: str = "memory",
        directory: str | Path | None = None,
        corrupt_images: str = "error",
        progress: Progress | None = None,
        parallelism: int | None = None,
    ) -> "ImageCache":
        """Decodes every image once, in parallel; with `cache="disk"` only the first time.

        Without a cache, images are decoded here too, so that corrupt ones are found before training starts, and then
        again at each use.

        Args:
            dataset: the images.
            image_size: (height, width) of the cached images; default the dataset's own size.
            fit: `stretch` each image to `image_size`; `crop` or `letterbox`: keep the aspect ratio and crop or pad;
                `none`: keep each image's own size (only without a cache).
            cache: `memory`, `disk` or `none`.
            directory: folder of the disk cache.
            corrupt_images: `error`, or `skip` to skip them and list them in `skipped`.
            progress: called with (images done, total images).
            parallelism: decoding threads; default one per core.

        Raises:
            UserError: images cannot be read (the message counts them and lists the first), no images or none of a class
                are left, or invalid arguments.
        """
        options = (("cache", cache, CACHES), ("fit", fit, FITS), ("corrupt_images", corrupt_images, CORRUPT_IMAGES))
        for name, value, known in options:
            if value not in known:
                raise UserError(f'{name} = "{value}"; {nearest(value, known)}')
        size = _size(dataset, image_size, fit, cache)
        decoding = _Decoding(dataset, size, fit, progress, parallelism or os.cpu_count() or 1)
        images = None
        if cache == "none" or size is None:
            reasons = decoding.run(None)
        elif cache == "memory":
            array = np.zeros((len(dataset), *size, dataset.channels), np.uint8)
            reasons = decoding.run(array)
            with tf.device("CPU:0"):
                images = tf.convert_to_tensor(array)
        else:
            if directory is None:
                raise UserError('cache = "disk" needs a directory')
            shape = (len(dataset), *size, dataset.channels)
            disk = DiskCache(Path(directory) / f"images-{_key(dataset, size, fit)}", shape)
            corrupt = disk.note()
            if corrupt is None:
                with disk.filling() as (array, kept):
                    kept["note"] = [[int(index), reason] for index, reason in decoding.run(array).items()]
                    _require_intact(dataset, dict(kept["note"]), corrupt_images)
                corrupt = kept["note"]
            elif progress:
                progress(len(dataset), len(dataset))
            reasons = dict(corrupt)
            images = _memory_mapped(disk.array_path, shape)
        _require_intact(dataset, reasons, corrupt_images)
        rows = np.setdiff1d(np.arange(len(dataset)), np.fromiter(reasons, np.int64, len(reasons)))
        skipped = tuple(CorruptImage(dataset.ids[index], reason) for index, reason in reasons.items())
        return cls(dataset.take(rows) if skipped else dataset, size, images, rows, skipped, fit)

    def __len__(self) -> int:
        return len(self.dataset)

    def take(self, indices: np.ndarray) -> "ImageCache":
        """The images at `indices` (int [m]), in that order; pixels are shared, not copied."""
        indices = np.asarray(indices, np.int64)
        return replace(self, dataset=self.dataset.take(indices), rows=self.rows[indices])

    def chunks(self, count: int) -> Iterator[np.ndarray]:
        """All images in order, `count` at a time: uint8 [<= count, height, width, channels].

        Raises:
            UserError: an image that is not cached can no longer be read.
            ValueError: images keep their own sizes.
        """
        if self.image_size is None:
            raise ValueError(f"{self.dataset.name}: images of different sizes cannot be stacked")
        if self.images is not None:
            for start in range(0, len(self), count):
                with tf.device("CPU:0"):  # A GPU would copy all images for each chunk.
                    chunk = tf.gather(self.images, self.rows[start : start + count])
                yield chunk.numpy()
        else:
            images = tf.data.Dataset.range(len(self)).map(self.read, num_parallel_calls=os.cpu_count())
            done = 0
            try:
                for chunk in images.batch(count).as_numpy_iterator():
                    yield chunk
                    done += len(chunk)
            except tf.errors.OpError as error:
                candidates = range(done, min(done + count, len(self)))
                raise self.unreadable(candidates) or self.unstable(candidates[0]) from error

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """One image, decoded anew: scalar int64 -> uint8 [*image_size, channels]."""
        return _fitted(self.dataset.read(index), self.image_size, self.fit)

    def unreadable(self, candidates: Sequence[int]) -> UserError | None:
        """The error for the first of some images that can no longer be read; reads them to find out."""
        for index in candidates:
            try:
                self.read(tf.constant(index, tf.int64))
            except (tf.errors.OpError, ValueError) as error:
                return UserError(
                    f"{self.dataset.ids[index]} can no longer be read: {_reason(error)}; "
                    "restore it, and do not change images in use without a cache"
                )
        return None

    def unstable(self, index: int) -> UserError:
        """The error for a failed read near `index` that does not fail again."""
        return UserError(
            f"{self.dataset.ids[index]}, or an image soon after it, could once not be read; check the disk"
        )


@dataclass(frozen=True)
class _Decoding:
    """One pass over all images of a dataset."""

    dataset: Dataset
    size: tuple[int, int] | None
    fit: str
    progress: Progress | None
    parallelism: int

    def run(self, array: np.ndarray | None) -> dict[int, str]:
        """Writes each image into its row of `array` (None: only decodes it); returns index -> reason of failures."""
        n = len(self.dataset)
        done = np.zeros(n, bool)
        report = self.progress or (lambda done, total: None)
        report(0, n)
        for chunk in self._chunks(array is not None):
            if array is not None:
                array[chunk["index"]] = chunk["image"]
            done[chunk["index"]] = True
            report(int(done.sum()), n)
        corrupt: dict[int, str] = {}
        # The parallel pass drops failures silently; reading them again one by one gives the reasons.
        for index in np.flatnonzero(~done):
            try:
                image = self._read(tf.constant(index))
                if array is not None:
                    array[index] = image
            except (tf.errors.OpError, ValueError) as error:
                corrupt[int(index)] = _reason(error)
        report(n, n)
        return corrupt

    def _read(self, index: tf.Tensor) -> tf.Tensor:
        return _fitted(self.dataset.read(index), self.size, self.fit)

    def _chunks(self, with_images: bool) -> Iterator[dict[str, np.ndarray]]:
        def element(index: tf.Tensor) -> dict[str, tf.Tensor]:
            if with_images:
                return {"index": index, "image": self._read(index)}
            return {"index": index, "decoded_size": tf.size(self.dataset.read(index))}

        options = tf.data.Options()
        options.deterministic = False
        options.threading.private_threadpool_size = self.parallelism
        options.threading.max_intra_op_parallelism = 1
        indices = tf.data.Dataset.range(len(self.dataset))
        elements = indices.map(element, num_parallel_calls=self.parallelism)
        elements = elements.ignore_errors(log_warning=False).batch(_CHUNK).prefetch(2)
        return elements.with_options(options).as_numpy_iterator()


def _size(dataset: Dataset, image_size: tuple[int, int] | None, fit: str, cache: str) -> tuple[int, int] | None:
    """The size of the cached images; None if they keep their own."""
    if fit == "none":
        if image_size is not None or cache != "none":
            raise UserError('fit = "none" keeps the sizes of images; it needs cache = "none" and no image_size')
        return None
    size = image_size or dataset.size
    if size is None:
        raise UserError(f"{dataset.name}: image sizes may differ; set image_size")
    if min(size) < 1:
        raise UserError(f"image_size {size} must be at least 1 pixel each way")
    return int(size[0]), int(size[1])


def _fitted(image: tf.Tensor, size: tuple[int, int] | None, fit: str) -> tf.Tensor:
    return image if size is None else resizing.FITS[fit](image, size)


def _memory_mapped(path: Path, shape: tuple[int, ...]) -> tf.Tensor:
    """A file's bytes as a tensor; the operating system loads pages on use and may drop them again."""
    with tf.device("CPU:0"):
        return tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=shape, memory_region_name=str(path))


def _key(dataset: Dataset, size: tuple[int, int], fit: str) -> str:
    form = "" if fit == "stretch" else f" {fit}"
    return hashlib.sha256(f"{dataset.fingerprint} {size} {dataset.channels}{form}".encode()).hexdigest()[:20]


def _reason(error: Exception) -> str:
    """The decoder's message without the names of graph nodes."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return re.sub(r"\{\{.*?\}\}|\[Op:.*", "", message).strip().split("\n")[0]


def _require_intact(dataset: Dataset, corrupt: dict[int, str], corrupt_images: str) -> None:
    if not corrupt:
        return
    listed = "".join(f"\n  {dataset.ids[index]}: {reason}" for index, reason in list(corrupt.items())[:_LISTED])
    more = f"\n  and {len(corrupt) - _LISTED} more" if len(corrupt) > _LISTED else ""
    found = f"{dataset.name}: {len(corrupt)} of {len(dataset)} images cannot be read:{listed}{more}"
    if corrupt_images == "error":
        raise UserError(f'{found}\nreplace or remove them, or set data.corrupt_images = "skip"')
    if len(corrupt) == len(dataset):
        raise UserError(f"{found}\nno images are left")
    if not dataset.has_labels:
        return
    emptied = np.setdiff1d(dataset.labels, np.delete(dataset.labels, list(corrupt)))
    if len(emptied):
        raise UserError(f'{found}\nwithout them, class "{dataset.class_names[emptied[0]]}" has no images')
