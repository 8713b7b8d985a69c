"""Weights of torchvision: RegNets, ResNet-50, and two detectors with ResNet-50 and FPN, Faster R-CNN
(`fasterrcnn_resnet50_fpn`) and RetinaNet (`retinanet_resnet50_fpn`)."""

import dataclasses
import re
from collections.abc import Callable, Mapping

import numpy as np

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.networks.backbones.architecture import level_number
from tfeff.networks.detectors.rcnn import FASTER_TABLE, FasterRCNN
from tfeff.networks.detectors.retinanet import TABLE as RETINANET_TABLE
from tfeff.networks.detectors.retinanet import RetinaNet
from tfeff.networks.heads import BOX_HEAD, CLASS_HEAD, CLASSIFIER

NETWORK = "resnet50-v1.5"
"""A network with the preprocessing of all of them."""
_ANCHORED = {"rpn_objectness", "rpn_codes", f"{CLASS_HEAD}_predict", f"{BOX_HEAD}_predict"}
"""Layers that predict relative to anchors. To a network with others, their arrays mean nothing."""
_UNITS = {"conv": "", "bn": "_bn"}
_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_HEADS = {"classification": CLASS_HEAD, "regression": BOX_HEAD}
_PATTERNS: tuple[tuple[str, Callable[[re.Match, int], str]], ...] = (
    (r"(?:backbone\.body\.)?(conv|bn)1", lambda m, _: f"stem_conv{_UNITS[m[1]]}"),
    (
        r"(?:backbone\.body\.)?layer(\d)\.(\d+)\.(conv|bn)(\d)",
        lambda m, _: f"stage{m[1]}_block{int(m[2]) + 1}_conv{m[4]}{_UNITS[m[3]]}",
    ),
    (
        r"(?:backbone\.body\.)?layer(\d)\.(\d+)\.downsample\.([01])",
        lambda m, _: f"stage{m[1]}_block{int(m[2]) + 1}_shortcut_conv{('', '_bn')[int(m[3])]}",
    ),
    (r"fc", lambda _, __: CLASSIFIER),
    (r"stem\.([01])", lambda m, _: f"stem_conv{('', '_bn')[int(m[1])]}"),
    (
        r"trunk_output\.block(\d)\.block\d-(\d+)\.f\.([abc])\.([01])",
        lambda m, _: f"stage{m[1]}_block{int(m[2]) + 1}_conv{'abc'.index(m[3]) + 1}{('', '_bn')[int(m[4])]}",
    ),
    (
        r"trunk_output\.block(\d)\.block\d-(\d+)\.f\.se\.fc([12])",
        lambda m, _: f"stage{m[1]}_block{int(m[2]) + 1}_squeeze_excite_{('reduce', 'expand')[int(m[3]) - 1]}",
    ),
    (
        r"trunk_output\.block(\d)\.block\d-(\d+)\.proj\.([01])",
        lambda m, _: f"stage{m[1]}_block{int(m[2]) + 1}_shortcut_conv{('', '_bn')[int(m[3])]}",
    ),
    (
        r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?",
        lambda m, first: f"neck_cell1_p{int(m[1]) + first}_td_from_p{int(m[1]) + first}_conv",
    ),
    (
        r"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?",
        lambda m, first: f"neck_cell1_p{int(m[1]) + first}_out_conv",
    ),
    (r"backbone\.fpn\.extra_blocks\.(p\d)", lambda m, _: f"neck_{m[1]}_conv"),
    (r"rpn\.head\.conv(?:\.0\.0)?", lambda _, __: "rpn_conv1"),
    (r"rpn\.head\.cls_logits", lambda _, __: "rpn_objectness"),
    (r"rpn\.head\.bbox_pred", lambda _, __: "rpn_codes"),
    (r"roi_heads\.box_head\.fc([67])", lambda m, _: f"box_head_fc{int(m[1]) - 5}"),
    (r"roi_heads\.box_predictor\.cls_score", lambda _, __: "box_head_logits"),
    (r"roi_heads\.box_predictor\.bbox_pred", lambda _, __: "box_head_codes"),
    (r"head\.(\w+)_head\.conv\.(\d)\.0", lambda m, _: f"{_HEADS[m[1]]}_conv{int(m[2]) + 1}"),
    # Before version 0.13, activations were counted, too.
    (r"head\.(\w+)_head\.conv\.(\d)", lambda m, _: f"{_HEADS[m[1]]}_conv{int(m[2]) // 2 + 1}"),
    (r"head\.(\w+)_head\.(?:cls_logits|bbox_reg)", lambda m, _: f"{_HEADS[m[1]]}_predict"),
)


