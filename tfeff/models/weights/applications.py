"""Transfers the weights of keras.applications' networks, whose layers have other names."""

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.weights.loading import LoadReport, Naming, adopt_preprocessing, assign
from tfeff.networks.backbones import mobilenet, resnet
from tfeff.networks.blocks import Stage


def _number(stages: tuple[Stage, ...], stage: int, block: int) -> int | None:
    """Index of a block in the whole network, or None if it does not exist."""
    if stage > len(stages) or block > stages[stage - 1].repeats:
        return None
    return sum(row.repeats for row in stages[: stage - 1]) + block - 1


def _v1_block(stage: int, block: int) -> str | None:
    number = _number(mobilenet.V1_STAGES, stage, block)
    return None if number is None else str(number + 1)


def _v2_block(stage: int, block: int) -> str | None:
    number = _number(mobilenet.V2_STAGES, stage, block)
    return {None: None, 0: "expanded_conv"}.get(number, f"block_{number}")


_RESNET = Naming(
    ends={"stem_conv": "conv1_conv", "stem_conv_bn": "conv1_bn", "head_classifier": "predictions"},
    block=lambda stage, block: f"conv{stage + 1}_block{block}",
    units={
        "shortcut_conv": "{block}_0_conv",
        "shortcut_conv_bn": "{block}_0_bn",
        "conv1": "{block}_1_conv",
        "conv1_bn": "{block}_1_bn",
        "conv2": "{block}_2_conv",
        "conv2_bn": "{block}_2_bn",
        "conv3": "{block}_3_conv",
        "conv3_bn": "{block}_3_bn",
    },
    statistics=(resnet.IMAGENET_MEAN, (1.0, 1.0, 1.0)),
    flipped=True,
)
_EFFICIENTNET = Naming(
    ends={
        "stem_conv": "stem_conv",
        "stem_conv_bn": "stem_bn",
        "head_conv": "top_conv",
        "head_conv_bn": "top_bn",
        "head_classifier": "predictions",
    },
    block=lambda stage, block: f"block{stage}{chr(ord('a') + block - 1)}",
    units={
        "expand_conv": "{block}_expand_conv",
        "expand_conv_bn": "{block}_expand_bn",
        "depthwise_conv": "{block}_dwconv",
        "depthwise_conv_bn": "{block}_bn",
        "squeeze_excite_reduce": "{block}_se_reduce",
        "squeeze_excite_expand": "{block}_se_expand",
        "project_conv": "{block}_project_conv",
        "project_conv_bn": "{block}_project_bn",
    },
    statistics=None,
)
_MOBILENET_V1 = Naming(
    ends={"stem_conv": "conv1", "stem_conv_bn": "conv1_bn", "head_classifier": "conv_preds"},
    block=_v1_block,
    units={
        "depthwise_conv": "conv_dw_{block}",
        "depthwise_conv_bn": "conv_dw_{block}_bn",
        "pointwise_conv": "conv_pw_{block}",
        "pointwise_conv_bn": "conv_pw_{block}_bn",
    },
    statistics=((127.5,) * 3, (127.5,) * 3),
)
_MOBILENET_V2 = Naming(
    ends={
        "stem_conv": "Conv1",
        "stem_conv_bn": "bn_Conv1",
        "head_conv": "Conv_1",
        "head_conv_bn": "Conv_1_bn",
        "head_classifier": "predictions",
    },
    block=_v2_block,
    units={
        "expand_conv": "{block}_expand",
        "expand_conv_bn": "{block}_expand_BN",
        "depthwise_conv": "{block}_depthwise",
        "depthwise_conv_bn": "{block}_depthwise_BN",
        "project_conv": "{block}_project",
        "project_conv_bn": "{block}_project_BN",
    },
    statistics=((127.5,) * 3, (127.5,) * 3),
)
# Layers that identify the family.
_MARKERS = {
    "conv5_block1_3_conv": _RESNET,
    "block1a_dwconv": _EFFICIENTNET,
    "conv_pw_1": _MOBILENET_V1,
    "expanded_conv_depthwise": _MOBILENET_V2,
}


def _find_naming(application: keras.Model) -> Naming | None:
    """Naming of the application's family, or None if the family is unknown."""
    layers = {layer.name for layer in application.layers}
    return next((naming for marker, naming in _MARKERS.items() if marker in layers), None)


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
    naming = _find_naming(application)
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
