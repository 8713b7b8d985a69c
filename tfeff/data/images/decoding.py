"""Reading the size and the pixels of encoded images without TensorFlow: the one decoder of all verbs and tasks.

Images are upright: EXIF orientation is applied. Exported models decode files themselves (`graph_decoding`).
"""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tfeff.data.images import header
from tfeff.data.images.header import EXTENSIONS, Header
from tfeff.errors import UserError, brief

__all__ = [
    "EXTENSIONS",
    "LUMA_WEIGHTS",
    "Headers",
    "Shrinkage",
    "decode",
    "encoded_size",
    "in_channels",
    "is_dark",
    "luma",
    "of_pillow",
    "size",
]
LUMA_WEIGHTS = np.array((19595, 38470, 7471), np.int32)
"""ITU-R BT.601 in 1/65536, as in Pillow's and OpenCV's conversion to gray."""
DARK = 64
"""Largest pixel value of dark images, of 255. Among many images, some pixel is brighter unless their units differ."""
DARK_ADVICE = (
    "16-bit images lose their lower byte, so samples of 12 bits (0 to 4095), as thermal and X-ray cameras write them, "
    "leave 15, and samples of 8 bits (0 to 255) leave 0: multiply them by 16 or by 256, or save them with 8 bits"
)
_REDUCTIONS = (8, 4, 2)
"""By which libjpeg can divide the sides of an image while it decodes it."""
Shrinkage = Callable[[tuple[int, int]], float]
"""(height, width) of an image -> by which factor it will be shrunk."""
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def size(path: Path) -> tuple[int, int]:
    """Returns (height, width) of the upright image, from the file's header alone.

    Raises:
        UserError: not an image, missing, or of too many pixels.
    """
    return header.read(path, str(path)).size


def encoded_size(encoded: bytes, name: str) -> tuple[int, int]:
    """Returns (height, width) of an encoded image, upright, from its header alone.

    Raises:
        UserError: not an image, or of too many pixels; the message starts with `name`.
    """
    return header.read(encoded, name).size


def decode(encoded: bytes, name: str, shrinkage: Shrinkage | None = None, channels: int = 3) -> np.ndarray:
    """Decodes an image to uint8 [height, width, channels], upright.

    Gray, palette and CMYK images become RGB, transparent pixels are composed over white, 16-bit samples lose their
    lower byte. Of several frames or pages, the first is used.

    Args:
        encoded: the bytes of the file.
        name: how messages refer to the image.
        shrinkage: by which factor the image will be shrunk. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size if
            that is at least twice the final one, and its sides can be divided by that number, so that each pixel covers
            as many of the image. None: at its size.
        channels: 3 for RGB, 1 for its luma.

    Raises:
        UserError: not an image, a corrupt one, or one of too many pixels; the message starts with `name`.
    """
    found = header.read(encoded, name)
    if found.kind == "PNG" and (broken := _broken_chunk(encoded)):
        raise UserError(f"{name}: a corrupt image (its part {broken} is incomplete or has a wrong checksum)")
    reduction = 1 if shrinkage is None or found.kind != "JPEG" else _reduction(found.size, shrinkage(found.size))
    pixels = _pixels(encoded, name, found.stored, reduction, channels)
    return np.ascontiguousarray(header.turned(pixels, found.orientation))


def of_pillow(image: Image.Image, name: str) -> np.ndarray:
    """Returns the pixels of a Pillow image, as `decode` returns those of its file.

    Raises:
        UserError: its file is corrupt, or it cannot be converted; the message starts with `name`.
    """
    try:
        pixels = _converted(image, name, 3)
    except UserError:
        raise
    except Exception as error:  # of any kind, because Pillow reads the file only now
        raise UserError(f"{name}: a corrupt image ({brief(error)})") from None
    return np.ascontiguousarray(header.turned(pixels, header.orientation_of(image)))


def _reduction(size: tuple[int, int], shrinkage: float) -> int:
    """Returns by which number the sides of a JPEG are divided while it is decoded."""
    fitting = (each for each in _REDUCTIONS if 2 * each <= shrinkage and not (size[0] % each or size[1] % each))
    return next(fitting, 1)


_CHECKED = (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf", b"acTL", b"fcTL")
"""The parts of a PNG that determine its pixels."""


def _broken_chunk(encoded: bytes) -> str:
    """Returns the first part of a PNG that is incomplete or has a wrong checksum, or "" if there is none.

    Decoders do not check the last part of the pixels, and some fill up what is missing.
    """
    place = 8
    while place + 12 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, place)
        end = place + 8 + length
        if kind == b"IEND":
            return ""
        checksum = int.from_bytes(encoded[end : end + 4], "big")
        if kind in _CHECKED and zlib.crc32(memoryview(encoded)[place + 4 : end]) != checksum:
            return kind.decode()
        place = end + 4
    return "IEND"


