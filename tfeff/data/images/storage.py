"""Storage of a dataset's images: files, memory, or images drawn on demand; `recorded` adds files of records.

Every storage returns an image in two forms: as encoded bytes, without TensorFlow, for code that works image by image;
and decoded, as an operation of a TensorFlow graph, for input pipelines.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from tfeff.data.images import decoding, pixels

if TYPE_CHECKING:  # imported where it is used: most of it works without TensorFlow, which takes seconds to import
    import tensorflow as tf


class ImageStorage(ABC):
    """n images by index."""

    def __init__(self) -> None:
        self._digests = dict[int, bytes]()

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of images."""

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """Returns the bytes of one image file.

        Raises:
            OSError: the file cannot be read.
            UserError: the same, with what to do about it.
        """

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of one image, from its header alone.

        Raises:
            UserError: not an image.
            OSError: the file cannot be read.
        """
        return decoding.encoded_size(self.encoded(index), f"image {index}")

    def read(self, index: "tf.Tensor", channels: int, shrinkage: decoding.Shrinkage | None = None) -> "tf.Tensor":
        """Returns one decoded image: scalar int64 -> uint8 [height, width, channels]; with `shrinkage`, see `decode`.

        Raises:
            tf.errors.OpError: the image cannot be read or decoded.
        """
        import tensorflow as tf

        def decode(number: np.ndarray) -> np.ndarray:
            return self._decoded(int(number), shrinkage, channels)

        # The decoder of all verbs, so that training, evaluation and prediction see and refuse the same images.
        image = tf.numpy_function(decode, [index], tf.uint8)
        image.set_shape((None, None, channels))
        return image

    def _decoded(self, index: int, shrinkage: decoding.Shrinkage | None, channels: int) -> np.ndarray:
        """Returns one decoded image, uint8 [height, width, channels]."""
        return decoding.decode(self._content(index), f"image {index}", shrinkage, channels)

    def _content(self, index: int) -> bytes:
        """Returns what `encoded` does, without keeping its digest."""
        return self.encoded(index)

    @abstractmethod
    def fingerprint(self, channels: int) -> str:
        """Changes whenever an image, as read with that many channels, may have changed."""

    def take(self, indices: np.ndarray) -> "ImageStorage":
        """Returns the images at `indices` (int64 [m]), in that order."""
        return _Subset(self, indices)

    def stamp(self, index: int) -> bytes:
        """Returns 8 bytes that change whenever the image may have changed, but not if its file is renamed.

        By default, they depend on the content.

        Raises:
            OSError: the file cannot be read.
        """
        return self.digest(index)[:8]

    def origin(self, index: int) -> bytes:
        """Returns 8 bytes that identify an image across datasets and crops, as long as its file does not change.

        Raises:
            OSError: the file cannot be read.
        """
        return self.stamp(index)

    def digest(self, index: int) -> bytes:
        """Returns BLAKE2b of an image file's bytes, 16 bytes; each file is read at most once for it."""
        if index not in self._digests:
            self._digests[index] = content_digest(self._content(index))
        return self._digests[index]

    def outline(self, index: int) -> bytes | None:
        """Returns a few bytes that equal image files share and others rarely do, such as length and end.

        None if finding them costs as much as reading the image.

        Raises:
            OSError: the file cannot be read.
        """
        return None

    def sizes(self) -> np.ndarray | None:
        """Returns (height, width) of all images, int32 [n, 2], if they are known without reading files; None if not.

        (0, 0): the header cannot be read.
        """
        return None

    def undecodable(self) -> np.ndarray | None:
        """Returns the images that cannot be decoded, int64 [m], if all have been decoded before; None if not."""
        return None

    def location(self, index: int) -> Hashable | None:
        """Returns where the bytes of an image are: a path, or a part of a file; None if they are in no file.

        Images with the same location have the same content, which needs no reading then.
        """
        return None

    def same_content(self, index: int, other: "ImageStorage", place: int) -> bool:
        """Returns whether an image has the same bytes as one of another storage; True if either cannot be read."""
        location = self.location(index)
        if location is not None and location == other.location(place):
            return True
        try:
            return self.digest(index) == other.digest(place)
        except OSError:
            return True


def host_constant(values: Any) -> "tf.Tensor":
    """Returns a tensor in host memory that graphs can share, even if the first use is inside one."""
    import tensorflow as tf

    with tf.device("CPU:0"), tf.init_scope():
        return tf.constant(values)


def content_digest(encoded: bytes) -> bytes:
    """Returns what two files share if their contents are equal: BLAKE2b, 16 bytes."""
    return hashlib.blake2b(encoded, digest_size=16).digest()


_ENDING = 64
"""Bytes at the end of a file by which copies are searched: compressed pixels, or their checksum."""


def _outline(length: int, ending: bytes) -> bytes:
    return length.to_bytes(8, "little") + ending


