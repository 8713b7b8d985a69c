"""Weights of keras.applications' networks, the published ones and one's own, in the networks of this package."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.backbones import mobilenet, resnet
from tfeff.models.layers.mbconv import Stage
from tfeff.models.network import Network
from tfeff.models.weights.loading import LoadReport, adopt_preprocessing, assign

# Network here -> class of keras.applications.
PUBLISHED = {
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    **{f"efficientnet-b{member}": f"EfficientNetB{member}" for member in range(8)},
    "mobilenet-v1": "MobileNet",
    "mobilenet-v2": "MobileNetV2",
}


@dataclass(frozen=True, kw_only=True)
class _Naming:
    """How keras.applications names the layers of a family.

    Attributes:
        ends: layer of the stem or head here -> there.
        block: (stage, block), both from 1 -> name of the block there, or None where its network has no such block.
        units: layer of a block, without its block's name, here -> there, with "{block}" for the block.
        statistics: (mean, std), RGB, that the network's images are standardised with outside of it, or None where the
            network does so itself.
        flipped: the stem reads BGR.
    """

    ends: dict[str, str]
    block: Callable[[int, int], str | None]
    units: dict[str, str]
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
    flipped: bool = False

    def __call__(self, layer: str) -> str | None:
        """Name there of a layer here, or None."""
        parts = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", layer)
        if parts is None:
            return self.ends.get(layer)
        block, unit = self.block(int(parts[1]), int(parts[2])), self.units.get(parts[3])
        return None if block is None or unit is None else unit.format(block=block)


def _number(stages: tuple[Stage, ...], stage: int, block: int) -> int | None:
    """Number of a block in the whole network, from 0."""
    if stage > len(stages) or block > stages[stage - 1].repeats:
        return None
    return sum(row.repeats for row in stages[: stage - 1]) + block - 1


def _v1_block(stage: int, block: int) -> str | None:
    number = _number(mobilenet.V1_STAGES, stage, block)
    return None if number is None else str(number + 1)


def _v2_block(stage: int, block: int) -> str | None:
    number = _number(mobilenet.V2_STAGES, stage, block)
    return {None: None, 0: "expanded_conv"}.get(number, f"block_{number}")


_RESNET = _Naming(
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
_EFFICIENTNET = _Naming(
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
_MOBILENET_V1 = _Naming(
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
_MOBILENET_V2 = _Naming(
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
# A layer that only this family's networks have there.
_MARKERS = {
    "conv5_block1_3_conv": _RESNET,
    "block1a_dwconv": _EFFICIENTNET,
    "conv_pw_1": _MOBILENET_V1,
    "expanded_conv_depthwise": _MOBILENET_V2,
}


def from_applications(model: Network, application: keras.Model) -> LoadReport:
    """Set a network's weights from one of keras.applications, so that both compute the same.

    The network keeps taking raw RGB pixels; the application's own preprocessing layers, or the `preprocess_input` of
    its module, are taken over (flipped channels by flipping the stem's kernel). Sides: MobileNet of keras.applications
    makes floor(r / 2) of an odd side where the networks here make ceil(r / 2), so that there only even sides agree.

    Args:
        model: a network of `tfeff.models.build`.
        application: EfficientNetB0-B7, ResNet50/101/152, MobileNet or MobileNetV2, with or without top.

    Returns:
        What was loaded, and what did not fit, such as the head of a network with other classes.

    Raises:
        UserError: an application of another family, or one of which nothing fits.
    """
    layers = {layer.name: layer for layer in application.layers}
    naming = next((naming for marker, naming in _MARKERS.items() if marker in layers), None)
    if naming is None:
        raise UserError(f"{application.name}: not a network of keras.applications that is known here")
    left = {
        weight.path: keras.ops.convert_to_numpy(weight)
        for layer in application.layers
        if not isinstance(layer, keras.layers.Normalization)
        for weight in layer.weights
    }
    arrays = {}
    for weight in model.weights:
        layer, variable = weight.path.rsplit("/", 1)
        theirs = f"{naming(layer)}/{variable}"
        if theirs in left:
            array = left.pop(theirs)
            arrays[weight.path] = array[0, 0] if theirs == "conv_preds/kernel" else array
    if naming.flipped and "stem_conv/kernel" in arrays:
        arrays["stem_conv/kernel"] = arrays["stem_conv/kernel"][:, :, ::-1]
    adopt_preprocessing(model, arrays, *(naming.statistics or _own_statistics(application)))
    return assign(model, {**left, **arrays}, application.name)


def load_imagenet(model: Network, name: str) -> LoadReport:
    """Download keras.applications' published ImageNet weights (or take them from Keras' cache) and load what fits.

    Args:
        model: the network.
        name: its name for `tfeff.models.build`.

    Raises:
        UserError: a network that has no published weights, or no connection.
    """
    if name not in PUBLISHED:
        raise UserError(f"{name} has no published weights; these have: {', '.join(PUBLISHED)}")
    try:
        application = getattr(keras.applications, PUBLISHED[name])(weights="imagenet")
    except Exception as error:  # keras.utils.get_file raises plain Exception when a download fails
        raise UserError(
            f"the published weights of {name} cannot be had ({error}). Run once with a connection to fill Keras' cache "
            "(~/.keras/models), or give the path of a file"
        ) from error
    return from_applications(model, application)


def _own_statistics(application: keras.Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) in pixel units of the preprocessing layers that open a network, measured at two gray values."""
    values = [np.zeros((1, 1, 1, 3), "float32"), np.full((1, 1, 1, 3), 255, "float32")]
    for layer in application.layers[1:]:
        if not isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            break
        values = [keras.ops.convert_to_numpy(layer(value)) for value in values]
    black, white = (value.ravel().astype("float64") for value in values)
    std = 255 / (white - black)
    return tuple(-black * std), tuple(std)
