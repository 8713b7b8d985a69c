"""Resizing, the same in training, evaluation and serving.

An image is resized twice. `fit`, `crop`, `letterbox` or `whole` brings each decoded image to the size of the image
cache. They take uint8 [height, width, channels], a size (height, width) and an interpolation (a key of `FILTERS`), and
return uint8, rounded so that cached and freshly decoded pixels are equal; an image of that size is returned unchanged.
`resize` brings a batch of those to the network's resolution, `center` the central square of one of them.

All resizing has half-pixel centers and antialiasing: to shrink, the filter is widened by the scale factor, as in PIL.
The filter is a triangle (bilinear interpolation) or, for single labels, optionally Keys' cubic with a = -1/2 (bicubic).

Small images are shrunk by the triangle filter: antialiased bilinear resampling as two matrix products. The filter is
separable and linear, so one matrix resamples all rows of a batch and another all columns. Weights and intermediate
values are rounded to so few binary places that all products and partial sums of 8-bit levels are exact in float32. The
order of summation is then irrelevant: results do not depend on threads, batch size or processor. The rounding error is
about 0.01 of 255 levels (root mean square), at most about 0.1.

Exported models for other runtimes resize in operators that these have, see `plain_operators`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import tensorflow as tf

from tfeff.data.images.header import most_pixels

FILL = 128
"""Gray level of padding."""
FILTERS = {"bilinear": "triangle", "bicubic": "keyscubic"}
"""Interpolation -> the filter of TensorFlow's `ScaleAndTranslate`."""
_PLAIN = ContextVar("plain", default=False)
_DEVICE = ContextVar("device", default=False)
_LONGEST = 2.0**30  # Longer sides would leave int32.
_SMALL = 64  # Up to this side, in pixels, matrices shrink a batch at least twice as fast as TensorFlow's kernel.


@contextmanager
def plain_operators() -> Iterator[None]:
    """Traces functions in its context without operators that other runtimes than TensorFlow's lack.

    These are its `ScaleAndTranslate`, branches and float64. Results are equal but for rounding: of about one
    pixel in a thousand, the level differs by one, and a side whose scaled length lies halfway between two whole numbers
    can be rounded to the other one. The largest array has twice the size of the image in float32.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


@contextmanager
def device_operators() -> Iterator[None]:
    """Traces functions in its context without operators that run on the host only. Implies `plain_operators`."""
    token = _DEVICE.set(True)
    try:
        with plain_operators():
            yield
    finally:
        _DEVICE.reset(token)


def on_device() -> bool:
    """Returns whether functions are traced within `device_operators`."""
    return _DEVICE.get()


def fit(image: tf.Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> tf.Tensor:
    """Stretches one image to a size; the aspect ratio is not kept."""
    return _of_size(_resampled(image, tf.constant(size), interpolation), size)


def crop(image: tf.Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> tf.Tensor:
    """Scales one image to the smallest size that covers `size`, keeping its aspect ratio, and cuts out the center."""
    return _of_size(_resampled(image, whole_size(tf.shape(image)[:2], size), interpolation, size), size)


def whole(image: tf.Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> tf.Tensor:
    """Scales one image to the smallest size that covers `size`, `whole_size`, keeping its aspect ratio."""
    return _resampled(image, whole_size(tf.shape(image)[:2], size), interpolation)


def whole_size(native: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns the smallest size with the aspect ratio of an image that covers another size, rounded.

    Args:
        native: int32 [..., 2], (height, width) of the image.
        size: (height, width) to cover.

    Returns:
        int32 [..., 2].
    """
    return tf.maximum(size, _proportional(native, size, tf.reduce_max))


