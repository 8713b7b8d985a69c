"""All variations of a training image with boxes, in their order."""

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
) -> AnnotatedImage:
    """One training image at the network's resolution: mirrored, fitted, turned, joined with others, recoloured.

    Args:
        read: Gives the image of a position (int64 scalar), of any size.
        count: Number of images, among which Mosaic finds partners.
        size: (height, width) of what comes out.
        augmentation: What to vary.
        draws: One example, whose position is `draws.index[0]`.

    Returns:
        image float32 [*size, channels] in [0, 255]; no box reaches beyond it.
    """

    def one(position: tf.Tensor, tile: int = 0, corner: tuple[int, int] | None = None) -> AnnotatedImage:
        # Each tile of a mosaic varies by numbers of its own; the first as the image alone would.
        own = Draws(draws.seed, draws.epoch, draws.index, draws.repeat * mosaics.TILES + tile)
        image = read(position)
        if augmentation.horizontal_flip or augmentation.vertical_flip:
            image = box_geometry.flip(image, augmentation, own)
        image = box_geometry.fit(image, size, augmentation, own, corner=corner)
        if augmentation.rotation:
            image = box_geometry.rotate(image, augmentation, own)
        return image

    def four() -> AnnotatedImage:
        positions = [draws.index[0], *tf.unstack(mosaics.partners(count, draws))]
        images = [one(position, tile, mosaics.CORNERS[tile]) for tile, position in enumerate(positions)]
        return mosaics.mosaic(images, augmentation.min_share, draws)

    def alone() -> AnnotatedImage:
        return one(draws.index[0])

    image = tf.cond(mosaics.chosen(augmentation.mosaic, draws), four, alone) if augmentation.mosaic else alone()
    if augmentation.color.jitters:
        pixels = color.jitter(image.image[tf.newaxis], augmentation.color, draws)[0]
        image = image._replace(image=pixels)
    return image
