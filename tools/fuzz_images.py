"""Tests the decoders with damaged images: `python tools/fuzz_images.py --data=DIR`.

DIR contains photographs, of which small images of every format that Pillow and OpenCV write here are made. A damaged
image must be decoded or refused with `UserError`. This holds for the reader of headers (with the same result from the
file and from its bytes), for the decoder of all verbs, and for that of exported models. Sizes in headers must be those
of the pixels. PNG has checksums, so a damaged PNG must not be decoded into other pixels. The other formats have none:
they are only counted.
"""

import io
import math
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import command_line
import cv2
import fuzzing
import numpy as np
from PIL import Image

from tfeff.data.images import decoding, header
from tfeff.data.sources import files
from tfeff.errors import UserError

PHOTOGRAPHS = 3
WIDTH = 96
"""Width of the images, in pixels."""
_EXIF = Image.Exif()
_EXIF[header.ORIENTATION] = 6
_CHECKED = ("png",)
"""Beginnings of the kinds that have checksums."""
_LARGE = 10_000_000


def prepare(data: Path) -> fuzzing.Make:
    """Encodes some photographs in all formats."""
    import tensorflow as tf

    from tfeff.data.images import graph_decoding

    graph = tf.function(
        lambda encoded: graph_decoding.decode(encoded, 3), input_signature=[tf.TensorSpec((), tf.string)]
    )

    def in_graph(encoded: bytes) -> np.ndarray | None:
        try:
            return graph(tf.constant(encoded)).numpy()
        except tf.errors.InvalidArgumentError:
            return None

    originals = list[tuple[str, bytes]]()
    for path in files.find(data, (".jpg",)).paths[:PHOTOGRAPHS]:
        with Image.open(data / path) as image:
            small = image.convert("RGB").resize((WIDTH, max(1, WIDTH * image.height // image.width)))
        originals += [(kind, content) for kind, write in FORMATS.items() if (content := _written(write, small))]
    pixels = {content: (decoding.decode(content, kind), in_graph(content)) for kind, content in originals}

    def make(rng: np.random.Generator, folder: Path) -> fuzzing.Case:
        kind, content = fuzzing.pick(rng, originals)
        if rng.random() < 0.05 and (encoded := enlarged(content, rng)):
            damage = "size in the header"
        else:
            damage, encoded = fuzzing.damaged(content, rng, fuzzing.pick(rng, originals)[1])
        path = folder / "image"
        path.write_bytes(encoded)
        checked = kind.startswith(_CHECKED) and not checksums_fit(encoded)
        return fuzzing.Case(kind, damage, lambda: check(path, encoded, *pixels[content], in_graph, checked))

    return make


def check(
    path: Path,
    encoded: bytes,
    expected: np.ndarray,
    expected_in_graph: np.ndarray | None,
    in_graph: Callable[[bytes], np.ndarray | None],
    checked: bool,
) -> tuple[str, str]:
    """Decodes a damaged image; see `fuzzing.Case.check`.

    Args:
        path: its file.
        encoded: its bytes.
        expected: pixels of the undamaged image.
        expected_in_graph: its pixels in exported models; None if they do not read the format.
        in_graph: the decoder of exported models; None: refused. It has no limits, so large images are not tried.
        checked: whether checksums tell that the image is damaged.
    """
    (by_file, _), (found, large) = _header(path), _header(encoded)
    if by_file != found:
        return "headers differ", f"the header of the file is {by_file}, that of its bytes {found}"
    graphed = None if large else in_graph(encoded)
    other = graphed is not None and expected_in_graph is not None and not np.array_equal(graphed, expected_in_graph)
    try:
        pixels = decoding.decode(encoded, "image")
    except UserError:
        if graphed is None:
            return "refused", ""
        return f"refused; exported models decode {'other pixels' if other else 'it'}", ""
    if found is None:
        return "decoded", "decoded without a header"
    if found.size != pixels.shape[:2] or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return "decoded", f"the header has another size than the pixels\n{found}, {pixels.dtype} {pixels.shape}"
    if np.array_equal(pixels, expected):
        return "same pixels", ""
    if checked:
        return "other pixels", "silent: other pixels, in spite of the checksums"
    return "other pixels without a word", ""


def checksums_fit(png: bytes) -> bool:
    """Returns whether all parts of a PNG have the right checksum, as after the loss of a whole part."""
    place = 8
    while png[place + 4 : place + 8] != b"IEND":
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        if end > len(png) or zlib.crc32(png[place + 4 : end]) != int.from_bytes(png[end : end + 4], "big"):
            return False
        place = end + 4
    return True


AT_THE_LIMIT = tuple(
    (width, header.MAX_PIXELS // width // share)
    for share in (1, 2, 4)  # each format has one of these parts of the limit
    for width in (math.isqrt(header.MAX_PIXELS), 3, 65_535)
)
"""(width, height) of images that are just below the limit, or a part of it."""
_SIZES = ((1, 1), *AT_THE_LIMIT, (65_535, 65_535), (2**31 - 1, 2**31 - 1))
"""(width, height)."""


def enlarged(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns an image whose header states another size, with a valid checksum.

    Nothing if this is not known of its format.
    """
    width, height = fuzzing.pick(rng, _SIZES)
    short = min(width, 65_535), min(height, 65_535)
    if content.startswith(b"\x89PNG"):
        chunk = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        return content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
    if content.startswith(b"\xff\xd8") and (frame := re.search(rb"\xff[\xc0\xc2]\0.\x08", content)):
        return content[: frame.end()] + struct.pack(">HH", short[1], short[0]) + content[frame.end() + 4 :]
    if content.startswith(b"BM"):
        return content[:18] + struct.pack("<II", width, height) + content[26:]
    if content.startswith(b"GIF8"):
        return content[:6] + struct.pack("<HH", *short) + content[10:]
    if content.startswith(b"II*\0"):
        (start,) = struct.unpack_from("<I", content, 4)
        changed = bytearray(content)
        for place in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", content, start)[0], 12):
            (tag,) = struct.unpack_from("<H", content, place)
            if tag in (256, 257):
                struct.pack_into("<HHII", changed, place, tag, 4, 1, width if tag == 256 else height)
        return bytes(changed)
    if content.startswith(b"RIFF") and content[12:16] == b"VP8X":
        sizes = (min(side, 1 << 14) - 1 for side in (width, height))
        return content[:24] + b"".join(side.to_bytes(3, "little") for side in sizes) + content[30:]
    if (place := content.find(b"ispe")) > 0:  # AVIF and HEIC
        return content[: place + 8] + struct.pack(">II", width, height) + content[place + 16 :]
    if (place := content.find(b"\xff\x51")) > 0 and b"jP  " in content[:8]:
        return content[: place + 6] + struct.pack(">II", width, height) + content[place + 14 :]
    return b""


def _header(content: bytes | Path) -> tuple[header.Header | None, bool]:
    """Returns the header, and whether it is that of a large image."""
    try:
        found = header.read(content, "image")
    except UserError as error:
        return None, "more than the limit" in str(error)
    return found, math.prod(found.stored) > _LARGE


Write = Callable[[Image.Image], bytes]


def _pillow(kind: str, mode: str = "RGB", **options: object) -> Write:
    """Returns a writer by Pillow, in a mode; `frames`: how many, the others being turned by 180 degrees."""

    def write(image: Image.Image) -> bytes:
        image, settings = image.convert(mode), dict(options)
        if frames := settings.pop("frames", 0):
            others = [image.transpose(Image.Transpose.ROTATE_180)] * (int(str(frames)) - 1)
            settings |= {"save_all": True, "append_images": others}
        file = io.BytesIO()
        image.save(file, kind, **settings)
        return file.getvalue()

    return write


def _transparent(write: Write) -> Write:
    """Returns a writer that adds a gradient of transparency."""

    def changed(image: Image.Image) -> bytes:
        alpha = Image.fromarray(np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1)))
        image = image.copy()
        image.putalpha(alpha)
        return write(image)

    return changed


def _opencv(ending: str, *options: int, deep: bool = False) -> Write:
    def write(image: Image.Image) -> bytes:
        pixels = np.asarray(image)[..., ::-1]
        return cv2.imencode(ending, pixels.astype(np.uint16) * 257 if deep else pixels, options)[1].tobytes()

    return write


FORMATS: dict[str, Write] = {
    "jpeg": _pillow("JPEG"),
    "jpeg, progressive": _pillow("JPEG", progressive=True),
    "jpeg, gray": _pillow("JPEG", "L"),
    "jpeg, CMYK": _pillow("JPEG", "CMYK"),
    "jpeg, turned": _pillow("JPEG", exif=_EXIF),
    "jpeg, restarts": _opencv(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "mpo": _pillow("MPO", frames=2),
    "png": _pillow("PNG"),
    "png, gray": _pillow("PNG", "L"),
    "png, palette": _pillow("PNG", "P"),
    "png, transparent": _transparent(_pillow("PNG", "RGBA")),
    "png, palette, transparent": _pillow("PNG", "P", transparency=3),
    "png, 16 bits": _opencv(".png", deep=True),
    "png, 16 bits, gray": _pillow("PNG", "I;16"),
    "png, turned": _pillow("PNG", exif=_EXIF),
    "png, animated": _pillow("PNG", frames=3),
    "gif": _pillow("GIF"),
    "gif, animated": _pillow("GIF", frames=3),
    "bmp": _pillow("BMP"),
    "bmp, palette": _pillow("BMP", "P"),
    "webp": _pillow("WEBP"),
    "webp, lossless": _pillow("WEBP", lossless=True),
    "webp, transparent": _transparent(_pillow("WEBP", "RGBA")),
    "webp, animated": _pillow("WEBP", frames=3),
    "webp, turned": _pillow("WEBP", exif=_EXIF),
    "tiff": _pillow("TIFF"),
    "tiff, LZW": _pillow("TIFF", compression="tiff_lzw"),
    "tiff, deflate": _pillow("TIFF", compression="tiff_adobe_deflate"),
    "tiff, JPEG": _pillow("TIFF", compression="jpeg"),
    "tiff, 16 bits": _pillow("TIFF", "I;16"),
    "tiff, pages": _pillow("TIFF", frames=2),
    "tiff, turned": _pillow("TIFF", exif=_EXIF),
    "avif": _pillow("AVIF"),
    "avif, transparent": _transparent(_pillow("AVIF", "RGBA")),
    "jpeg 2000": _pillow("JPEG2000"),
    "heic": _pillow("HEIF"),
}
"""How each kind of image is written."""


def _written(write: Write, image: Image.Image) -> bytes:
    """Returns the written image; nothing if the installed libraries cannot write the format."""
    try:
        return write(image)
    except (KeyError, OSError):
        return b""


def main() -> None:
    """Tries all files."""
    fuzzing.main(__doc__, prepare, 9_000)


if __name__ == "__main__":
    command_line.run(main)