def center(image: tf.Tensor, size: tuple[int, int], fraction: float, interpolation: str = "bilinear") -> tf.Tensor:
    """Stretches the central square of one image to a size.

    Args:
        image: any real dtype, [height, width, channels].
        size: (height, width) of the result.
        fraction: side of the square, relative to the shorter side of the image, in (0, 1]. It is rounded down to whole
            pixels, and to an odd margin the additional pixel is added above and on the left, as in EfficientNet's
            reference implementation.
        interpolation: a key of `FILTERS`.

    Returns:
        float32 [*size, channels].
    """
    native = tf.shape(image)[:2]
    # Without the small number, 224 / 256 of 256 pixels could be 223.
    dtype, small = (tf.float32, 1e-3) if _PLAIN.get() else (tf.float64, 1e-6)
    side = tf.cast(fraction * tf.cast(tf.reduce_min(native), dtype) + small, tf.int32)
    side = tf.maximum(side, 1)
    top, left = tf.unstack((native - side + 1) // 2)
    square = image[top : top + side, left : left + side]
    pixels = _antialiased(square[tf.newaxis], tf.constant(size), interpolation)[0]
    return _of_size(tf.clip_by_value(pixels, 0.0, 255.0), size)


def letterbox(image: tf.Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> tf.Tensor:
    """Scales one image to the largest size that fits, keeping its aspect ratio, and pads it with gray.

    The image is at the top left and covers `letterbox_size` pixels.
    """
    return _padded(within(image, size, interpolation), size)


def within(image: tf.Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> tf.Tensor:
    """Scales one image to the largest size that fits, `letterbox_size`, keeping its aspect ratio."""
    return _resampled(image, letterbox_size(tf.shape(image)[:2], size), interpolation)


def letterbox_size(native: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns the largest size with an image's aspect ratio that fits a canvas, at least 1 pixel each way.

    Args:
        native: int32 [..., 2], (height, width) of the image.
        size: (height, width) of the canvas.

    Returns:
        int32 [..., 2].
    """
    return tf.maximum(1, _proportional(native, size, tf.reduce_min))


def fit_within(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Scales one image like `letterbox`, without rounding: what an image passes through after its cache.

    Args:
        image: any real dtype, [height, width, channels].
        size: (height, width) of the canvas.

    Returns:
        float32 [*size, channels].
    """
    return _padded(_antialiased(image[tf.newaxis], letterbox_size(tf.shape(image)[:2], size), "bilinear")[0], size)


def resize(images: tf.Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> tf.Tensor:
    """Stretches a batch to the network's resolution.

    Args:
        images: any real dtype, [batch, height, width, channels], all but batch known.
        size: (height, width).
        interpolation: a key of `FILTERS`.

    Returns:
        float32 [batch, *size, channels]. An image's pixels do not depend on the rest of the batch.
    """
    height, width = images.shape[1:3]
    # Enlarging needs no wider filter, and the kernel without antialiasing is several times faster.
    shrinks = size[0] < height or size[1] < width
    if interpolation == "bilinear" and shrinks and max(height, width, *size) <= _SMALL and not _DEVICE.get():
        return resample(images, size)
    images = tf.cast(images, tf.float32)
    if (height, width) == tuple(size):
        return images
    if interpolation == "bicubic":  # overshoots at edges
        return tf.clip_by_value(_antialiased(images, tf.constant(size), interpolation), 0.0, 255.0)
    if shrinks or _PLAIN.get():
        return tf.ensure_shape(_antialiased(images, tf.constant(size), interpolation), (None, *size, images.shape[-1]))
    return tf.image.resize(images, size)


def feasible(image: tf.Tensor, size: tuple[int, int], fit: str) -> tf.Tensor:
    """Returns an image after a check that `FITS` can bring it to a size.

    Raises:
        tf.errors.InvalidArgumentError: it is too thin.
    """
    if fit not in REFUSING:
        return image
    return _feasible(image, whole_size(tf.shape(image)[:2], size) if fit == "whole" else tf.constant(size))


def infeasible(native: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
    """Returns which images `FITS` cannot bring to a size, because they are too thin: bool [n].

    Args:
        native: int [n, 2], (height, width) of the images.
        size: (height, width).
        fit: a key of `FITS`.
    """
    if fit not in REFUSING:
        return np.zeros(len(native), bool)
    native = tf.constant(native, tf.int32)
    wanted = whole_size(native, size) if fit == "whole" else tf.constant(size)
    found: np.ndarray = (_needed_pixels(native[:, 1], wanted) > most_pixels()).numpy()
    return found


FITS = {"stretch": fit, "crop": crop, "letterbox": letterbox, "whole": whole}
"""How an image is brought to the size of the cache."""
REFUSING = ("stretch", "whole")
"""Those of `FITS` that refuse thin images; the others take no more memory than the image, or the result."""


def shrinkage(native: tuple[int, int], size: tuple[int, int], fit: str) -> float:
    """Returns by which factor `FITS` shrink an image of a size, (height, width), at least; 1 or less: they do not."""
    factors = native[0] / size[0], native[1] / size[1]
    return max(factors) if fit == "letterbox" else min(factors)


def _proportional(native: tf.Tensor, size: tuple[int, int], choose: Callable[..., tf.Tensor]) -> tf.Tensor:
    """Multiplies sizes, int32 [..., 2], by the factor that `choose` takes of both directions; rounded."""
    dtype = tf.float32 if _PLAIN.get() else tf.float64
    height_width = tf.cast(native, dtype)
    factor = choose(tf.constant(size, dtype) / height_width, axis=-1, keepdims=True)
    return tf.cast(tf.minimum(tf.round(factor * height_width), _LONGEST), tf.int32)


def _of_size(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns an image that has a size, also in its static shape."""
    if _PLAIN.get():
        return tf.reshape(image, (*size, -1))
    return tf.ensure_shape(image, (*size, image.shape[-1]))


def _padded(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns an image at the top left of a gray canvas."""
    padding = tf.pad((tf.constant(size) - tf.shape(image)[:2])[:, tf.newaxis], [[0, 1], [1, 0]])
    canvas = tf.pad(image, padding, constant_values=tf.constant(FILL, image.dtype))
    return _of_size(canvas, size)


def _resampled(
    image: tf.Tensor, size: tf.Tensor, interpolation: str, center: tuple[int, int] | None = None
) -> tf.Tensor:
    """Returns one uint8 image at a size (int32 [2]); unchanged if it has that size.

    With `center`, only the central part of that size: of thin images, the rest can be too large for the memory.

    Raises:
        tf.errors.InvalidArgumentError: the result, or what is between both directions of the filter, has more pixels
            than an image may have; not within `plain_operators`.
    """
    target = size if center is None else tf.constant(center)
    first = (size - target) // 2

    def resampled() -> tf.Tensor:
        if center is None:
            pixels = _antialiased(_feasible(image, size)[tf.newaxis], size, interpolation)[0]
        else:
            pixels = window(image, size, first, target, interpolation)
        return tf.cast(tf.maximum(tf.minimum(tf.round(pixels), 255.0), 0.0), tf.uint8)

    if _PLAIN.get():  # which does not change an image of that size
        return resampled()
    top, left = tf.unstack(first)
    unchanged = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
    return tf.cond(unchanged, lambda: image[top : top + target[0], left : left + target[1]], resampled)


def window(
    image: tf.Tensor, size: tf.Tensor, first: tf.Tensor, target: tf.Tensor, interpolation: str = "bilinear"
) -> tf.Tensor:
    """Returns a part of an image at another size, without computing the rest.

    Args:
        image: any real dtype [height, width, channels].
        size: int32 [2], of the whole result.
        first: int32 [2], top left of the part.
        target: int32 [2], its size.
        interpolation: a key of `FILTERS`.

    Returns:
        float32 [*target, channels], not rounded or clipped.

    Raises:
        tf.errors.InvalidArgumentError: see `_resampled`.
    """
    part, step, start = _needed(image, size, first, target, interpolation)
    return _antialiased(_feasible(part, target)[tf.newaxis], target, interpolation, step, start)[0]


def _needed(
    image: tf.Tensor, size: tf.Tensor, first: tf.Tensor, target: tf.Tensor, interpolation: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the part of an image on which a part of it at another size depends; see `_antialiased`.

    Args:
        image, size, first, target, interpolation: as for `window`.

    Returns:
        the part, and float32 `step` and `start`.
    """
    dtype, native = tf.float32 if _PLAIN.get() else tf.float64, tf.shape(image)[:2]
    step = tf.cast(native, dtype) / tf.cast(size, dtype)
    margin = tf.maximum(step, 1.0) * (1.0 if interpolation == "bilinear" else 2.0) + 1.0
    begin, end = tf.cast(first, dtype) * step, tf.cast(first + target, dtype) * step
    low = tf.maximum(tf.cast(tf.floor(begin - margin), tf.int32), 0)
    high = tf.minimum(tf.cast(tf.math.ceil(end + margin), tf.int32), native)
    part = image[low[0] : high[0], low[1] : high[1]]
    return part, tf.cast(step, tf.float32), tf.cast(begin - tf.cast(low, dtype), tf.float32)


def _feasible(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns an image that is resized to `size`, int32 [2], after a check that this takes no huge arrays."""
    if _PLAIN.get():
        return image
    pixels, most = _needed_pixels(tf.shape(image)[1], size), most_pixels()
    message = (
        "the image is too thin: at the size to which it is scaled, it takes more pixels than the limit of "
        f"{most:,}; cut it into tiles, or set the environment variable TFEFF_MAX_PIXELS"
    )
    with tf.control_dependencies([tf.debugging.assert_less_equal(pixels, tf.constant(most, tf.int64), message)]):
        return tf.identity(image)


def _needed_pixels(width: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns the pixels of an image, int64 [...], while its width (int32 [...]) is resized to `size` (int32 [..., 2]).

    Rows are resampled first. So a wide image of one row, which takes little memory itself, would take much.
    """
    width, size = tf.cast(width, tf.int64), tf.cast(size, tf.int64)
    return size[..., 0] * tf.maximum(size[..., 1], width)


def _antialiased(
    images: tf.Tensor,
    size: tf.Tensor,
    interpolation: str,
    step: tf.Tensor | None = None,
    start: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns a batch [b, height, width, channels] at a size (int32 [2]), float32, not rounded.

    Args:
        images: the batch.
        size: int32 [2].
        interpolation: a key of `FILTERS`.
        step: float32 [2], pixels of the images per pixel of the result; None: all of the images is resized.
        start: float32 [2], where in the images the result begins, in their pixels; None: at their top left.
    """
    if not _PLAIN.get():
        if step is None or start is None:
            return tf.image.resize(images, size, interpolation, antialias=True)
        return tf.raw_ops.ScaleAndTranslate(
            images=images,
            size=size,
            scale=1.0 / step,
            translation=-start / step,
            kernel_type=FILTERS[interpolation],
            antialias=True,
        )
    shape = tf.shape(images)
    batch, channels = shape[0], images.shape[-1] or shape[3]
    steps, starts = ((None, None) if each is None else tf.unstack(each) for each in (step, start))
    rows = tf.reshape(tf.transpose(tf.cast(images, tf.float32), (1, 0, 2, 3)), (shape[1], -1))
    rows = _along_rows(rows, size[0], interpolation, steps[0], starts[0])
    rows = tf.reshape(rows, (size[0], batch, shape[2], channels))
    columns = tf.reshape(tf.transpose(rows, (2, 1, 0, 3)), (shape[2], -1))
    columns = _along_rows(columns, size[1], interpolation, steps[1], starts[1])
    columns = tf.reshape(columns, (size[1], batch, size[0], channels))
    return tf.transpose(columns, (1, 2, 0, 3))


def crops(
    images: tf.Tensor, size: tuple[int, int], scale: tf.Tensor, offset: tf.Tensor, interpolation: str
) -> tf.Tensor:
    """Returns a part of each image, at a size.

    Args:
        images: float32 [n, height, width, channels].
        size: (height, width) of the results.
        scale: float32 [n, 2], pixels of the result per pixel of the image, in both directions.
        offset: float32 [n, 2], where the image's top left is in the result, in its pixels.
        interpolation: a key of `FILTERS`.

    Returns:
        float32 [n, *size, channels], not rounded or clipped.
    """
    if _DEVICE.get():
        return _crops_by_products(images, size, scale, offset, interpolation)

    def resampled(example: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, scale, offset = example
        crop = tf.raw_ops.ScaleAndTranslate(
            images=image[tf.newaxis],
            size=size,
            scale=scale,
            translation=offset,
            kernel_type=FILTERS[interpolation],
            antialias=True,
        )
        return tf.ensure_shape(crop[0], (*size, image.shape[-1]))

    result = tf.TensorSpec((*size, images.shape[-1]), tf.float32)
    return tf.map_fn(resampled, (images, scale, offset), fn_output_signature=result)


def _crops_by_products(
    images: tf.Tensor, size: tuple[int, int], scale: tf.Tensor, offset: tf.Tensor, interpolation: str
) -> tf.Tensor:
    """Returns `crops` as two matrix products, with weights for all pairs of pixels."""

    def shares(length: int, target: int, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
        """Returns the weight of each pixel of the image in each of the result: float32 [n, target, length]."""
        step = (1.0 / scale)[:, tf.newaxis]
        center = (np.arange(target, dtype=np.float32) + 0.5) * step - offset[:, tf.newaxis] * step
        distance = tf.abs(np.arange(length, dtype=np.float32) + 0.5 - center[..., tf.newaxis])
        share = _kernel(distance / tf.maximum(step, 1.0)[..., tf.newaxis], interpolation)
        return share / tf.reduce_sum(share, axis=-1, keepdims=True)

    height, width, channels = images.shape[1:]
    rows = shares(height, size[0], scale[:, 0], offset[:, 0])
    columns = shares(width, size[1], scale[:, 1], offset[:, 1])
    between = tf.matmul(rows, tf.reshape(images, (-1, height, width * channels)))
    between = tf.reshape(between, (-1, size[0], width, channels))
    return tf.matmul(columns[:, tf.newaxis], between)


def _kernel(distance: tf.Tensor, interpolation: str) -> tf.Tensor:
    """Returns the filter at distances of at least 0, not normalized."""
    if interpolation == "bilinear":
        return tf.maximum(1.0 - distance, 0.0)
    # Keys' cubic, as in TensorFlow
    near = ((1.5 * distance - 2.5) * distance) * distance + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return tf.where(distance < 1.0, near, tf.where(distance < 2.0, far, tf.zeros_like(far)))


def _along_rows(
    rows: tf.Tensor, target: tf.Tensor, interpolation: str, step: tf.Tensor | None, start: tf.Tensor | None
) -> tf.Tensor:
    """Resamples float32 [length, n] to [target, n]: each row is a weighted mean of the rows within the filter.

    `step` and `start`, scalars: see `_antialiased`.
    """
    length = tf.shape(rows)[0]
    if step is None:
        step = tf.cast(length, tf.float32) / tf.cast(target, tf.float32)
    widening = tf.maximum(step, 1.0)
    radius = widening * (1.0 if interpolation == "bilinear" else 2.0)
    centers = (tf.range(tf.cast(target, tf.float32)) + 0.5) * step + (0.0 if start is None else start)
    taps = tf.cast(tf.math.ceil(2 * radius), tf.int32) + 1
    first = tf.cast(tf.math.floor(centers - radius), tf.int32)
    index = first[:, tf.newaxis] + tf.range(taps)
    distance = tf.abs(tf.cast(index, tf.float32) + 0.5 - centers[:, tf.newaxis]) / widening
    share = _kernel(distance, interpolation)
    share *= tf.cast((index >= 0) & (index < length), tf.float32)
    share /= tf.reduce_sum(share, axis=1, keepdims=True)
    taken = tf.gather(rows, tf.clip_by_value(index, 0, length - 1))  # [target, taps, n]
    return tf.matmul(share[:, tf.newaxis], taken)[:, 0]


_MIDDLE = 128.0  # Minus this, a level takes 7 bits and the sign.
# Binary places. With those 7 bits, either sum fills the 24 bits of a float32: 7 + 17, and 7 + 5 + 12.
_ROW_WEIGHT_PLACES = 17
_BETWEEN_PLACES = 5
_COLUMN_WEIGHT_PLACES = 12


def resample(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes a batch. The cost grows with the cube of the sides, so this pays off for small images only.

    Args:
        images: any real dtype, [batch, height, width, channels], all but batch known; whole numbers in 0..255 are
            resampled exactly.
        size: (height, width).

    Returns:
        float32 [batch, *size, channels].
    """
    batch, height, width, channels = images.shape
    rows = weights(height, size[0], _ROW_WEIGHT_PLACES)
    columns = np.kron(weights(width, size[1], _COLUMN_WEIGHT_PLACES), np.eye(channels)).T
    # GPUs may round the factors of a float32 product.
    with tf.device("CPU:0"):
        levels = tf.reshape(tf.cast(images, tf.float32) - _MIDDLE, (-1, height, width * channels))
        between = tf.matmul(tf.constant(rows, tf.float32), levels)
        between = tf.round(between * 2.0**_BETWEEN_PLACES) / 2.0**_BETWEEN_PLACES
        levels = tf.matmul(tf.reshape(between, (-1, width * channels)), tf.constant(columns, tf.float32))
        return tf.ensure_shape(tf.reshape(levels + _MIDDLE, (-1, *size, channels)), (batch, *size, channels))


def weights(length: int, target: int, places: int) -> np.ndarray:
    """Returns the weight of each of `length` pixels in each of `target` pixels: float64 [target, length].

    A triangle of half-width max(1, length / target) about each target's center (as in PIL), truncated at the borders.
    Each row sums to 1 exactly, in multiples of 2**-places, none of them negative.
    """
    step = length / target
    centers = (np.arange(target)[:, np.newaxis] + 0.5) * step
    triangles = np.maximum(1.0 - np.abs(np.arange(length) + 0.5 - centers) / max(step, 1.0), 0.0)
    shares = np.cumsum(triangles, axis=1) / triangles.sum(axis=1, keepdims=True)
    return np.diff(np.rint(shares * 2.0**places) / 2.0**places, axis=1, prepend=0.0)
