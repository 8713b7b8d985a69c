"""An augmentation that a caller passes from Python: a function of an image and a random generator.

A config refers to it by its name and a digest of its code, defaults, and the values that it keeps, so a run that
resumes asks for the same function. Not part of the digest is what it reads from its module, and objects other than
numbers, texts, arrays, functions and containers of these count by their type alone. It varies training images after the
built-in augmentation. Its generator is a function of (seed, epoch, example), so threads, batch size and restarts change
no image.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from tfeff.data.augment.annotated_image import WHOLE, AnnotatedImage, clipped
from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.errors import UserError

Function = Callable[..., Any]
"""(image, generator) -> image; for images with boxes, (image, boxes_yxyx, generator) -> (image, boxes_yxyx). Images are
float32 [height, width, channels] in [0, 255] at the network's resolution, boxes float32 [n, 4] in pixels."""
_OFFERED = dict[str, Function]()


def offer(function: Function) -> str:
    """Makes a function known to this process; returns the name by which configs refer to it."""
    name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    digest = hashlib.blake2b(digest_size=4)
    for part in _parts(function, frozenset()):
        digest.update(len(part).to_bytes(8) + part)
    name = f"{name}-{digest.hexdigest()}"
    _OFFERED[name] = function
    return name


def _parts(value: Any, outer: frozenset[int]) -> Iterator[bytes]:
    """Yields bytes that tell a value from others, the same in every process; for what is left out, see above.

    `outer` has the ids of the values that it is part of.
    """
    yield type(value).__qualname__.encode()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | range | slice | np.generic):
        yield repr(value).encode(errors="surrogatepass")
        return
    if id(value) in outer:  # such as a function that calls itself
        return
    inner: Iterable[Any] = ()
    if isinstance(value, np.ndarray):
        yield repr((value.shape, value.dtype)).encode() + (b"" if value.dtype.hasobject else value.tobytes())
        inner = value.flat if value.dtype.hasobject else ()
    elif isinstance(value, CodeType):
        yield value.co_code
        inner = *value.co_names, *value.co_varnames, *value.co_freevars, *value.co_consts
    elif isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
        inner = value.__code__, value.__defaults__, value.__kwdefaults__, *cells
    elif isinstance(value, MethodType):
        inner = value.__func__, value.__self__
    elif isinstance(value, functools.partial):
        inner = value.func, value.args, value.keywords
    elif isinstance(value, Mapping):
        inner = (each for item in value.items() for each in item)
    elif isinstance(value, set | frozenset):
        inner = sorted(value, key=repr)
    elif isinstance(value, list | tuple):
        inner = value
    elif isinstance(value, type | ModuleType | BuiltinFunctionType):
        yield f"{getattr(value, '__module__', '')}.{value.__name__}".encode()
    elif isinstance(call := vars(type(value)).get("__call__"), FunctionType):
        inner = call, vars(value) if hasattr(value, "__dict__") else None
    for each in inner:
        yield from _parts(each, outer | {id(value)})


def find(name: str) -> "GivenAugmentation":
    """Returns the augmentation of this name.

    Raises:
        UserError: its function was not offered to this process.
    """
    if name not in _OFFERED:
        raise UserError(
            f"config: data.augment is {name}, a function that was given in Python and is not known to this process; "
            "give it again: tfeff.train(..., augment=...)"
        )
    return GivenAugmentation(name, _OFFERED[name])


