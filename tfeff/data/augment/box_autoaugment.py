"""Learned policies for images with boxes.

Source: Zoph et al. 2020, "Learning Data Augmentation Strategies for Object Detection" (arXiv:1906.11172), table 6: v0.
Tables and ranges, also of v1 to v3, are those of the authors' code (google/automl, efficientdet/aug/autoaugment.py).
It applies policies to COCO's images, before these are resized, and has lengths in pixels; here, images have the
network's size, and lengths are relative to their longer side, which in COCO has 640 pixels. Shears keep the center of
the image in its place, not its corner. As there, operations on levels see no padding; here this includes what
earlier operations of the line moved into the image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from tfeff.data.augment import box_geometry, operations
from tfeff.data.augment.annotated_image import AnnotatedImage
from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.images import resizing

FILL = float(resizing.FILL)
_V0 = (
    (("TranslateX", 0.6, 4), ("Equalize", 0.8, 10)),
    (("TranslateY_Only", 0.2, 2), ("Cutout", 0.8, 8)),
    (("Sharpness", 0.0, 8), ("ShearX", 0.4, 0)),
    (("ShearY", 1.0, 2), ("TranslateY_Only", 0.6, 6)),
    (("Rotate", 0.6, 10), ("Color", 1.0, 6)),
)
POLICIES = {
    "v0": _V0,
    "v1": (
        *_V0,
        (("Color", 0.0, 0), ("ShearX_Only", 0.8, 4)),
        (("ShearY_Only", 0.8, 2), ("Flip_Only", 0.0, 10)),
        (("Equalize", 0.6, 10), ("TranslateX", 0.2, 2)),
        (("Color", 1.0, 10), ("TranslateY_Only", 0.4, 6)),
        (("Rotate", 0.8, 10), ("Contrast", 0.0, 10)),
        (("Cutout", 0.2, 2), ("Brightness", 0.8, 10)),
        (("Color", 1.0, 6), ("Equalize", 1.0, 2)),
        (("Cutout_Only", 0.4, 6), ("TranslateY_Only", 0.8, 2)),
        (("Color", 0.2, 8), ("Rotate", 0.8, 10)),
        (("Sharpness", 0.4, 4), ("TranslateY_Only", 0.0, 4)),
        (("Sharpness", 1.0, 4), ("SolarizeAdd", 0.4, 4)),
        (("Rotate", 1.0, 8), ("Sharpness", 0.2, 8)),
        (("ShearY", 0.6, 10), ("Equalize_Only", 0.6, 8)),
        (("ShearX", 0.2, 6), ("TranslateY_Only", 0.2, 10)),
        (("SolarizeAdd", 0.6, 8), ("Brightness", 0.8, 10)),
    ),
    "v2": (
        (("Color", 0.0, 6), ("Cutout", 0.6, 8), ("Sharpness", 0.4, 8)),
        (("Rotate", 0.4, 8), ("Sharpness", 0.4, 2), ("Rotate", 0.8, 10)),
        (("TranslateY", 1.0, 8), ("AutoContrast", 0.8, 2)),
        (("AutoContrast", 0.4, 6), ("ShearX", 0.8, 8), ("Brightness", 0.0, 10)),
        (("SolarizeAdd", 0.2, 6), ("Contrast", 0.0, 10), ("AutoContrast", 0.6, 0)),
        (("Cutout", 0.2, 0), ("Solarize", 0.8, 8), ("Color", 1.0, 4)),
        (("TranslateY", 0.0, 4), ("Equalize", 0.6, 8), ("Solarize", 0.0, 10)),
        (("TranslateY", 0.2, 2), ("ShearY", 0.8, 8), ("Rotate", 0.8, 8)),
        (("Cutout", 0.8, 8), ("Brightness", 0.8, 8), ("Cutout", 0.2, 2)),
        (("Color", 0.8, 4), ("TranslateY", 1.0, 6), ("Rotate", 0.6, 6)),
        (("Rotate", 0.6, 10), ("BBox_Cutout", 1.0, 4), ("Cutout", 0.2, 8)),
        (("Rotate", 0.0, 0), ("Equalize", 0.6, 6), ("ShearY", 0.6, 8)),
        (("Brightness", 0.8, 8), ("AutoContrast", 0.4, 2), ("Brightness", 0.2, 2)),
        (("TranslateY", 0.4, 8), ("Solarize", 0.4, 6), ("SolarizeAdd", 0.2, 10)),
        (("Contrast", 1.0, 10), ("SolarizeAdd", 0.2, 8), ("Equalize", 0.2, 4)),
    ),
    "v3": (
        (("Posterize", 0.8, 2), ("TranslateX", 1.0, 8)),
        (("BBox_Cutout", 0.2, 10), ("Sharpness", 1.0, 8)),
        (("Rotate", 0.6, 8), ("Rotate", 0.8, 10)),
        (("Equalize", 0.8, 10), ("AutoContrast", 0.2, 10)),
        (("SolarizeAdd", 0.2, 2), ("TranslateY", 0.2, 8)),
        (("Sharpness", 0.0, 2), ("Color", 0.4, 8)),
        (("Equalize", 1.0, 8), ("TranslateY", 1.0, 8)),
        (("Posterize", 0.6, 2), ("Rotate", 0.0, 10)),
        (("AutoContrast", 0.6, 0), ("Rotate", 1.0, 6)),
        (("Equalize", 0.0, 4), ("Cutout", 0.8, 10)),
        (("Brightness", 1.0, 2), ("TranslateY", 1.0, 6)),
        (("Contrast", 0.0, 2), ("ShearY", 0.8, 0)),
        (("AutoContrast", 0.8, 10), ("Contrast", 0.2, 10)),
        (("Rotate", 1.0, 10), ("Cutout", 1.0, 10)),
        (("SolarizeAdd", 0.8, 6), ("Equalize", 0.8, 8)),
    ),
}
"""Lines of operations (name, probability, level in 0..10), one of which is applied to an image. `_Only` operations
change the inside of boxes: that of each object with a third of the probability."""

_LONGER_SIDE = 640
_TURNS, _OBJECTS = 3, 32  # operations of a line, at most; objects with random numbers of their own
_OF_TURN = 4 + 3 * _OBJECTS


@dataclass(frozen=True, eq=False)
class Turn:
    """One operation on one image: level in 0..10, and what it draws at random; float32 scalars.

    Attributes:
        places: float32 [2], in [0, 1), for a place.
        objects: float32 [3, objects], in [0, 1), for the choice of objects and places in them.
    """

    level: tf.Tensor
    sign: tf.Tensor
    probability: tf.Tensor
    places: tf.Tensor
    objects: tf.Tensor
    min_share: float


_Operation = Callable[[AnnotatedImage, Turn], AnnotatedImage]


def autoaugment(image: AnnotatedImage, policy: str, min_share: float, draws: Draws) -> AnnotatedImage:
    """Applies a random line of a policy.

    Args:
        image: height, width and channels known; rounded to whole levels first.
        policy: key of POLICIES.
        min_share: objects that keep less of their area become difficult.
        draws: one example.
    """
    lines = POLICIES[policy]
    names = list(OPERATIONS)
    chance = draws.uniform(Purpose.BOX_AUTOAUGMENT, 1 + _TURNS * _OF_TURN)[0]
    line = tf.cast(chance[0] * len(lines), tf.int32)

    def step(
        image: AnnotatedImage, operation: tf.Tensor, probability: tf.Tensor, level: tf.Tensor, own: tf.Tensor
    ) -> AnnotatedImage:
        objects = tf.reshape(own[4:], (3, _OBJECTS))
        turn = Turn(level, tf.where(own[1] < 0.5, -1.0, 1.0), probability, own[2:4], objects, min_share)

        def applied(name: str) -> AnnotatedImage:
            return AnnotatedImage(*map(tf.identity, OPERATIONS[name](image, turn)))

        return tf.switch_case(operation, [partial(applied, name) for name in OPERATIONS])

    one = tf.function(step, autograph=False, jit_compile=False)  # traced once for all turns
    image = image._replace(image=tf.round(image.image))
    for turn in range(max(map(len, lines))):
        column = [each[turn] if turn < len(each) else ("Identity", 1.0, 0) for each in lines]
        own = chance[1 + turn * _OF_TURN :][:_OF_TURN]
        probability = tf.gather(tf.constant([each[1] for each in column]), line)
        of_objects = tf.gather(tf.constant([each[0].endswith("_Only") for each in column]), line)
        operation = tf.gather(tf.constant([names.index(each[0]) for each in column]), line)
        operation = tf.where(of_objects | (own[0] < probability), operation, names.index("Identity"))
        level = tf.gather(tf.constant([float(each[2]) for each in column]), line)
        image = one(image, operation, probability, level, own)
    return image


def _levels(change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], *, of_places: bool = True) -> _Operation:
    """Returns an operation on the levels of images [1, height, width, channels], given the level [1].

    Padding neither changes nor counts.

    Args:
        change: the operation.
        of_places: False if it depends on the levels of all pixels, but not on their places.
    """

    def apply(image: AnnotatedImage, turn: Turn) -> AnnotatedImage:
        def changed(pixels: tf.Tensor) -> tf.Tensor:
            return change(pixels[tf.newaxis], turn.level[tf.newaxis])[0]

        def masked() -> tf.Tensor:
            if of_places:
                return tf.where(shown, changed(part), part)
            places = tf.where(shown[..., 0])
            row = tf.gather_nd(part, places)[tf.newaxis]
            return tf.tensor_scatter_nd_update(part, places, changed(row)[0])

        first, end = _window(image.covered)
        part, shown = (each[first[0] : end[0], first[1] : end[1]] for each in (image.image, image.covered))
        inside = tf.cond(tf.reduce_all(shown), lambda: changed(part), masked)
        around = tf.concat([tf.stack([first, tf.shape(image.image)[:2] - end], axis=1), [[0, 0]]], axis=0)
        pixels = tf.pad(inside, around, constant_values=FILL)
        return image._replace(image=tf.ensure_shape(pixels, image.image.shape))

    return apply


def _window(covered: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the corners (y, x) of the smallest window with all covered pixels, or of all if there are none.

    Its sides are at least as long as the kernel of `Sharpness`, if the image's are.
    """
    corners = []
    for axis, side in enumerate(covered.shape[:2]):
        line = tf.cast(tf.reduce_any(covered, axis=(1 - axis, 2)), tf.int32)
        first = tf.argmax(line, output_type=tf.int32)
        end = side - tf.argmax(line[::-1], output_type=tf.int32)
        first = tf.minimum(first, max(side - operations.KERNEL, 0))
        corners.append((first, tf.maximum(end, tf.minimum(first + operations.KERNEL, side))))
    first, end = (tf.stack(corner) for corner in zip(*corners, strict=True))
    return first, end