_BAND = 1 << 22
"""Pixels that are converted at a time, so that a large image is not in memory several times."""


def _pixels(encoded: bytes, name: str, stored: tuple[int, int], reduction: int, channels: int) -> np.ndarray:
    """Returns pixels as stored, the sides of a JPEG divided by `reduction`; those of a TIFF upright.

    By Pillow: OpenCV is faster, but pads truncated JPEGs, and its decoders of JPEG and PNG write to the terminal what
    they find odd in a file.

    Args:
        encoded: the bytes of the file.
        name: how messages refer to the image.
        stored: (height, width) in the header, of which the limit of pixels has been checked.
        reduction: 1, 2, 4 or 8.
        channels: 3 or 1.

    Raises:
        UserError: a corrupt image, also one of another size than `stored`.
    """
    try:
        with header.opened(encoded) as image:
            if (image.height, image.width) != stored:  # a second header, which Pillow prefers to the first
                raise UserError(f"{name}: not an image, or a corrupt one (its headers state different sizes)")
            if reduction > 1:
                image.draft(None, (image.width // reduction, image.height // reduction))
            return _converted(image, name, channels)
    except UserError:
        raise
    except Exception as error:  # Pillow's readers raise errors of any kind for damaged files
        if (tolerated := _png(encoded)) is not None:
            return in_channels(tolerated, channels)
        raise UserError(f"{name}: {header.reason(encoded, error)}") from None


def _converted(image: Image.Image, name: str, channels: int) -> np.ndarray:
    """Returns the pixels of an opened image: uint8 [height, width, channels].

    Raises:
        UserError: samples that 16 bits cannot hold.
    """
    if image.mode == "F":
        raise UserError(f"{name}: its samples are floating-point numbers; convert it to 8 or 16 bits")
    transparent = header.is_transparent(image)
    image.load()
    rows = max(1, _BAND // image.width)
    if rows >= image.height and image.mode == "RGB" and not transparent and channels == 3:  # most: no further copy
        return np.asarray(image)
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        converted = _rgb(band, transparent, name)
        pixels[top : top + rows] = converted if converted.shape[-1] == 1 else in_channels(converted, channels)
    return pixels


def _png(encoded: bytes) -> np.ndarray | None:
    """Returns the pixels of an opaque PNG; None of other and of damaged files.

    By OpenCV, which does not mind parts that are no pixels, such as comments, and are damaged.
    """
    try:
        found = header.read(encoded, "")
        if found.kind != "PNG" or not found.plain:
            return None
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except (UserError, cv2.error):
        return None
    return pixels


def _rgb(image: Image.Image, transparent: bool, name: str) -> np.ndarray:
    """Returns uint8 [height, width, 3]; or [height, width, 1], if all samples of a pixel are equal.

    Raises:
        UserError: samples of 32 bits, or with a sign, that 16 bits cannot hold.
    """
    if image.mode in _DEEP:
        samples = np.asarray(image)
        least, most = int(samples.min()), int(samples.max())
        if least < 0 or most > 0xFFFF:
            raise UserError(
                f"{name}: has samples from {least} to {most}, beyond 0 to 65535; convert it to 8 or 16 bits"
            )
        levels = (samples >> 8).astype(np.uint8)
        if transparent:
            levels[samples == image.info["transparency"]] = 255
        return levels[..., None]
    if transparent:
        return _composed(np.asarray(image.convert("RGBA")))
    if image.mode == "L":
        return np.asarray(image)[..., None]
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _composed(pixels: np.ndarray) -> np.ndarray:
    """Puts RGBA pixels over white: uint8 [..., 4] -> uint8 [..., 3]."""
    color, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def is_dark(pixels: np.ndarray) -> bool:
    """Returns whether an image, uint8, is nearly black."""
    return int(pixels.max()) < DARK


def luma(pixels: np.ndarray) -> np.ndarray:
    """Computes ITU-R BT.601 luma of RGB pixels, rounded: uint8 [height, width, 3] -> uint8 [height, width, 1]."""
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Converts RGB pixels to a number of channels: uint8 [height, width, 3] -> uint8 [height, width, channels]."""
    return pixels if channels == 3 else luma(pixels)


class Headers:
    """Headers of files, each of which is read once."""

    def __init__(self) -> None:
        self._found = dict[Path, Header | UserError]()

    def header(self, path: Path) -> Header | UserError:
        """Returns the header, or why it cannot be read."""
        if path not in self._found:
            try:
                self._found[path] = header.read(path, str(path))
            except UserError as error:
                self._found[path] = error
        return self._found[path]
