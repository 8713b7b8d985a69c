"""How keras.applications names the layers of each family, compared with the networks of this package."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import keras

from tfeff.models.backbones import mobilenet, resnet
from tfeff.models.layers.mbconv import Stage


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Names of a family's layers in another implementation, such as keras.applications.

    Attributes:
        ends: maps layers of stem and head to their names there.
        block: maps (stage, block), both counted from 1, to the name of the block, or to None if it does not exist.
        units: maps the layers of a block (without the block's name) to their names, where "{block}" is the block.
        statistics: RGB (mean, std) of the module's `preprocess_input`, or None if preprocessing is part of the network.
        flipped: whether the stem expects BGR.
    """

    ends: dict[str, str]
    block: Callable[[int, int], str | None]
    units: dict[str, str]
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
    flipped: bool = False

    def __call__(self, layer: str) -> str | None:
        """Name of a layer in the other implementation, or None."""
        parts = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", layer)
        if parts is None:
            return self.ends.get(layer)
        block, unit = self.block(int(parts[1]), int(parts[2])), self.units.get(parts[3])
        return None if block is None or unit is None else unit.format(block=block)


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


def find_naming(application: keras.Model) -> Naming | None:
    """Naming of the application's family, or None if the family is unknown."""
    layers = {layer.name for layer in application.layers}
    return next((naming for marker, naming in _MARKERS.items() if marker in layers), None)
