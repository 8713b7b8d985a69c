"""Reading the size and the pixels of encoded images without TensorFlow."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tfeff.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def size(path: Path) -> tuple[int, int]:
    """(height, width) as stored, from the file's header alone.

    Raises:
        UserError: not an image, or missing.
    """
    return _size(path, str(path))


def encoded_size(encoded: bytes, name: str) -> tuple[int, int]:
    """(height, width) as stored, of an encoded image, from its header alone.

    Raises:
        UserError: not an image; the message starts with `name`.
    """
    return _size(io.BytesIO(encoded), name)


def _size(file: Path | io.BytesIO, name: str) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: not an image ({_first_line(error)})") from None


def looks_complete(encoded: bytes) -> bool:
    """Whether a file starts like an image and, if it is a JPEG or PNG, also ends like one. Takes a microsecond."""
    tail = encoded[-64:]  # some programs append a few bytes
    if encoded.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    if encoded.startswith(b"\x89PNG"):
        return b"IEND" in tail
    return encoded.startswith((b"BM", b"GIF8", b"RIFF"))


def decode(encoded: bytes, name: str) -> np.ndarray:
    """Decodes an image to uint8 [height, width, 3], RGB; EXIF orientation is ignored.

    Gray, palette and CMYK images become RGB, transparency is dropped, 16-bit samples lose their lower byte.

    Raises:
        UserError: not an image, or a corrupt one; the message starts with `name`.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    except cv2.error as error:
        raise UserError(f"{name}: not an image ({_first_line(error)})") from None
    if pixels is None:
        pixels = _by_pillow(encoded, name)
    elif encoded[:2] == b"\xff\xd8" and not looks_complete(encoded):
        # OpenCV pads truncated JPEGs and only prints a warning; Pillow raises.
        _by_pillow(encoded, name)
    return np.ascontiguousarray(pixels[..., ::-1])


def _by_pillow(encoded: bytes, name: str) -> np.ndarray:
    """BGR pixels."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("RGB"))[..., ::-1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: not an image, or a corrupt one ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


class Headers:
    """Reads the header of each file once."""

    def __init__(self) -> None:
        self._sizes = dict[Path, tuple[int, int] | UserError]()

    def size(self, path: Path) -> tuple[int, int] | UserError:
        """(height, width) as stored, or why the header cannot be read."""
        if path not in self._sizes:
            try:
                self._sizes[path] = size(path)
            except UserError as error:
                self._sizes[path] = error
        return self._sizes[path]