def _stamp(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()


class ImageFiles(ImageStorage):
    """Image files on disk.

    Args:
        paths: one per image.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        super().__init__()
        self._paths = [os.fspath(path) for path in paths]
        self._found = np.full((len(self._paths), 2), -1, np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def encoded(self, index: int) -> bytes:
        """See `ImageStorage`."""
        content = Path(self._paths[index]).read_bytes()
        self._digests[index] = content_digest(content)
        return content

    def size(self, index: int) -> tuple[int, int]:
        """See `ImageStorage`; reads no more than the header."""
        return decoding.size(Path(self._paths[index]))

    def _content(self, index: int) -> bytes:
        return Path(self._paths[index]).read_bytes()

    def outline(self, index: int) -> bytes:
        """See `ImageStorage`."""
        with open(self._paths[index], "rb") as file:
            length = os.fstat(file.fileno()).st_size
            return _outline(length, os.pread(file.fileno(), _ENDING, max(0, length - _ENDING)))

    def location(self, index: int) -> Hashable:
        """See `ImageStorage`."""
        return self._paths[index]

    def fingerprint(self, channels: int) -> str:
        """Returns the digest of names, sizes and modification times."""
        digest = hashlib.sha256(str(channels).encode())
        for index, path in enumerate(self._paths):
            size, modified = self._status(index)
            digest.update(f"{path}\0{size}\0{modified}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def stamp(self, index: int) -> bytes:
        """Computes the stamp from size and modification time, which are looked up anew."""
        self._found[index] = -1
        return _stamp(*self._status(index))

    def origin(self, index: int) -> bytes:
        """Computes the origin from name, size and modification time: copied files may be equally old."""
        return _stamp(os.path.basename(self._paths[index]), *self._status(index))

    def _status(self, index: int) -> tuple[int, int]:
        """Returns size and modification time (ns) of a file, looked up once: network file systems are slow."""
        if self._found[index, 0] < 0:
            status = os.stat(self._paths[index])
            self._found[index] = status.st_size, status.st_mtime_ns
        size, modified = self._found[index].tolist()
        return size, modified


class EncodedImages(ImageStorage):
    """Image files held in memory.

    Args:
        contents: the bytes of each file.
        version: names the contents; a new one invalidates caches.
    """

    def __init__(self, contents: Sequence[bytes], version: str) -> None:
        super().__init__()
        self._contents, self._version = contents, version

    def __len__(self) -> int:
        return len(self._contents)

    def encoded(self, index: int) -> bytes:
        """See `ImageStorage`."""
        return self._contents[index]

    def outline(self, index: int) -> bytes:
        """See `ImageStorage`."""
        return _outline(len(self._contents[index]), self._contents[index][-_ENDING:])

    def fingerprint(self, channels: int) -> str:
        """Returns the digest of the version and of all contents."""
        contents = b"".join(map(self.digest, range(len(self))))
        return hashlib.sha256(self._version.encode() + contents).hexdigest()


class Segments(ImageStorage):
    """Image files inside larger files, such as files of records.

    Args:
        paths: the larger files.
        segments: int64 [n, 3]: for each image, the index of its file, where it starts there, and its length in bytes.
        version: names the contents; a new one invalidates caches.
    """

    def __init__(self, paths: Sequence[str | Path], segments: np.ndarray, version: str) -> None:
        super().__init__()
        self._paths, self._segments, self._version = [os.fspath(path) for path in paths], segments, version
        found = map(os.stat, self._paths)  # as they are now: files may be lost before the fingerprint is taken
        self._states = [(status.st_size, status.st_mtime_ns) for status in found]

    def __len__(self) -> int:
        return len(self._segments)

    def encoded(self, index: int) -> bytes:
        """See `ImageStorage`."""
        file, start, length = self._segments[index].tolist()
        return self._part(file, start, length)

    def outline(self, index: int) -> bytes:
        """See `ImageStorage`."""
        file, start, length = self._segments[index].tolist()
        skipped = max(0, length - _ENDING)
        return _outline(length, self._part(file, start + skipped, length - skipped))

    def location(self, index: int) -> Hashable:
        """See `ImageStorage`."""
        file, start, length = self._segments[index].tolist()
        return self._paths[file], start, length

    def _part(self, file: int, start: int, length: int) -> bytes:
        # Not kept open: a dataset may have more files than a process may open.
        with open(self._paths[file], "rb") as opened:
            content = os.pread(opened.fileno(), length, start)
        if len(content) < length:
            raise OSError(f"{self._paths[file]}: ends after {start + len(content)} of {start + length} bytes")
        return content

    def fingerprint(self, channels: int) -> str:
        """Returns the digest of the version, of the segments, and of sizes and modification times of the files."""
        return hashlib.sha256(f"{self._version} {self._states}".encode() + self._segments.tobytes()).hexdigest()

    def stamp(self, index: int) -> bytes:
        """Computes the stamp from the version and the length; reads no file."""
        return _stamp(self._version, int(self._segments[index, 2]))

    def origin(self, index: int) -> bytes:
        """Computes the origin from the version and the place; reads no file."""
        file, *place = self._segments[index].tolist()
        return _stamp(self._version, os.path.basename(self._paths[file]), *place)


class PixelArrays(ImageStorage):
    """Decoded images, held in memory.

    Args:
        images: n images, uint8 [height, width, 1 or 3].
        version: names the contents; a new one invalidates caches.
    """

    def __init__(self, images: Sequence[np.ndarray] | np.ndarray, version: str) -> None:
        super().__init__()
        self._pixels, self._version = images, version

    def __len__(self) -> int:
        return len(self._pixels)

    def encoded(self, index: int) -> bytes:
        """Returns the image as PNG."""
        return cv2.imencode(".png", self._pixels[index][..., ::-1])[1].tobytes()

    def size(self, index: int) -> tuple[int, int]:
        """See `ImageStorage`."""
        height, width, _ = self._pixels[index].shape
        return height, width

    def _decoded(self, index: int, shrinkage: decoding.Shrinkage | None, channels: int) -> np.ndarray:
        image = self._pixels[index]
        return decoding.in_channels(np.broadcast_to(image, (*image.shape[:2], 3)), channels)

    def fingerprint(self, channels: int) -> str:
        """Returns the version."""
        return self._version

    def stamp(self, index: int) -> bytes:
        """Computes the stamp from the pixels."""
        return content_digest(self._pixels[index].tobytes())[:8]

    def outline(self, index: int) -> bytes:
        """See `ImageStorage`; from the pixels."""
        return self.stamp(index)


class PixelArray(PixelArrays):
    """The same images if they have one size; TensorFlow reads their memory.

    Args:
        images: uint8 [n, height, width, 1 or 3]. If it starts at a page (`pixels.allocate`), it is not copied.
        version: names the contents; a new one invalidates caches.
    """

    def read(self, index: "tf.Tensor", channels: int, shrinkage: decoding.Shrinkage | None = None) -> "tf.Tensor":
        """See `ImageStorage`."""
        import tensorflow as tf

        from tfeff.data.images.graph_decoding import luma

        image = self._tensor[index]
        if image.shape[-1] == channels:
            return image
        return tf.repeat(image, channels, axis=-1) if channels == 3 else luma(image)

    @cached_property
    def _tensor(self) -> "tf.Tensor":
        return pixels.shared(pixels.aligned(np.asarray(self._pixels)))


class DrawnImages(ImageStorage):
    """Images that a function encodes on demand.

    Args:
        count: number of images.
        draw: index -> the bytes of an image file.
        version: names the contents; a new one invalidates caches.
    """

    def __init__(self, count: int, draw: Callable[[int], bytes], version: str) -> None:
        super().__init__()
        self._count, self._draw, self._version = count, draw, version

    def __len__(self) -> int:
        return self._count

    def encoded(self, index: int) -> bytes:
        """See `ImageStorage`."""
        return self._draw(index)

    def fingerprint(self, channels: int) -> str:
        """Returns the version."""
        return f"{self._version}/{self._count}"

    def stamp(self, index: int) -> bytes:
        """Computes the stamp from the version and the position; draws nothing."""
        return _stamp(self._version, index)


class _Subset(ImageStorage):
    """Some images of another storage."""

    def __init__(self, whole: ImageStorage, indices: np.ndarray) -> None:
        super().__init__()
        self._whole, self._indices = whole, np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self._indices)

    def encoded(self, index: int) -> bytes:
        return self._whole.encoded(int(self._indices[index]))

    def digest(self, index: int) -> bytes:
        return self._whole.digest(int(self._indices[index]))

    def location(self, index: int) -> Hashable | None:
        return self._whole.location(int(self._indices[index]))

    def outline(self, index: int) -> bytes | None:
        return self._whole.outline(int(self._indices[index]))

    def sizes(self) -> np.ndarray | None:
        known = self._whole.sizes()
        return None if known is None else known[self._indices]

    def undecodable(self) -> np.ndarray | None:
        known = self._whole.undecodable()
        return None if known is None else np.flatnonzero(np.isin(self._indices, known))

    def size(self, index: int) -> tuple[int, int]:
        return self._whole.size(int(self._indices[index]))

    def read(self, index: "tf.Tensor", channels: int, shrinkage: decoding.Shrinkage | None = None) -> "tf.Tensor":
        return self._whole.read(self._positions[index], channels, shrinkage)

    @cached_property
    def _positions(self) -> "tf.Tensor":
        return host_constant(self._indices)

    def fingerprint(self, channels: int) -> str:
        return hashlib.sha256(self._whole.fingerprint(channels).encode() + self._indices.tobytes()).hexdigest()

    def take(self, indices: np.ndarray) -> ImageStorage:
        return _Subset(self._whole, self._indices[indices])

    def stamp(self, index: int) -> bytes:
        return self._whole.stamp(int(self._indices[index]))

    def origin(self, index: int) -> bytes:
        return self._whole.origin(int(self._indices[index]))
