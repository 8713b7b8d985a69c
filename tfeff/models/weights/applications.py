"""Transfer of weights from keras.applications' networks, whose layers have other names."""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.weights.loading import LoadReport, Naming, adopt_preprocessing, assign
from tfeff.networks.backbones import mobilenet, mobilenet_v3, resnet
from tfeff.networks.blocks import Stage
from tfeff.networks.heads import CLASSIFIER


def _number(stages: tuple[Stage, ...], stage: int, block: int) -> int | None:
    """Returns the index of a block in the whole network, or None if it does not exist."""
    if stage > len(stages) or block > stages[stage - 1].repeats:
        return None
    return sum(row.repeats for row in stages[: stage - 1]) + block - 1


def _v1_block(stage: int, block: int) -> str | None:
    number = _number(mobilenet.V1_STAGES, stage, block)
    return None if number is None else str(number + 1)


def _v2_block(stage: int, block: int) -> str | None:
    number = _number(mobilenet.V2_STAGES, stage, block)
    return {None: None, 0: "expanded_conv"}.get(number, f"block_{number}")


def _v3_block(stages: tuple[Stage, ...]) -> Callable[[int, int], str | None]:
    def block(stage: int, block: int) -> str | None:
        number = _number(stages, stage, block)
        return {None: None, 0: "expanded_conv"}.get(number, f"expanded_conv_{number}")

    return block


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
    statistics=(resnet.CAFFE_MEAN, (1.0, 1.0, 1.0)),
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
_EFFICIENTNET_V2 = replace(_EFFICIENTNET, units={**_EFFICIENTNET.units, "depthwise_conv": "{block}_dwconv2"})
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
_MOBILENET_V3_SMALL = Naming(
    ends={
        "stem_conv": "conv",
        "stem_conv_bn": "conv_bn",
        "head_conv": "conv_1",
        "head_conv_bn": "conv_1_bn",
        "head_hidden": "conv_2",
        "head_classifier": "logits",
    },
    block=_v3_block(mobilenet_v3.STAGES["small"]),
    units={
        "expand_conv": "{block}_expand",
        "expand_conv_bn": "{block}_expand_bn",
        "depthwise_conv": "{block}_depthwise",
        "depthwise_conv_bn": "{block}_depthwise_bn",
        "squeeze_excite_reduce": "{block}_squeeze_excite_conv",
        "squeeze_excite_expand": "{block}_squeeze_excite_conv_1",
        "project_conv": "{block}_project",
        "project_conv_bn": "{block}_project_bn",
    },
    statistics=None,
)
_MOBILENET_V3_LARGE = replace(_MOBILENET_V3_SMALL, block=_v3_block(mobilenet_v3.STAGES["large"]))
_CONVNEXT = Naming(
    ends={
        "stem_conv": "stem_conv",
        "stem_norm": "stem_layernorm",
        "head_norm": "head_layernorm",
        "head_classifier": "head_dense",
    },
    block=lambda stage, block: f"stage_{stage - 1}_block_{block - 1}",
    units={
        "downsample_norm": "downsampling_layernorm_{previous}",
        "downsample_conv": "downsampling_conv_{previous}",
        "depthwise_conv": "{block}_depthwise_conv",
        "norm": "{block}_layernorm",
        "expand": "{block}_pointwise_conv_1",
        "project": "{block}_pointwise_conv_2",
        "layer_scale": "{block}_layer_scale",
    },
    statistics=None,
)
# Layers that identify the family. Large is the only MobileNetV3 with that many blocks.
_MARKERS = {
    "conv5_block1_3_conv": _RESNET,
    "block1a_dwconv": _EFFICIENTNET,
    "conv_pw_1": _MOBILENET_V1,
    "block_1_expand": _MOBILENET_V2,
    "block1a_project_conv": _EFFICIENTNET_V2,
    "expanded_conv_14_expand": _MOBILENET_V3_LARGE,
    "expanded_conv_10_expand": _MOBILENET_V3_SMALL,
    "stage_0_block_0_layer_scale": _CONVNEXT,
}


def _own_layers(application: keras.Model) -> dict[str, keras.Layer]:
    """Returns the layers with weights by name, also those inside nested models, without the name of the application."""
    layers = (layer for layer in application._flatten_layers() if not isinstance(layer, keras.Model))
    return {layer.name.removeprefix(f"{application.name}_"): layer for layer in layers if layer.weights}


def from_applications(model: Network, application: keras.Model) -> LoadReport:
    """Loads the weights of a network of keras.applications, so that both networks compute the same outputs.

    The input of the network remains raw RGB pixels. The preprocessing of the application (its layers, or its module's
    `preprocess_input`) is transferred; for BGR, the stem's kernel is flipped. MobileNet of keras.applications maps an
    odd side r to floor(r / 2), the networks of this package to ceil(r / 2), so their outputs agree for even sides only,
    and those of ConvNeXt for multiples of 32.

    Args:
        model: a network of `tfeff.models.build`.
        application: EfficientNetB0-B7, EfficientNetV2, ResNet50/101/152, MobileNet, MobileNetV2, MobileNetV3 or
            ConvNeXt, with or without top.

    Returns:
        The loaded and the skipped variables, such as a classifier with another number of classes.

    Raises:
        UserError: the family of the application is unknown, or no variable matches.
    """
    layers = _own_layers(application)
    naming = next((naming for marker, naming in _MARKERS.items() if marker in layers), None)
    if naming is None:
        raise UserError(f"{application.name}: not a supported network of keras.applications")
    remaining = {
        # The only variables without a name are those of ConvNeXt's LayerScale.
        f"{name}/{'gamma' if weight.name.startswith('variable') else weight.name}": keras.ops.convert_to_numpy(weight)
        for name, layer in layers.items()
        if not isinstance(layer, keras.layers.Normalization)
        for weight in layer.weights
        if not weight.path.endswith("/seed_generator_state")
    }
    arrays = {}
    for weight in model.weights:
        layer, variable = weight.path.rsplit("/", 1)
        theirs = f"{naming(layer)}/{variable}"
        if theirs in remaining:
            arrays[weight.path] = _in_our_layout(remaining.pop(theirs), layer)
    if naming.flipped and "stem_conv/kernel" in arrays:
        arrays["stem_conv/kernel"] = arrays["stem_conv/kernel"][:, :, ::-1]
    adopt_preprocessing(model, arrays, *(naming.statistics or _own_statistics(application)))
    return assign(model, {**remaining, **arrays}, application.name)


def _in_our_layout(array: np.ndarray, layer: str) -> np.ndarray:
    """Returns kernels of dense layers that are 1x1 convolutions there, and of depthwise layers that are convolutions in
    groups."""
    if array.ndim == 4 and layer in (CLASSIFIER, "head_hidden"):
        return array[0, 0]
    if array.ndim == 4 and layer.endswith("depthwise_conv") and array.shape[2] == 1:
        return array.transpose(0, 1, 3, 2)
    return array


def _own_statistics(application: keras.Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns (mean, std) of the leading preprocessing layers in pixel units.

    They follow from the outputs for black and white.
    """
    values = [np.zeros((1, 1, 1, 3), "float32"), np.full((1, 1, 1, 3), 255, "float32")]
    for layer in application.layers[1:]:
        if not isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            break
        values = [keras.ops.convert_to_numpy(layer(value)) for value in values]
    black, white = (value.ravel().astype("float64") for value in values)
    std = 255 / (white - black)
    return tuple(-black * std), tuple(std)
