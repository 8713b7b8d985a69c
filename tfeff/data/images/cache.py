"""The images of a source at one fixed size, kept in memory, on disk or not at all."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfeff.data.dataset import Dataset
from tfeff.data.images import preprocess
from tfeff.data.images.disk_cache import DiskCache
from tfeff.errors import UserError, nearest

CACHES = ("memory", "disk", "none")
CORRUPT_IMAGES = ("error", "skip")
Progress = Callable[[int, int], None]
_CHUNK = 256  # Images handed from the decoding threads to Python at a time.
_LISTED = 10  # Corrupt files named in a message.


@dataclass(frozen=True)
class CorruptImage:
    """An image that could not be read.

    Attributes:
        id: Its file path, or its place in the data set.
        reason: What the decoder said.
    """

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class Store:
    """n images of one size; made by `Store.open`.

    Attributes:
        source: Their labels, names and ids; without the images that were skipped.
        image_size: (height, width).
        images: uint8 [m, height, width, channels], m >= n, in host memory or mapped from the disk; None if not cached.
        rows: int64 [n]; the row in `images` of each image of the source.
        skipped: The corrupt images that were left out.
    """

    source: Dataset
    image_size: tuple[int, int]
    images: tf.Tensor | None
    rows: np.ndarray
    skipped: tuple[CorruptImage, ...] = ()

    @classmethod
    def open(
        cls,
        source: Dataset,
        image_size: tuple[int, int] | None = None,
        *,
        cache: str = "memory",
        directory: str | Path | None = None,
        corrupt_images: str = "error",
        progress: Progress | None = None,
        parallelism: int | None = None,
    ) -> "Store":
        """Reads every image once, in parallel; under `cache="disk"` only the first time.

        Without a cache the images are decoded as well, to find corrupt ones before training starts rather than hours
        into it, and decoded again at each use.

        Args:
            source: What to read.
            image_size: (height, width) to which each image is brought; default the source's own.
            cache: `memory`, `disk` or `none`.
            directory: Where the disk cache lies.
            corrupt_images: `error`, or `skip` to leave them out and list them in `skipped`.
            progress: Called with (images done, images in all).
            parallelism: Threads that decode; default one a core.

        Raises:
            UserError: an image cannot be read (all such are counted, the first are named), no images or none of a class
                are left, or an argument makes no sense.
        """
        for name, value, known in (("cache", cache, CACHES), ("corrupt_images", corrupt_images, CORRUPT_IMAGES)):
            if value not in known:
                raise UserError(f'{name} = "{value}"; {nearest(value, known)}')
        size = image_size or source.size
        if size is None:
            raise UserError(f"{source.name}: its images may differ in size; give image_size")
        if min(size) < 1:
            raise UserError(f"image_size {size} must be at least 1 pixel each way")
        size = (int(size[0]), int(size[1]))
        shape = (len(source), *size, source.channels)
        fill = _Filling(source, size, progress, parallelism or os.cpu_count() or 1)
        images = None
        if cache == "disk":
            if directory is None:
                raise UserError('cache = "disk" needs a directory')
            disk = DiskCache(Path(directory) / f"images-{_key(source, size)}", shape)
            corrupt = disk.note()
            if corrupt is None:
                with disk.filling() as (array, kept):
                    kept["note"] = [[int(i), reason] for i, reason in fill.run(array).items()]
                    _require_intact(source, dict(kept["note"]), corrupt_images)
                corrupt = kept["note"]
            elif progress:
                progress(len(source), len(source))
            reasons = dict(corrupt)
            images = _mapped(disk.array_path, shape)
        else:
            held = np.zeros(shape, np.uint8) if cache == "memory" else None
            reasons = fill.run(held)
            if held is not None:
                with tf.device("CPU:0"):
                    images = tf.convert_to_tensor(held)
        _require_intact(source, reasons, corrupt_images)
        rows = np.setdiff1d(np.arange(len(source)), np.fromiter(reasons, np.int64, len(reasons)))
        skipped = tuple(CorruptImage(source.ids[i], reason) for i, reason in reasons.items())
        return cls(source.take(rows) if skipped else source, size, images, rows, skipped)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: np.ndarray) -> "Store":
        """The subset of images at `indices` (int [m]), in that order; the images themselves are shared, not copied."""
        indices = np.asarray(indices, np.int64)
        return Store(self.source.take(indices), self.image_size, self.images, self.rows[indices], self.skipped)

    def chunks(self, count: int) -> Iterator[np.ndarray]:
        """All images in order, `count` at a time: uint8 [<= count, height, width, channels].

        Raises:
            UserError: an image that is not cached has gone or was damaged since the store was opened.
        """
        if self.images is not None:
            for start in range(0, len(self), count):
                with tf.device("CPU:0"):  # Elsewhere, all images would be copied there for each chunk.
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
                raise self.lost(range(done, min(done + count, len(self)))) from error

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """One image at the fixed size, decoded anew: scalar int64 -> uint8 [*image_size, channels]."""
        return preprocess.fit(self.source.read(index), self.image_size)

    def lost(self, candidates: Sequence[int]) -> UserError:
        """The error that names the first of some images that cannot be read any more; it reads them to find out."""
        for index in candidates:
            try:
                self.read(tf.constant(index, tf.int64))
            except (tf.errors.OpError, ValueError) as error:
                return UserError(
                    f"{self.source.ids[index]} cannot be read any more: {_reason(error)}; "
                    "put it back, and leave the images alone while they are in use without a cache"
                )
        place = self.source.ids[candidates[0]]
        return UserError(f"{place}, or one soon after it, could not be read for a moment; is the disk reliable?")


@dataclass(frozen=True)
class _Filling:
    """One pass over all images of a source."""

    source: Dataset
    size: tuple[int, int]
    progress: Progress | None
    parallelism: int

    def run(self, array: np.ndarray | None) -> dict[int, str]:
        """Writes each image into its row of `array` (None: only decodes it); returns position -> reason of failures."""
        n = len(self.source)
        done = np.zeros(n, bool)
        report = self.progress or (lambda done, total: None)
        report(0, n)
        for chunk in self._chunks(array is not None):
            if array is not None:
                array[chunk["index"]] = chunk["image"]
            done[chunk["index"]] = True
            report(int(done.sum()), n)
        corrupt: dict[int, str] = {}
        # The parallel pass drops failures without a word; once more, one by one, says what was wrong with each.
        for i in np.flatnonzero(~done):
            try:
                image = self._read(tf.constant(i))
                if array is not None:
                    array[i] = image
            except (tf.errors.OpError, ValueError) as error:
                corrupt[int(i)] = _reason(error)
        report(n, n)
        return corrupt

    def _read(self, index: tf.Tensor) -> tf.Tensor:
        return preprocess.fit(self.source.read(index), self.size)

    def _chunks(self, with_images: bool) -> Iterator[dict[str, np.ndarray]]:
        def element(index: tf.Tensor) -> dict[str, tf.Tensor]:
            if with_images:
                return {"index": index, "image": self._read(index)}
            return {"index": index, "decoded_size": tf.size(self.source.read(index))}

        options = tf.data.Options()
        options.deterministic = False
        options.threading.private_threadpool_size = self.parallelism
        options.threading.max_intra_op_parallelism = 1
        dataset = tf.data.Dataset.range(len(self.source)).map(element, num_parallel_calls=self.parallelism)
        dataset = dataset.ignore_errors(log_warning=False).batch(_CHUNK).prefetch(2)
        return dataset.with_options(options).as_numpy_iterator()


def _mapped(path: Path, shape: tuple[int, ...]) -> tf.Tensor:
    """A file's bytes as a tensor: pages come from the disk as they are used, and the system may drop them again."""
    with tf.device("CPU:0"):
        return tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=shape, memory_region_name=str(path))


def _key(source: Dataset, size: tuple[int, int]) -> str:
    return hashlib.sha256(f"{source.fingerprint} {size} {source.channels}".encode()).hexdigest()[:20]


def _reason(error: Exception) -> str:
    """The decoder's message without the names of graph nodes."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return re.sub(r"\{\{.*?\}\}|\[Op:.*", "", message).strip().split("\n")[0]


def _require_intact(source: Dataset, corrupt: dict[int, str], corrupt_images: str) -> None:
    if not corrupt:
        return
    listed = "".join(f"\n  {source.ids[i]}: {reason}" for i, reason in list(corrupt.items())[:_LISTED])
    more = f"\n  and {len(corrupt) - _LISTED} more" if len(corrupt) > _LISTED else ""
    found = f"{source.name}: {len(corrupt)} of {len(source)} images cannot be read:{listed}{more}"
    if corrupt_images == "error":
        raise UserError(f'{found}\nreplace or remove them, or say data.corrupt_images = "skip"')
    left = np.delete(source.labels, list(corrupt))
    emptied = np.setdiff1d(source.labels, left)
    if len(emptied):
        raise UserError(f'{found}\nwithout them class "{source.class_names[emptied[0]]}" has no images')
