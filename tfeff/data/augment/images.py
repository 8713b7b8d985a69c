"""Augmentation of a batch of images with one label each: all steps in order."""

import tensorflow as tf

from tfeff.data.augment import color, geometry
from tfeff.data.augment.autoaugment import autoaugment
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.augment.erasing import random_erasing
from tfeff.data.augment.policy import Augmentation
from tfeff.data.augment.randaugment import randaugment
from tfeff.data.images import resizing


def augment(
    images: tf.Tensor,
    size: tuple[int, int],
    augmentation: Augmentation,
    draws: Draws,
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Augments each image with its own random numbers and resizes the batch to the network's resolution.

    Padded crops and flips copy pixels of the cached size; random crops replace the resizing, which all other steps
    follow.

    Args:
        images: uint8 [n, height, width, channels], height and width known.
        size: (height, width) of the result.
        augmentation: the settings; MixUp and CutMix are ignored here, see `mixing`.
        draws: the examples.
        interpolation: of the resizing, a key of `resizing.FILTERS`.

    Returns:
        float32 [n, *size, channels] in [0, 255].
    """
    if augmentation.horizontal_flip or augmentation.vertical_flip or augmentation.crop_padding:
        images = geometry.crop_and_flip(images, augmentation, draws)
    if augmentation.crop_area:
        images = geometry.random_crop(images, size, augmentation, draws, interpolation)
    else:
        images = resizing.resize(images, size, interpolation)
    if augmentation.warps:
        images = geometry.warp(images, augmentation, draws)
    if augmentation.jitters:
        images = color.jitter(images, augmentation, draws)
    if augmentation.autoaugment:
        images = autoaugment(images, draws)
    if augmentation.randaugment_layers:
        images = randaugment(images, augmentation.randaugment_layers, augmentation.randaugment_magnitude, draws)
    if augmentation.random_erasing:
        images = random_erasing(images, augmentation.random_erasing, draws)
    return images
