"""What the header of an image file says: format, size, EXIF orientation, transparency.

Images are used upright, as viewers and labeling tools show them: `turned` applies the orientation to pixels,
`turned_box` to boxes that were drawn on the pixels as stored.
"""

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import (  # Pillow knows the formats whose modules are loaded
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from tfeff.errors import UserError

try:
    import pillow_heif
except ImportError:  # the extra `heif`
    HEIF = False
else:
    pillow_heif.register_heif_opener()
    HEIF = True

EXTENSIONS = (
    ".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".mpo",
    ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx",
)  # fmt: skip
"""Endings of files that count as images; what they are is decided by their content."""
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000", *(["HEIF"] if HEIF else []))
"""Formats that Pillow may open. Others start programs (EPS) or are rarely tested."""
MAX_PIXELS = 120_000_000
"""Larger images are refused before anything is decoded; the environment variable TFEFF_MAX_PIXELS sets another limit.
Decoding takes up to 8 bytes of memory per pixel."""
_HUNGRY = {"AVIF": 2, "HEIF": 2, "WEBP": 2, "JPEG2000": 4}
"""Formats whose decoders take more memory, and by how much smaller their limit is; 2 for a TIFF that Pillow turns."""
MOST_SHARE = max(_HUNGRY.values())
Image.MAX_IMAGE_PIXELS = None  # this module's limit replaces Pillow's, which warns first
ORIENTATION = 0x0112
"""The EXIF tag."""
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Header:
    """A header.

    Attributes:
        kind: the format, as Pillow calls it.
        stored: (height, width) of the pixels in the file.
        orientation: 1 (upright) to 8, as EXIF numbers them.
        plain: whether the image has one frame and no transparency.
        share: which part of the limit of pixels applies, 1 / share, because decoding takes more memory than usual.
    """

    kind: str
    stored: tuple[int, int]
    orientation: int = 1
    plain: bool = True
    share: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright image."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored

    def annotated_size(self, written: tuple[int, int] | None) -> tuple[int, int]:
        """Returns (height, width) of the image on which boxes were drawn.

        Args:
            written: the size that the annotation states; only if that is the size as stored, it is the result.
        """
        return self.stored if written == self.stored else self.size


def read(content: bytes | Path, name: str) -> Header:
    """Returns the header of an encoded image or of a file.

    Raises:
        UserError: not an image, or one of too many pixels; the message starts with `name`.
    """
    header = (_quick(content) if isinstance(content, bytes) else _quick_of(content)) or _by_pillow(content, name)
    height, width = header.stored
    share = header.share
    if height * width * share > (most := most_pixels()):
        raise UserError(
            f"{name}: {width:,} x {height:,} pixels are more than the limit of {most // share:,}; cut it into tiles or "
            f"reduce it, or set the environment variable TFEFF_MAX_PIXELS={height * width * share}"
        )
    return header


def most_pixels() -> int:
    """Returns the largest number of pixels of an image.

    Raises:
        UserError: the environment variable is not a number.
    """
    text = os.environ.get("TFEFF_MAX_PIXELS", str(MAX_PIXELS))
    if not text.isdecimal():
        raise UserError(f"TFEFF_MAX_PIXELS={text}: write a number of pixels, such as {MAX_PIXELS}")
    return int(text)


_BEGINNINGS = (1 << 12, 1 << 17)
"""Bytes that are enough for the headers of most files: of plain ones, and of those with a thumbnail."""


def _quick_of(path: Path) -> Header | None:
    """Returns `_quick` of a file, and reads no more of it than needed."""
    try:
        with path.open("rb") as file:
            content = b""
            for size in (*_BEGINNINGS, os.fstat(file.fileno()).st_size):
                content += file.read(max(0, size - len(content)))
                header = _quick(content)
                if header is not None or not content.startswith((_JPEG, _PNG)) or len(content) < size:
                    return header
    except OSError:
        pass  # Pillow's attempt gives the message
    return None


def _quick(content: bytes) -> Header | None:
    """Returns the header of a JPEG or PNG; None for other and damaged files."""
    return _jpeg(content) or _png(content)


def _jpeg(content: bytes) -> Header | None:
    """Returns the header of a JPEG; None for other and damaged files."""
    if not content.startswith(_JPEG):
        return None
    place, orientation, end = 2, 1, len(content)
    while place + 9 < end:
        if content[place] != 0xFF:
            return None
        marker = content[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        length = content[place + 2] << 8 | content[place + 3]
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", content, place + 5)
            return Header("JPEG", (height, width), orientation) if height and width else None
        if marker in (0xD9, 0xDA) or length < 2:
            return None
        if marker == 0xE1 and orientation == 1 and content.startswith(b"Exif\0\0", place + 4):
            orientation = orientation_in(content[place + 10 : place + 2 + length])
        place += 2 + length
    return None


def _png(content: bytes) -> Header | None:
    """Returns the header of a PNG; None for other and damaged files."""
    if not content.startswith(_PNG + b"\0\0\0\rIHDR") or len(content) < 33:
        return None
    width, height, _, color = struct.unpack_from(">IIBB", content, 16)
    place, orientation, plain = 33, 1, color in (0, 2, 3)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        if kind == b"IDAT":
            return Header("PNG", (height, width), orientation, plain) if height and width else None
        if kind in (b"tRNS", b"acTL"):
            plain = False
        elif kind == b"eXIf":
            orientation = orientation_in(content[place + 8 : place + 8 + length])
        place += 12 + length
    return None


def orientation_in(exif: bytes) -> int:
    """Returns the orientation in an EXIF block, which starts with its byte order; 1 if it states none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, place)
            if tag == ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _by_pillow(content: bytes | Path, name: str) -> Header:
    try:
        with opened(content) as image:
            tag = orientation_of(image)
            single = getattr(image, "n_frames", 1) == 1 if image.format in ("WEBP", "PNG") else True
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            turned = image.format == "TIFF" and image.getexif().get(ORIENTATION, 1) != 1
            share = 2 if turned else _HUNGRY.get(kind, 1)
            return Header(kind, (image.height, image.width), tag, single and not is_transparent(image), share)
    except Exception as error:  # Pillow's readers raise errors of any kind for damaged files
        raise UserError(f"{name}: {reason(content, error)}") from None


def opened(content: bytes | Path) -> Image.Image:
    """Returns an image file, opened by Pillow; only its header is read."""
    return Image.open(content if isinstance(content, Path) else io.BytesIO(content), formats=FORMATS)


def orientation_of(image: Image.Image) -> int:
    """Returns the orientation of the pixels of an opened image."""
    if image.format in ("TIFF", "HEIF"):  # Pillow turns TIFF itself, and pillow_heif HEIF
        return 1
    # A rotation in the container of an AVIF is here, too.
    return orientation_in((image.info.get("exif") or b"").removeprefix(b"Exif\0\0"))


def is_transparent(image: Image.Image) -> bool:
    """Returns whether an opened image can have transparent pixels."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def reason(content: bytes | Path, error: Exception) -> str:
    """Returns why a file cannot be used, and what to do if that is known."""
    try:
        head = content[:32] if isinstance(content, bytes) else _head(content)
    except OSError as failure:
        return f"not an image (cannot be read: {failure.strerror})"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and not HEIF:
        return "a HEIC image, which needs the extra heif (pip install tfeff[heif]); or convert it to JPEG"
    if head.startswith(b"version https://git-lfs"):
        return "not an image but a Git LFS pointer; run git lfs pull"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "not an image but a web page; download it again"
    if not head:
        return "not an image: the file is empty"
    text = str(error).strip().partition("\n")[0]
    return f"not an image, or a corrupt one ({text if 'BytesIO' not in text else 'unknown format'})"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns pixels as stored, [height, width, channels], as an upright image."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def turned_box(
    yxyx: tuple[float, float, float, float], size: tuple[int, int], orientation: int
) -> tuple[float, float, float, float]:
    """Returns a box of the pixels as stored in the upright image of a size, (height, width)."""
    top, left, bottom, right = yxyx
    height, width = size
    if orientation >= 5:
        top, left, bottom, right = left, top, right, bottom
    if orientation in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    return top, left, bottom, right