def is_known(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether these are the names of such a state dict."""
    is_regnet = any(name.startswith("trunk_output.") for name in arrays)
    return is_regnet or _is_resnet(arrays) or _detector(arrays) is not None


def _detector(arrays: Mapping[str, np.ndarray]) -> FasterRCNN | RetinaNet | None:
    """Returns the published detector of these names; None if they are not those of a detector."""
    # Second versions have more convolutions and normalization, others another backbone.
    has_body = any(name.startswith("backbone.body.") for name in arrays)
    other_body = has_body and "backbone.body.layer4.0.conv1.weight" not in arrays
    if other_body or "backbone.fpn.inner_blocks.0.1.weight" in arrays:
        return None
    if any(name.startswith("rpn.head.") for name in arrays):
        return None if "rpn.head.conv.1.0.weight" in arrays else FASTER_TABLE["faster-rcnn"]
    # Group normalization is that of the second version, and FCOS has further outputs.
    others = "head.classification_head.conv.0.1.weight", "head.regression_head.bbox_ctrness.weight"
    if "head.classification_head.cls_logits.weight" not in arrays or any(name in arrays for name in others):
        return None
    return RETINANET_TABLE["retinanet"]


def _is_resnet(arrays: Mapping[str, np.ndarray]) -> bool:
    return any(name.startswith("layer1.0.") for name in arrays)


def rename(model: Network, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dict, by the paths and in the layouts of our variables.

    Kernels are transposed. Of a Faster R-CNN, the first dense layer reads channels last, and background is the last
    class and has no codes; a RetinaNet has no outputs for background, and its anchors are ordered by scale and aspect
    instead of aspect and scale. Codes are (dy, dx, log dh, log dw). Batch normalization of detectors, if frozen, has an
    epsilon of 0; that of the model is subtracted from its variances.

    Args:
        model: the network that the weights are for, with any number of classes.
        arrays: the state dict. Arrays that belong to no layer keep their names.

    Raises:
        UserError: it is not the state dict of such a network.
    """
    if not is_known(arrays):
        raise UserError(
            "the file has other names than torchvision's networks: only its RegNets, ResNet-50, "
            "fasterrcnn_resnet50_fpn and retinanet_resnet50_fpn can be read"
        )
    detector = _detector(arrays)
    layers = {layer.name: layer for layer in model.layers}
    takes_body = "backbone.body.layer1.0.conv1.weight" in arrays and "stage1_block1_conv3" in layers
    if (takes_body or _is_resnet(arrays)) and "stage2_block1_pad" not in layers:
        raise UserError(
            "torchvision's ResNets have the stride of a block in its 3x3 convolution; only resnet50-v1.5 can load "
            "their weights"
        )
    frozen = detector is not None and not any(name.endswith("num_batches_tracked") for name in arrays)
    size = getattr(model.description, "pooling_size", 0)
    first = level_number(detector.levels[0]) if detector else 0
    foreign = set[str]()
    if detector is not None and not _is_anchored_as(model.description, detector):
        foreign |= _ANCHORED
    if isinstance(detector, RetinaNet) and not _has_convolved_levels_of(model.description, detector):
        foreign |= {f"neck_{level.lower()}_conv" for level in detector.levels}
    renamed = {}
    for name, array in arrays.items():
        if name.endswith("num_batches_tracked"):
            continue
        module, _, parameter = name.rpartition(".")
        layer = _layer(module, first)
        variables = _VARIABLES if layer is not None and layer.endswith("_bn") else {"weight": "kernel", "bias": "bias"}
        if layer is None or layer not in layers or parameter not in variables:
            renamed[name] = array
            continue
        if layer in foreign:
            renamed[f"{name} (for other {'anchors' if layer in _ANCHORED else 'levels'})"] = array
            continue
        if frozen and parameter == "running_var":
            array = np.maximum(array - layers[layer].epsilon, 0.0).astype(array.dtype)
        elif variables is not _VARIABLES:
            array = _converted(layer, array, size)
        renamed[f"{layer}/{variables[parameter]}"] = array
    return renamed


def _layer(module: str, first: int) -> str | None:
    """Returns our name of a module's layer; `first` is the number of the neck's finest level."""
    for pattern, name in _PATTERNS:
        if match := re.fullmatch(pattern, module):
            return name(match, first)
    return None


def _is_anchored_as(described: object, published: FasterRCNN | RetinaNet) -> bool:
    """Returns whether a network predicts relative to the anchors of a published detector."""
    if not isinstance(described, type(published)):
        return False
    return dataclasses.replace(described.anchors, levels=published.anchors.levels) == published.anchors


def _has_convolved_levels_of(described: object, published: RetinaNet) -> bool:
    """Returns whether a network adds levels behind its neck as a published detector does."""
    return isinstance(described, RetinaNet) and described.convolved_levels == published.convolved_levels


def _by_scale(array: np.ndarray, values: int | None) -> np.ndarray:
    """Returns a kernel or bias of a RetinaNet's predictions with its anchors in our order.

    Args:
        values: number of values per anchor. None: scores of any number of classes; the first, that of the background,
            is dropped.

    Raises:
        UserError: the number of anchors is not the published one.
    """
    published = RETINANET_TABLE["retinanet"]
    aspects, scales = len(published.anchor_aspects), len(published.anchor_scales)
    if len(array) % (aspects * scales) or (values and len(array) != aspects * scales * values):
        raise UserError(f"the file's RetinaNet has other anchors than the published one, which has {aspects * scales}")
    array = array.reshape(aspects, scales, -1, *array.shape[1:]).swapaxes(0, 1)
    return (array if values else array[:, :, 1:]).reshape(-1, *array.shape[3:])


def _converted(layer: str, array: np.ndarray, size: int) -> np.ndarray:
    """Returns a kernel or bias in our layout. The first axis of both is that of the outputs."""
    if layer == "box_head_logits":
        array = np.concatenate([array[1:], array[:1]])
    elif layer == "box_head_codes":
        array = _swapped(array[4:])
    elif layer == "rpn_codes":
        array = _swapped(array)
    elif layer == f"{BOX_HEAD}_predict":
        array = _swapped(_by_scale(array, 4))
    elif layer == f"{CLASS_HEAD}_predict":
        array = _by_scale(array, None)
    elif layer == "box_head_fc1" and array.ndim == 2 and array.shape[1] % size**2 == 0:  # else for other regions
        array = array.reshape(len(array), -1, size, size).transpose(0, 2, 3, 1).reshape(len(array), -1)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _swapped(codes: np.ndarray) -> np.ndarray:
    """Returns codes (x, y, w, h) of the first axis as (y, x, h, w)."""
    return codes.reshape(-1, 4, *codes.shape[1:])[:, [1, 0, 3, 2]].reshape(codes.shape)
