"""The decoded images of a dataset, kept in memory, on disk or decoded on the fly."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfeff.data.dataset import Dataset
from tfeff.data.images import resizing
from tfeff.data.images.pixels import allocate, options, shared
from tfeff.data.images.storage import host_constant
from tfeff.data.images.unreadable import IN_RUN
from tfeff.data.input.decoding import WHOLE, Decoding, Progress, form_of, reason, resized
from tfeff.data.input.disk_cache import StoredImages
from tfeff.data.input.filling import failures, require_intact, require_memory, stored_images
from tfeff.errors import UserError, nearest
from tfeff.execution.resources import cores

CACHES = ("memory", "disk", "none")
CORRUPT_IMAGES = ("error", "skip")


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
        pixels: m cached images, one after the other, m >= n: uint8 [bytes], in memory or memory-mapped. None if images
            are not cached.
        rows: int64 [n], the row in `layout` of each image of the dataset.
        skipped: the corrupt images, which `dataset` lacks.
        fit: how images were brought to `image_size`, a key of `resizing.FITS`.
        interpolation: how they were resized, a key of `resizing.FILTERS`.
        layout: int64 [m, 3]: where each cached image starts in `pixels`, its height and its width.
        reduced: whether JPEGs that are much larger are decoded at a reduced size.
        stored: the disk cache, whose images are compared with their checksums when they are read for the first time.
    """

    dataset: Dataset
    image_size: tuple[int, int] | None
    pixels: np.ndarray | None
    rows: np.ndarray
    skipped: tuple[CorruptImage, ...] = ()
    fit: str = "stretch"
    interpolation: str = "bilinear"
    layout: np.ndarray | None = None
    reduced: bool = False
    stored: StoredImages | None = None

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
        readable: bool = False,
        reduced: bool = False,
        advice: str = IN_RUN,
        progress: Progress | None = None,
        parallelism: int | None = None,
    ) -> "ImageCache":
        """Decodes every image once, in parallel; with `cache="disk"` only the first time.

        Without a cache, images are decoded here too, so that corrupt ones are found before training starts, and then
        again at each use; with a directory, only until a process has decoded all of them once.

        Args:
            dataset: the images.
            image_size: (height, width) of the cached images; default the dataset's own size. For `whole`, the size that
                each image covers; default: images are not resized.
            fit: `stretch` each image to `image_size`; `crop` or `letterbox`: keep the aspect ratio and crop or pad;
                `whole`: keep the aspect ratio.
            interpolation: `bilinear` or `bicubic`.
            cache: `memory`, `disk` or `none`.
            directory: folder of the disk cache; without a cache, of the list of corrupt images. Processes that share it
                decode all images once: one of them does, while the others wait.
            corrupt_images: `error`, or `skip` to skip them and list them in `skipped`.
            readable: without a cache, decode no image to find corrupt ones, because all are known to be readable.
            reduced: decode JPEGs that are much larger than `image_size` at a reduced size, see `decode`.
            advice: what to do about an error, see `unreadable_images`.
            progress: called with (images done, total images).
            parallelism: decoding threads; default one per core.

        Raises:
            UserError: images cannot be read (the message counts them and lists the first), no images or none of a class
                are left, they do not fit in the memory or on the disk, or invalid arguments.
        """
        choices = (
            ("cache", cache, CACHES),
            ("fit", fit, resizing.FITS),
            ("interpolation", interpolation, resizing.FILTERS),
            ("corrupt_images", corrupt_images, CORRUPT_IMAGES),
        )
        for name, value, known in choices:
            if value not in known:
                raise UserError(f'{name} = "{value}"; {nearest(value, known)}')
        if cache == "disk" and directory is None:
            raise UserError('cache = "disk" needs a directory')
        size = _size(dataset, image_size, fit)
        report = progress or (lambda done, total: None)
        decoding = Decoding(dataset, size, fit, interpolation, reduced, report, parallelism or cores())
        pixels, layout, stored = None, None, None
        if cache == "none":
            reasons = failures(decoding, directory, readable=readable)
        elif cache == "memory":
            layout, count = decoding.plan()
            require_memory(dataset, count)
            pixels = allocate(count)
            reasons = decoding.run(pixels, layout)
        else:
            assert directory is not None
            stored = stored_images(decoding, Path(directory))
            pixels, layout = stored.pixels, stored.layout
            reasons = dict(stored.note)
        require_intact(dataset, reasons, corrupt_images, advice)
        corrupt = np.fromiter(reasons, np.int64, len(reasons))
        rows = np.delete(np.arange(len(dataset)), corrupt)
        skipped = tuple(CorruptImage(dataset.ids[index], reason) for index, reason in reasons.items())
        taken = dataset.take(rows) if skipped else dataset
        return cls(taken, size, pixels, rows, skipped, fit, interpolation, layout, reduced, stored)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def uniform(self) -> bool:
        """Whether all images have the size `image_size`."""
        return self.fit != WHOLE

    @property
    def form(self) -> tuple[object, ...]:
        """All that determines the pixels of an image, besides its file."""
        return form_of(self.image_size, self.fit, self.interpolation, self.reduced)

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
        if self.pixels is not None:
            for start in range(0, len(self), count):
                yield self._kept(self.rows[start : start + count])
            return
        images = tf.data.Dataset.range(len(self)).map(
            tf.autograph.experimental.do_not_convert(self.read), num_parallel_calls=cores()
        )
        elements, done = images.with_options(options()).as_numpy_iterator(), 0
        try:
            while chunk := list(itertools.islice(elements, count)):
                yield np.stack(chunk) if self.uniform else chunk
                done += len(chunk)
        except (tf.errors.OpError, UserError) as error:
            candidates = range(done, min(done + count, len(self)))
            raise self.unreadable(candidates) or self.unstable(candidates[0]) from error

    def _kept(self, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        assert self.pixels is not None
        assert self.layout is not None
        if self.stored is not None:
            self.stored.check(rows)
        if self.uniform:
            return self.pixels.reshape(self._shape)[rows]
        ends = self.layout[rows, 0] + self.layout[rows, 1:].prod(axis=1) * self.dataset.channels
        return [
            self.pixels[start:end].reshape(height, width, -1).copy()
            for (start, height, width), end in zip(self.layout[rows].tolist(), ends.tolist(), strict=True)
        ]

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """Returns one image, decoded anew if it is not cached: scalar int64 -> uint8 [height, width, channels].

        Raises:
            tf.errors.OpError: it cannot be read, or the disk cache is damaged.
        """
        if self.pixels is None:
            return resized(self.dataset, index, self.image_size, self.fit, self.interpolation, self.reduced)
        if self.uniform:
            return tf.squeeze(self.gather(index[tf.newaxis]), 0)
        row = self._checked(tf.gather(self._rows, index))
        start, height, width = tf.unstack(tf.gather(self._layout, row))
        channels = self.dataset.channels
        return tf.reshape(tf.slice(self._images, [start], [height * width * channels]), [height, width, channels])

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns several images of one size that are cached: int64 [n] -> uint8 [n, height, width, channels].

        Raises:
            tf.errors.OpError: the disk cache is damaged.
        """
        return tf.gather(self._images, self._checked(tf.gather(self._rows, indices)))

    def _checked(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns rows, int64 of any shape, whose images equal their checksums if they are on disk."""
        stored = self.stored
        if stored is None:
            return rows

        def check(rows: np.ndarray) -> np.bool:
            stored.check(np.atleast_1d(rows))
            return np.True_

        unread = tf.reduce_any(tf.gather(self._unread, rows))
        intact = tf.cond(unread, lambda: tf.numpy_function(check, [rows], tf.bool), lambda: tf.constant(True))
        with tf.control_dependencies([intact]):
            return tf.identity(rows)

    @property
    def _shape(self) -> tuple[int, ...]:
        assert self.image_size is not None
        return -1, *self.image_size, self.dataset.channels

    @cached_property
    def _images(self) -> tf.Tensor:
        """Images of one size, [m, height, width, channels]; whole images: [bytes]."""
        assert self.pixels is not None
        return shared(self.pixels.reshape(self._shape) if self.uniform else self.pixels)

    @cached_property
    def _unread(self) -> tf.Tensor:
        """`StoredImages.unread` as it is at any time; an older value would only cost another check."""
        assert self.stored is not None
        return shared(self.stored.unread)

    @cached_property
    def _rows(self) -> tf.Tensor:
        return host_constant(self.rows)

    @cached_property
    def _layout(self) -> tf.Tensor:
        return host_constant(self.layout)

    def unreadable(self, candidates: Sequence[int]) -> UserError | None:
        """Returns the error for the first of some images that can no longer be read; reads them to find out."""
        if self.stored is not None:
            try:
                self.stored.check(self.rows[list(candidates)])
            except UserError as error:
                return error
        for index in candidates:
            try:
                self.read(tf.constant(index, tf.int64))
            except (tf.errors.OpError, UserError, OSError, ValueError) as error:
                return UserError(
                    f"{self.dataset.ids[index]} can no longer be read: {reason(error)}; "
                    "restore it, and do not change images in use without a cache"
                )
        return None

    def unstable(self, index: int) -> UserError:
        """Returns the error for a failed read near `index` that does not fail again."""
        return UserError(
            f"reading {self.dataset.ids[index]} or one of the next images failed once and then succeeded; "
            "check the disk"
        )


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
