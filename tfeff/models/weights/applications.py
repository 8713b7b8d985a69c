"""Transfers the weights of keras.applications' networks."""

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.weights.loading import adopt_preprocessing, assign
from tfeff.models.weights.naming import find_naming
from tfeff.models.weights.report import LoadReport


def from_applications(model: Network, application: keras.Model) -> LoadReport:
    """Load the weights of a network of keras.applications, so that both networks compute the same outputs.

    The input of the network remains raw RGB pixels. The preprocessing of the application (its layers, or its module's
    `preprocess_input`) is transferred; for BGR, the stem's kernel is flipped. MobileNet of keras.applications maps an
    odd side r to floor(r / 2), the networks of this package to ceil(r / 2), so their outputs agree for even sides only.

    Args:
        model: a network of `tfeff.models.build`.
        application: EfficientNetB0-B7, ResNet50/101/152, MobileNet or MobileNetV2, with or without top.

    Returns:
        The loaded and the skipped variables, such as a classifier with another number of classes.

    Raises:
        UserError: the family of the application is unknown, or no variable matches.
    """
    naming = find_naming(application)
    if naming is None:
        raise UserError(f"{application.name}: not a supported network of keras.applications")
    remaining = {
        weight.path: keras.ops.convert_to_numpy(weight)
        for layer in application.layers
        if not isinstance(layer, keras.layers.Normalization)
        for weight in layer.weights
    }
    arrays = {}
    for weight in model.weights:
        layer, variable = weight.path.rsplit("/", 1)
        theirs = f"{naming(layer)}/{variable}"
        if theirs in remaining:
            array = remaining.pop(theirs)
            arrays[weight.path] = array[0, 0] if theirs == "conv_preds/kernel" else array
    if naming.flipped and "stem_conv/kernel" in arrays:
        arrays["stem_conv/kernel"] = arrays["stem_conv/kernel"][:, :, ::-1]
    adopt_preprocessing(model, arrays, *(naming.statistics or _own_statistics(application)))
    return assign(model, {**remaining, **arrays}, application.name)


def _own_statistics(application: keras.Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) in pixel units of the leading preprocessing layers, from their outputs for black and white."""
    values = [np.zeros((1, 1, 1, 3), "float32"), np.full((1, 1, 1, 3), 255, "float32")]
    for layer in application.layers[1:]:
        if not isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            break
        values = [keras.ops.convert_to_numpy(layer(value)) for value in values]
    black, white = (value.ravel().astype("float64") for value in values)
    std = 255 / (white - black)
    return tuple(-black * std), tuple(std)
