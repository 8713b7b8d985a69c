"""Palettes of 8-bit BMP files; `tf.io.decode_image` mistakes their color indices for gray levels."""

import tensorflow as tf

_HEADER_BYTES = 30  # Up to the end of the field of bits per pixel.
_EIGHT_BITS = r"BM\C{26}\x08\x00"
_FILE_HEADER_BYTES = 14


def has_palette(encoded: tf.Tensor) -> tf.Tensor:
    """Whether an encoded image (scalar string) is a BMP file of 8 bits per pixel: scalar bool."""
    return tf.strings.regex_full_match(tf.strings.substr(encoded, 0, _HEADER_BYTES), _EIGHT_BITS)


def colors(encoded: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Looks up color indices in the palette of such a file: uint8 [...] -> uint8 [..., 3] (RGB)."""
    data_start = _integer(encoded, 10)
    palette_start = _FILE_HEADER_BYTES + _integer(encoded, _FILE_HEADER_BYTES)
    palette = tf.io.decode_raw(tf.strings.substr(encoded, palette_start, data_start - palette_start), tf.uint8)
    blue_green_red = tf.reshape(palette, (-1, 4))[:, :3]
    return tf.gather(blue_green_red[:, ::-1], tf.cast(numbers, tf.int32))


def _integer(encoded: tf.Tensor, position: int) -> tf.Tensor:
    return tf.io.decode_raw(tf.strings.substr(encoded, position, 4), tf.int32)[0]
