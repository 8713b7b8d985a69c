"""Predictions from an image and its mirror image together."""

import keras
from keras import ops


def mirrored(model: keras.Model) -> keras.Model:
    """A classifier that gives the mean of the probabilities for an image and its mirror image, at twice the cost.

    The weights are the model's own.

    Args:
        model: images [batch, resolution, resolution, channels] -> logits [batch, classes].

    Returns:
        A model of the same input, with a `resolution`; its logits are the logarithms of the means.
    """
    images = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    views = ops.stack([ops.log_softmax(model(view)) for view in (images, ops.flip(images, axis=2))])
    both = keras.Model(images, ops.logsumexp(views, axis=0) - ops.log(2.0), name=f"mirrored_{model.name}")
    both.resolution = model.resolution
    return both
