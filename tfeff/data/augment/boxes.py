"""Augmentation of an image with boxes: all steps in order."""

from collections.abc import Callable

import tensorflow as tf

from tfeff.data.augment import box_geometry, color
from tfeff.data.augment import mosaic as mosaics
from tfeff.data.augment.annotated_image import AnnotatedImage
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.counter_rng import Draws


def augment(
    read: Callable[[tf.Tensor], AnnotatedImage],
    count: int,
    size: tuple[int, int],
    augmentation: BoxAugmentation,
    draws: Draws,
    *,
    stretch: bool = False,
) -> AnnotatedImage:
    """One training image at the network's size: flip, fit with jitter, rotation, Mosaic, color.

    Args:
        read: index (int64 scalar) -> the image, of any size.
        count: number of images from which Mosaic draws partners.
        size: (height, width) of the result.
        augmentation: the settings.
        draws: one example, whose index is `draws.index[0]`.
        stretch: whether images fill the canvas instead of keeping their aspect ratio.

    Returns:
        image float32 [*size, channels] in [0, 255]; boxes are clipped to it.
    """

    def single(index: tf.Tensor, tile: int | tf.Tensor = 0, corner: tf.Tensor | None = None) -> AnnotatedImage:
        # Each tile of a mosaic has random numbers of its own; those of the first equal the image's without Mosaic.
        tile_draws = Draws(draws.seed, draws.epoch, draws.index, draws.repeat * mosaics.TILES + tile)
        image = read(index)
        if augmentation.horizontal_flip or augmentation.vertical_flip:
            image = box_geometry.flip(image, augmentation, tile_draws)
        image = box_geometry.fit(image, size, augmentation, tile_draws, stretch=stretch, corner=corner)
        if augmentation.rotation:
            image = box_geometry.rotate(image, augmentation, tile_draws)
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

    image = tf.cond(mosaics.chosen(augmentation.mosaic, draws), mosaic, plain) if augmentation.mosaic else plain()
    if augmentation.color.jitters:
        pixels = color.jitter(image.image[tf.newaxis], augmentation.color, draws)[0]
        image = image._replace(image=pixels)
    return image