@dataclass(frozen=True)
class GivenAugmentation:
    """A function that varies training images.

    Attributes:
        name: name of the function, for messages.
        function: see `Function`.
    """

    name: str
    function: Function

    def images(self, images: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Varies images without boxes: float32 [n, height, width, channels]."""

        def vary(images: np.ndarray, *of: np.ndarray) -> np.ndarray:
            return np.stack([self._image(self.function(image.copy(), rng), image) for image, rng in _each(images, of)])

        return _numpy(vary, images, draws)

    def image(self, image: AnnotatedImage, draws: Draws, min_share: float) -> AnnotatedImage:
        """Varies the image of one example and moves all its boxes.

        Boxes are clipped to the image, and objects of which less than `min_share` is left become difficult.
        """
        boxes = tf.concat([image.boxes_yxyx, image.extra_boxes_yxyx], axis=0)

        def vary(pixels: np.ndarray, boxes: np.ndarray, *of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return self._both(pixels, boxes, next(rng for _, rng in _each(pixels[None], of)))

        pixels, moved = _numpy(vary, image.image, draws, boxes)
        count = tf.shape(image.boxes_yxyx)[0]
        window = tf.concat([tf.zeros(2), tf.cast(tf.shape(pixels)[:2], tf.float32)], axis=0)
        varied = image._replace(image=pixels, boxes_yxyx=moved[:count], extra_boxes_yxyx=moved[count:])
        return clipped(varied, window, min_share)

    def single_objects(
        self, images: tf.Tensor, boxes_rel_yxyx: tf.Tensor, draws: Draws, min_share: float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Varies images with one object each: float32 [n, height, width, channels] and [n, 4], relative to the image.

        An image that would lose its object (less than `min_share` of it is left) is not varied.
        """
        sides = np.tile(np.array(images.shape[1:3], np.float32), 2)

        def vary(images: np.ndarray, boxes: np.ndarray, *of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            varied, moved = list[np.ndarray](), list[np.ndarray]()
            for (image, rng), box in zip(_each(images, of), boxes, strict=True):
                new, (raw,) = self._both(image, box[None] * sides, rng)
                inside = np.clip(raw, 0, sides)
                kept = _area(inside) > 0 and _area(inside) >= min(min_share, WHOLE) * _area(raw)
                varied.append(new if kept else image)
                moved.append(inside / sides if kept else box)
            return np.stack(varied), np.stack(moved).astype(np.float32)

        varied, moved = _numpy(vary, images, draws, boxes_rel_yxyx)
        return varied, moved

    def _both(self, image: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        found = self.function(image.copy(), boxes.copy(), rng)
        if not isinstance(found, tuple) or len(found) != 2 or np.shape(found[1]) != boxes.shape:
            raise UserError(f"augment={self.name}: it should return (image, boxes_yxyx), with as many boxes as it got")
        moved = np.asarray(found[1], np.float32)
        wrong = ~(np.isfinite(moved).all(axis=1) & (moved[:, 2:] >= moved[:, :2]).all(axis=1))
        if wrong.any():
            first = int(wrong.argmax())
            raise UserError(
                f"augment={self.name}: made {moved[first].tolist()} of the box {boxes[first].tolist()}; boxes should "
                "be finite, with bottom and right not before top and left"
            )
        return self._image(found[0], image), moved

    def _image(self, varied: Any, image: np.ndarray) -> np.ndarray:
        if np.shape(varied) != image.shape:
            raise UserError(
                f"augment={self.name}: returned an image of shape {np.shape(varied)}; it should have that of its "
                f"argument, {image.shape}"
            )
        pixels = np.asarray(varied, np.float32)
        if not np.isfinite(pixels).all():
            raise UserError(f"augment={self.name}: returned an image with values that are not finite (NaN or infinity)")
        return np.clip(pixels, 0.0, 255.0)


def _numpy(vary: Callable[..., Any], images: tf.Tensor, draws: Draws, *boxes: tf.Tensor) -> Any:
    """Calls `vary(images, *boxes, seed, epoch, index, repeat)` in a graph; returns varied images and boxes."""
    inputs = (images, *boxes)
    keys = (tf.constant(draws.seed, tf.int64), tf.cast(draws.epoch, tf.int64), draws.index, draws.repeat)
    types = [tf.float32] * len(inputs)
    outputs = tf.numpy_function(vary, [*inputs, *keys], types if boxes else tf.float32, stateful=False)
    if not boxes:
        return tf.ensure_shape(outputs, images.shape)
    return tuple(tf.ensure_shape(output, each.shape) for output, each in zip(outputs, inputs, strict=True))


def _each(images: np.ndarray, of: tuple[np.ndarray, ...]) -> list[tuple[np.ndarray, np.random.Generator]]:
    """Yields each image, and the generator of its example.

    This is Philox, whose counter counts from the example's own block.
    """
    seed, epoch, index, repeat = (each.astype(np.uint64) for each in of)
    key = np.array([seed, Purpose.GIVEN], np.uint64)
    return [
        (image, np.random.Generator(np.random.Philox(key=key, counter=np.array([0, number, epoch, again], np.uint64))))
        for image, number, again in zip(images, index, repeat, strict=True)
    ]


def _area(box: np.ndarray) -> float:
    return float(np.prod(np.maximum(box[2:] - box[:2], 0)))
