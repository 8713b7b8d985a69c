"""Decoding inside the graphs of exported models, which have no other decoder.

Pixels are those of `decoding.decode`, which all verbs use (JPEG: up to rounding), with two exceptions: the EXIF
orientation is applied in JPEG alone; transparency is composed in PNG and WebP alone.
"""

import tensorflow as tf

from tfeff.data.images.decoding import LUMA_WEIGHTS


def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes one image.

    The format (JPEG, PNG, BMP of 8, 24 or 32 bits per pixel, the first frame of a GIF or WebP) is detected by content,
    not by file name. Gray and palette images become RGB, transparent pixels of PNG and WebP are composed over white,
    16-bit samples lose their lower byte. The EXIF orientation of JPEG is applied.

    Args:
        encoded: scalar string.
        channels: 3 for RGB, 1 for its luma.

    Returns:
        uint8 [height, width, channels].

    Raises:
        tf.errors.InvalidArgumentError: not an image of these formats, or a corrupt one.
    """
    image = tf.cond(tf.io.is_jpeg(encoded), lambda: _decode_jpeg(encoded), lambda: _decode_other(encoded))
    return image if channels == 3 else luma(image)


def _decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    # The default DCT is no faster, and differs from PIL and OpenCV by up to a dozen levels.
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    number = orientation(encoded)
    image = tf.cond(number >= 5, lambda: _transposed(image), lambda: image)
    image = tf.cond(_is_any(number, 3, 4, 7, 8), lambda: image[::-1], lambda: image)
    return tf.cond(_is_any(number, 2, 3, 6, 7), lambda: image[:, ::-1], lambda: image)


def _transposed(image: tf.Tensor) -> tf.Tensor:
    # Not as uint8: on some CPUs, oneDNN writes an error to the terminal before it leaves that to TensorFlow.
    return tf.cast(tf.transpose(tf.cast(image, tf.uint16), (1, 0, 2)), tf.uint8)


def _is_any(number: tf.Tensor, *values: int) -> tf.Tensor:
    return tf.reduce_any(number == values)


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    header = tf.strings.length(encoded) > _COLOR_TYPE

    def starts(place: int, text: str) -> tf.Tensor:
        return tf.cond(header, lambda: tf.strings.substr(encoded, place, len(text)) == text, lambda: tf.constant(False))

    def decode_third() -> tf.Tensor:
        return tf.cond(starts(0, "RIFF"), lambda: _decode_webp(encoded), lambda: _decode_rest(encoded))

    return tf.cond(starts(1, "PNG"), lambda: _decode_png(encoded), decode_third)


_COLOR_TYPE = 25
"""Position in a PNG. Color types are 0 gray, 2 RGB, 3 palette, 4 gray with alpha, 6 RGB with alpha."""


def _decode_png(encoded: tf.Tensor) -> tf.Tensor:
    has_alpha = tf.strings.regex_full_match(tf.strings.substr(encoded, _COLOR_TYPE, 1), r"[\x04\x06]")
    # Not all as RGBA: of a palette with fewer than 8 bits but no tRNS, TensorFlow fills alpha with the largest index.
    transparent = tf.cond(has_alpha, lambda: tf.constant(True), lambda: _has_transparency(encoded))
    return tf.cond(
        transparent,
        lambda: _composed(tf.io.decode_png(encoded, channels=4)),
        lambda: tf.io.decode_png(encoded, channels=3),
    )


def _has_transparency(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether a PNG has a tRNS chunk before its pixels: scalar bool."""
    end = tf.cast(tf.strings.length(encoded), tf.int64) - 8

    def kind(place: tf.Tensor) -> tf.Tensor:
        return tf.strings.substr(encoded, tf.minimum(place, end) + 4, 4)

    def goes_on(place: tf.Tensor) -> tf.Tensor:
        return (place <= end) & (kind(place) != "tRNS") & (kind(place) != "IDAT")

    def following(place: tf.Tensor) -> tuple[tf.Tensor]:
        length = tf.io.decode_raw(tf.strings.substr(encoded, place, 4), tf.int32, little_endian=False)[0]
        return (place + 12 + tf.cast(tf.maximum(length, 0), tf.int64),)

    (place,) = tf.while_loop(goes_on, following, (tf.constant(8, tf.int64),))
    return (place <= end) & (kind(place) == "tRNS")


