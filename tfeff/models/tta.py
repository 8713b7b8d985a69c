"""Predictions from several views of an image together: test-time augmentation."""

import math

import keras
from keras import ops

from tfeff.errors import UserError

UNMOVED_SHARE = 0.5
"""Of the weight, that of the views which are not moved, where others are."""


def averaged(model: keras.Model, *, mirrored: bool = True, shift: int = 0) -> keras.Model:
    """A classifier that gives the mean of the probabilities for several views of an image.

    The weights are the model's own. With a shift, views and their weights are those of K. Jordan ("94% on CIFAR-10 in
    3.29 seconds on a single GPU", 2024, section 3.5), who averages logits.

    Args:
        model: images [batch, resolution, resolution, channels] -> logits [batch, classes].
        mirrored: each view counts together with its mirror image: twice the cost.
        shift: pixels by which the image is moved down and right in a second view, up and left in a third, its border
            reflected; three times the cost. 0 for none; below the resolution.

    Returns:
        A model of the same input, with a `resolution`; its logits are the logarithms of the means.

    Raises:
        UserError: a shift that leaves nothing of the image to see.
    """
    side = model.resolution
    if not 0 <= shift < side:
        raise UserError(f"shift: {shift} pixels of images of {side}x{side}; it should be 0 to {side - 1}")
    images = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    views, weights = [images], [1.0]
    if shift:
        padded = ops.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]], mode="reflect")
        views += [padded[:, :side, :side], padded[:, -side:, -side:]]
        weights = [UNMOVED_SHARE, (1 - UNMOVED_SHARE) / 2, (1 - UNMOVED_SHARE) / 2]
    if mirrored:
        views += [ops.flip(view, axis=2) for view in views]
        weights = [weight / 2 for weight in weights] * 2
    terms = [ops.log_softmax(model(view)) + math.log(weight) for view, weight in zip(views, weights, strict=True)]
    whole = keras.Model(images, ops.logsumexp(ops.stack(terms), axis=0), name=f"averaged_{model.name}")
    whole.resolution = side
    return whole
