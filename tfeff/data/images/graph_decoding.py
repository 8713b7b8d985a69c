"""Decoding inside TensorFlow graphs, the same in training, evaluation and serving."""

import numpy as np
import tensorflow as tf

_LUMA_WEIGHTS = (19595, 38470, 7471)  # ITU-R BT.601 in 1/65536, as PIL's and OpenCV's conversion to gray.


def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes one image.

    The format (JPEG, PNG, BMP, the first frame of a GIF, WebP) is detected by content, not by file name. Gray and
    palette images become RGB, transparency is dropped, 16-bit samples lose their lower byte. EXIF orientation is
    ignored: pixels stay as stored.

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
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return tf.cond(has_palette(encoded), lambda: colors(encoded, image[..., 0]), lambda: image)


def luma(image: tf.Tensor) -> tf.Tensor:
    """ITU-R BT.601 luma of RGB pixels, rounded: uint8 [..., 3] -> uint8 [..., 1]."""
    weighted = tf.cast(image, tf.int32) * tf.constant(_LUMA_WEIGHTS)
    total = tf.reduce_sum(weighted, axis=-1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(total + 0x8000, 16), tf.uint8)


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Converts decoded RGB pixels to a number of channels: uint8 [..., 3] -> uint8 [..., channels]."""
    return pixels if channels == 3 else np.asarray(luma(tf.constant(pixels)))


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