def _composed(pixels: tf.Tensor) -> tf.Tensor:
    """Puts RGBA pixels over white: uint8 [..., 4] -> uint8 [..., 3]."""
    image = tf.cast(pixels, tf.int32)
    color, alpha = image[..., :3], image[..., 3:]
    return tf.cast((color * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)


_WEBP_FLAGS = 20
"""Position of the flags in a WebP file that starts with a chunk VP8X. Flag 2 is for animations, 16 for transparency."""


def _decode_webp(encoded: tf.Tensor) -> tf.Tensor:
    flags = tf.io.decode_raw(tf.strings.substr(encoded, _WEBP_FLAGS, 1), tf.uint8)[0]
    is_animation = (tf.strings.substr(encoded, 12, 4) == "VP8X") & (tf.bitwise.bitwise_and(flags, 2) > 0)
    # TensorFlow writes four channels of each animation, but has memory for three if the flags say that it is opaque.
    rest = tf.strings.length(encoded) - _WEBP_FLAGS - 1
    parts = [tf.strings.substr(encoded, 0, _WEBP_FLAGS), b"\x12", tf.strings.substr(encoded, _WEBP_FLAGS + 1, rest)]
    encoded = tf.cond(is_animation, lambda: tf.strings.join(parts), lambda: encoded)
    image = tf.io.decode_image(encoded, channels=0, expand_animations=False)
    image = tf.cond(tf.shape(image)[-1] == 4, lambda: _composed(image), lambda: image)
    return tf.ensure_shape(image, (None, None, 3))


def _decode_rest(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return tf.cond(has_palette(encoded), lambda: colors(encoded, image[..., 0]), lambda: image)


_METADATA_BYTES = 1 << 17
"""EXIF is looked for at the beginning of a file, in segments of at most 64 kB."""


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of a JPEG (scalar string): scalar int32, 1 to 8; 1 if it states none."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, _METADATA_BYTES), tf.uint8), tf.int32)
    data = tf.pad(data, [(0, 12)])  # so that reads near the end stay inside
    end = tf.size(data) - 12

    def length(place: tf.Tensor) -> tf.Tensor:
        return data[place + 2] * 256 + data[place + 3]

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        return tf.reduce_all(data[place + 4 : place + 10] == list(b"Exif\0\0")) & (data[place + 1] == 0xE1)

    def goes_on(place: tf.Tensor) -> tf.Tensor:
        inside = (place + 12 < end) & (data[tf.minimum(place, end)] == 0xFF)
        marker = data[tf.minimum(place + 1, end)]
        metadata = ((marker >= 0xE0) & (marker < 0xF0)) | (marker == 0xFE) | (marker == 0xDB) | (marker == 0xC4)
        return inside & metadata & ~is_exif(tf.minimum(place, end))

    (place,) = tf.while_loop(goes_on, lambda place: (place + 2 + length(place),), (tf.constant(2),))
    found = (place + 22 < end) & is_exif(tf.minimum(place, end))
    return tf.cond(found, lambda: _orientation(data, place + 10, end), lambda: tf.constant(1))


def _orientation(data: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in an EXIF block at `start` of bytes, int32 [n]."""
    little = data[start] == ord("I")

    def number(place: tf.Tensor, count: int) -> tf.Tensor:
        values = data[place : place + count]
        ordered = tf.cond(little, lambda: values[::-1], lambda: values)
        return tf.reduce_sum(ordered * [256**power for power in reversed(range(count))])

    distance = number(start + 4, 4)
    entries = tf.where((distance >= 8) & (distance < end - start - 2), start + distance, end)
    count = tf.minimum(number(entries, 2), (end - entries) // 12)
    rows = tf.reshape(data[entries + 2 : entries + 2 + 12 * count], (-1, 12))
    first, second = tf.unstack(tf.where(little, rows[:, 1::-1], rows[:, :2]), axis=1)
    values = tf.where(little, rows[:, 8] + 256 * rows[:, 9], rows[:, 9] + 256 * rows[:, 8])
    matching = values[:8192][(first == 0x01) & (second == 0x12)]
    value = tf.concat([matching, [1]], axis=0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def luma(image: tf.Tensor) -> tf.Tensor:
    """Computes ITU-R BT.601 luma of RGB pixels, rounded: uint8 [..., 3] -> uint8 [..., 1]."""
    weighted = tf.cast(image, tf.int32) * tf.constant(LUMA_WEIGHTS)
    total = tf.reduce_sum(weighted, axis=-1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(total + 0x8000, 16), tf.uint8)


_HEADER_BYTES = 30  # Up to the end of the field of bits per pixel.
_EIGHT_BITS = r"BM\C{26}\x08\x00"
_FILE_HEADER_BYTES = 14


def has_palette(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether an encoded image (scalar string) is a BMP file of 8 bits per pixel: scalar bool."""
    return tf.strings.regex_full_match(tf.strings.substr(encoded, 0, _HEADER_BYTES), _EIGHT_BITS)


def colors(encoded: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Looks up color indices in the palette of such a file: uint8 [...] -> uint8 [..., 3] (RGB)."""
    data_start = _integer(encoded, 10)
    # Positions beyond the end would be errors whose message contains the bytes, which is not text.
    palette_start = tf.minimum(_FILE_HEADER_BYTES + _integer(encoded, _FILE_HEADER_BYTES), tf.strings.length(encoded))
    palette = tf.io.decode_raw(tf.strings.substr(encoded, palette_start, data_start - palette_start), tf.uint8)
    blue_green_red = tf.reshape(palette, (-1, 4))[:, :3]
    return tf.gather(blue_green_red[:, ::-1], tf.cast(numbers, tf.int32))


def _integer(encoded: tf.Tensor, position: int) -> tf.Tensor:
    return tf.io.decode_raw(tf.strings.substr(encoded, position, 4), tf.int32)[0]
