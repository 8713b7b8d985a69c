"""Augmentation of an image with boxes: all steps in order."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from tfeff.data.augment import box_autoaugment, box_geometry, box_mixing
from tfeff.data.augment import mosaic as mosaics
from tfeff.data.augment.annotated_image import AnnotatedImage, annotated
from tfeff.data.augment.counter_rng import Draws, Purpose
from tfeff.data.augment.images import jitter
from tfeff.data.augment.policy import BoxAugmentation
from tfeff.data.images import resizing

Mix = Callable[[AnnotatedImage, AnnotatedImage, float, Draws], AnnotatedImage]


def augment(
    read: Callable[[tf.Tensor], AnnotatedImage],
    count: int,
    size: tuple[int, int],
    augmentation: BoxAugmentation,
    draws: Draws,
    *,
    stretch: bool = False,
) -> AnnotatedImage:
    """One training image at the network's size: flip, fit with jitter, rotation, learned policy, Mosaic, copy-paste,
    MixUp, color.

    The other image of copy-paste and MixUp is as it is itself in this epoch without these and Mosaic.

    Args:
        read: index (int64 scalar) -> the image, of any size.
        count: number of images from which partners are drawn.
        size: (height, width) of the result.
        augmentation: the settings.
        draws: one example, whose index is `draws.index[0]`.
        stretch: whether images fill the canvas instead of keeping their aspect ratio.

    Returns:
        image float32 [*size, channels] in [0, 255]; boxes are clipped to it.
    """

    def single(
        index: tf.Tensor, tile: int | tf.Tensor = 0, corner: tf.Tensor | None = None, owner: tf.Tensor = draws.index
    ) -> AnnotatedImage:
        # Each tile of a mosaic has random numbers of its own; those of the first equal the image's without Mosaic.
        tile_draws = Draws(draws.seed, draws.epoch, owner, draws.repeat * mosaics.TILES + tile)
        image = read(index)
        if augmentation.horizontal_flip or augmentation.vertical_flip:
            image = box_geometry.flip(image, augmentation, tile_draws)
        image = box_geometry.fit(image, size, augmentation, tile_draws, stretch=stretch, corner=corner)
        if augmentation.rotation:
            image = box_geometry.rotate(image, augmentation, tile_draws)
        if augmentation.autoaugment:
            image = box_autoaugment.autoaugment(image, augmentation.autoaugment, augmentation.min_share, tile_draws)
        return image

    def mosaic() -> AnnotatedImage:
        indices = [draws.index[0], *tf.unstack(mosaics.partners(count, draws))]
        # Traced once for all tiles: otherwise the graph takes seconds to build.
        one = tf.function(single, autograph=False, jit_compile=False)
        images = [
            one(index, tf.constant(tile, tf.int64), tf.constant(corner))
            for tile, (index, corner) in enumerate(zip(indices, mosaics.CORNERS, strict=True))
        ]
        return mosaics.mosaic(images, augmentation.min_share, draws)

    def plain() -> AnnotatedImage:
        return single(draws.index[0])

    def mixed(image: AnnotatedImage, purpose: Purpose, mix: Mix) -> AnnotatedImage:
        other = box_mixing.partner(purpose, count, draws)
        return mix(image, single(other, owner=other[tf.newaxis]), augmentation.min_share, draws)

    image = tf.cond(mosaics.chosen(augmentation.mosaic, draws), mosaic, plain) if augmentation.mosaic else plain()
    for purpose, probability, mix in (
        (Purpose.COPY_PASTE, augmentation.copy_paste, box_mixing.copy_paste),
        (Purpose.BOX_MIXUP, augmentation.mixup, box_mixing.mixup),
    ):
        if probability:
            image = tf.cond(
                box_mixing.chosen(purpose, probability, draws),
                partial(mixed, image, purpose, mix),
                partial(_same, image),
            )
    if augmentation.color.jitters:
        pixels = jitter(image.image[tf.newaxis], augmentation.color, draws, image.covered[tf.newaxis])[0]
        image = image._replace(image=pixels)
    return image


def _same(image: AnnotatedImage) -> AnnotatedImage:
    return AnnotatedImage(*map(tf.identity, image))


def dependencies(count: int, augmentation: BoxAugmentation, draws: Draws) -> tf.Tensor:
    """Indices of all images that the augmented example of `draws` is made of, int64 [m]."""
    indices = [draws.index]
    if mosaics.chosen(augmentation.mosaic, draws):
        indices.append(mosaics.partners(count, draws))
    for purpose, probability in (
        (Purpose.COPY_PASTE, augmentation.copy_paste),
        (Purpose.BOX_MIXUP, augmentation.mixup),
    ):
        if box_mixing.chosen(purpose, probability, draws):
            indices.append(box_mixing.partner(purpose, count, draws)[tf.newaxis])
    return tf.concat(indices, axis=0)


def augment_single_objects(
    images: tf.Tensor, boxes_rel_yxyx: tf.Tensor, size: tuple[int, int], augmentation: BoxAugmentation, draws: Draws
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes a batch to the network's resolution, then augments each image with its box.

    If an image would lose its object (less than `augmentation.min_share` of it is left), it stays unaugmented.

    Args:
        images: uint8 [n, height, width, channels], height and width known.
        boxes_rel_yxyx: float32 [n, 4], relative to height and width.
        size: (height, width) of the result.
        augmentation: the settings, without those that mix images, which yield several objects per image.
        draws: the examples.

    Returns:
        float32 [n, *size, channels] in [0, 255], and float32 [n, 4] relative to height and width.
    """
    images = resizing.resize(images, size)
    if not augmentation.any:
        return images, boxes_rel_yxyx
    sides = tf.constant([*size, *size], tf.float32)

    def one(example: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        image, box, index, repeat = example
        original = annotated(image, box[tf.newaxis] * sides, tf.zeros(1, tf.int32))
        example_draws = Draws(draws.seed, draws.epoch, index[tf.newaxis], repeat[tf.newaxis])
        varied = augment(lambda _: original, 1, size, augmentation, example_draws)
        boxes = tf.concat([tf.boolean_mask(varied.boxes_yxyx, ~varied.difficult), original.boxes_yxyx], axis=0)
        return tf.where(tf.shape(boxes)[0] > 1, varied.image, original.image), boxes[0] / sides

    signature = tf.TensorSpec(images.shape[1:], tf.float32), tf.TensorSpec((4,), tf.float32)
    examples = images, boxes_rel_yxyx, draws.index, draws.repeat
    varied, boxes = tf.map_fn(one, examples, fn_output_signature=signature)
    return varied, boxes
