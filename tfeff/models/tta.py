"""Test-time augmentation: averages the predictions for several views of an image."""

import math

import keras
from keras import ops

from tfeff.errors import UserError

UNSHIFTED_WEIGHT = 0.5
"""Total weight of the unshifted views if there are shifted ones."""


def averaged(model: keras.Model, *, mirrored: bool = True, shift: int = 0) -> keras.Model:
    """Build a classifier that averages the probabilities of several views of an image.

    It shares its weights with `model`. Views and their weights follow K. Jordan ("94% on CIFAR-10 in 3.29 Seconds on a
    Single GPU", 2024, section 3.5), who averages logits.

    Args:
        model: images [batch, resolution, resolution, channels] -> logits [batch, classes].
        mirrored: adds the horizontal flip of each view, which doubles the cost.
        shift: adds two views, shifted by this many pixels down and right, and up and left, with reflection padding;
            three times the cost. 0 adds none. Must be less than the resolution.

    Returns:
        A model with the same input and a `size`. Its logits are the logarithms of the mean probabilities.

    Raises:
        UserError: `shift` is not in [0, resolution).
    """
    side = model.resolution
    if not 0 <= shift < side:
        raise UserError(f"shift {shift}: must be between 0 and {side - 1} for images of {side}x{side} pixels")
    images = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    views, weights = [images], [1.0]
    if shift:
        padded = ops.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]], mode="reflect")
        views += [padded[:, :side, :side], padded[:, -side:, -side:]]
        weights = [UNSHIFTED_WEIGHT, (1 - UNSHIFTED_WEIGHT) / 2, (1 - UNSHIFTED_WEIGHT) / 2]
    if mirrored:
        views += [ops.flip(view, axis=2) for view in views]
        weights = [weight / 2 for weight in weights] * 2
    terms = [ops.log_softmax(model(view)) + math.log(weight) for view, weight in zip(views, weights, strict=True)]
    averaging = keras.Model(images, ops.logsumexp(ops.stack(terms), axis=0), name=f"averaged_{model.name}")
    averaging.size = model.size
    return averaging