def _factor(level: tf.Tensor) -> tf.Tensor:
    """Returns the factor of PIL's enhancements."""
    return 0.18 * level + 0.1


def _solarize_add(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    added = tf.minimum(images + tf.floor(11.0 * level)[:, tf.newaxis, tf.newaxis, tf.newaxis], 255.0)
    return tf.where(images < 128.0, added, images)


def _long(image: AnnotatedImage, pixels: float) -> float:
    """Converts pixels of COCO's images to pixels of this image."""
    return pixels * max(image.image.shape[:2]) / _LONGER_SIDE


def _rotate(image: AnnotatedImage, turn: Turn) -> AnnotatedImage:
    angle = tf.cast(turn.sign * turn.level, tf.float64) * math.radians(3)
    return box_geometry.rotated(image, angle, turn.min_share)


def _shear(axis: int) -> _Operation:
    def shear(image: AnnotatedImage, turn: Turn) -> AnnotatedImage:
        amount = tf.cast(turn.sign * turn.level, tf.float64) * 0.03
        corner = [[0.0, 0.0], [1.0, 0.0]] if axis else [[0.0, 1.0], [0.0, 0.0]]  # x by y; y by x
        linear = amount * tf.constant(corner, tf.float64)
        one = tf.eye(2, dtype=tf.float64)
        return box_geometry.warped(image, one + linear, one - linear, tf.zeros(2, tf.float64), turn.min_share)

    return shear


def _translate(axis: int) -> _Operation:
    def translate(image: AnnotatedImage, turn: Turn) -> AnnotatedImage:
        by = tf.cast(turn.sign * turn.level, tf.float64) / 10 * _long(image, 250)
        one, shift = tf.eye(2, dtype=tf.float64), by * tf.one_hot(axis, 2, dtype=tf.float64)
        return box_geometry.warped(image, one, one, shift, turn.min_share)

    return translate


def _cutout(image: AnnotatedImage, turn: Turn) -> AnnotatedImage:
    """Makes a square gray, anywhere; boxes stay."""
    center = turn.places * tf.cast(tf.shape(image.image)[:2], tf.float32)
    half = turn.level / 10 * _long(image, 100)
    return image._replace(image=_grayed(image.image, center - half, center + half))


def _box_cutout(image: AnnotatedImage, turn: Turn) -> AnnotatedImage:
    """Makes a part of one object gray; up to three quarters of its sides."""

    def cut() -> tf.Tensor:
        count = tf.shape(image.boxes_yxyx)[0]
        box = image.boxes_yxyx[tf.cast(turn.objects[0, 0] * tf.cast(count, tf.float32), tf.int32)]
        side = box[2:] - box[:2]
        center, half = box[:2] + turn.places * side, 0.075 * turn.level * side / 2
        return _grayed(image.image, center - half, center + half)

    return image._replace(image=tf.cond(tf.shape(image.boxes_yxyx)[0] > 0, cut, lambda: tf.identity(image.image)))


def _only(change: Callable[[AnnotatedImage, tf.Tensor, tf.Tensor, Turn], tf.Tensor]) -> _Operation:
    """Returns a change of the inside of some boxes, one after the other: image, box, place [2] -> pixels."""

    def apply(image: AnnotatedImage, turn: Turn) -> AnnotatedImage:
        number = tf.range(tf.shape(image.boxes_yxyx)[0]) % _OBJECTS
        picked = tf.where(tf.gather(turn.objects[0], number) < turn.probability / 3)[:, 0]
        places = tf.gather(tf.transpose(turn.objects[1:]), tf.gather(number, picked))

        def one(pixels: tf.Tensor, element: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            box, place = element
            return tf.ensure_shape(change(image._replace(image=pixels), box, place, turn), image.image.shape)

        return image._replace(image=tf.foldl(one, (tf.gather(image.boxes_yxyx, picked), places), image.image))

    return apply


def _cutout_only(image: AnnotatedImage, box: tf.Tensor, place: tf.Tensor, turn: Turn) -> tf.Tensor:
    center, half = box[:2] + place * (box[2:] - box[:2]), turn.level / 10 * _long(image, 50)
    return _grayed(image.image, tf.maximum(center - half, box[:2]), tf.minimum(center + half, box[2:]))


def _equalize_only(image: AnnotatedImage, box: tf.Tensor, place: tf.Tensor, turn: Turn) -> tf.Tensor:
    first, end = tf.unstack(tf.cast(tf.round(tf.reshape(box, (2, 2))), tf.int32))
    inside = operations.equalize(image.image[tf.newaxis, first[0] : end[0], first[1] : end[1]])[0]
    around = tf.stack([first, tf.shape(image.image)[:2] - end], axis=1)
    padded = tf.pad(inside, tf.concat([around, [[0, 0]]], axis=0))
    return tf.where(rectangle(image.image, tf.cast(first, tf.float32), tf.cast(end, tf.float32)), padded, image.image)


def _displaced(
    offset: Callable[[AnnotatedImage, tf.Tensor, tf.Tensor, Turn], tuple[tf.Tensor, tf.Tensor]],
) -> _Operation:
    """Gives each pixel of a box the level of the one at an offset (down, right), if that is in the box, else gray.

    Args:
        offset: image, pixels of the box relative to its corner (y, x) [height, width, 2], turn.
    """

    def change(image: AnnotatedImage, box: tf.Tensor, place: tf.Tensor, turn: Turn) -> tf.Tensor:
        height, width = image.image.shape[:2]
        pixel = tf.stack(tf.meshgrid(tf.range(float(height)), tf.range(float(width)), indexing="ij"), axis=-1)
        down, right = offset(image, pixel - box[:2], box, turn)
        source = pixel + tf.stack([tf.round(down), tf.round(right)], axis=-1)
        inside = tf.reduce_all((source + 0.5 >= box[:2]) & (source + 0.5 <= box[2:]), axis=-1, keepdims=True)
        source = tf.clip_by_value(tf.cast(source, tf.int32), 0, [height - 1, width - 1])
        moved = tf.where(inside, tf.gather_nd(image.image, source), FILL)
        return tf.where(rectangle(image.image, box[:2], box[2:]), moved, image.image)

    return _only(change)


def _translation(image: AnnotatedImage, pixel: tf.Tensor, box: tf.Tensor, turn: Turn) -> tuple[tf.Tensor, tf.Tensor]:
    zero = tf.zeros_like(pixel[..., 0])
    return zero + turn.sign * turn.level / 10 * _long(image, 120), zero


def _shear_x(image: AnnotatedImage, pixel: tf.Tensor, box: tf.Tensor, turn: Turn) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.zeros_like(pixel[..., 0]), turn.sign * 0.03 * turn.level * pixel[..., 0]


def _shear_y(image: AnnotatedImage, pixel: tf.Tensor, box: tf.Tensor, turn: Turn) -> tuple[tf.Tensor, tf.Tensor]:
    return turn.sign * 0.03 * turn.level * pixel[..., 1], tf.zeros_like(pixel[..., 1])


def _mirrored(image: AnnotatedImage, pixel: tf.Tensor, box: tf.Tensor, turn: Turn) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.zeros_like(pixel[..., 0]), (box[3] - box[1]) - 1.0 - 2.0 * pixel[..., 1]


def _grayed(pixels: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    return tf.where(rectangle(pixels, first, end), FILL, pixels)


def rectangle(pixels: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Returns the pixels whose centers lie between two corners (y, x): bool [height, width, 1]."""
    rows, columns = (
        (first[axis] <= tf.range(side) + 0.5) & (tf.range(side) + 0.5 < end[axis])
        for axis, side in enumerate(map(float, pixels.shape[:2]))
    )
    return (rows[:, tf.newaxis] & columns)[..., tf.newaxis]


OPERATIONS: dict[str, _Operation] = {
    "Identity": lambda image, turn: image,
    "AutoContrast": _levels(lambda images, level: operations.autocontrast(images), of_places=False),
    "Equalize": _levels(lambda images, level: operations.equalize(images), of_places=False),
    # TensorFlow shifts 8 bits by 7 at most, so that the authors' code keeps at least one.
    "Posterize": _levels(lambda images, level: operations.posterize(images, tf.maximum(tf.floor(0.4 * level), 1.0))),
    "Solarize": _levels(lambda images, level: operations.solarize(images, tf.floor(25.6 * level))),
    "SolarizeAdd": _levels(_solarize_add),
    "Color": _levels(lambda images, level: operations.color(images, _factor(level))),
    "Contrast": _levels(lambda images, level: operations.contrast(images, _factor(level)), of_places=False),
    "Brightness": _levels(lambda images, level: operations.brightness(images, _factor(level))),
    "Sharpness": _levels(lambda images, level: operations.sharpness(images, _factor(level))),
    "Rotate": _rotate,
    "ShearX": _shear(1),
    "ShearY": _shear(0),
    "TranslateX": _translate(1),
    "TranslateY": _translate(0),
    "Cutout": _cutout,
    "BBox_Cutout": _box_cutout,
    "TranslateY_Only": _displaced(_translation),
    "ShearX_Only": _displaced(_shear_x),
    "ShearY_Only": _displaced(_shear_y),
    "Flip_Only": _displaced(_mirrored),
    "Equalize_Only": _only(_equalize_only),
    "Cutout_Only": _only(_cutout_only),
}
