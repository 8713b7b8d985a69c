"""Weights of torchvision: RegNets, ResNet-50, and Faster R-CNN with ResNet-50 and FPN (`fasterrcnn_resnet50_fpn`)."""

import re
from collections.abc import Callable, Mapping

import numpy as np

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.networks.heads import CLASSIFIER

NETWORK = "resnet50-v1.5"
"""A network with the preprocessing of all of them."""
_UNITS = {"conv": "", "bn": "_bn"}
_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_PATTERNS: tuple[tuple[str, Callable[[re.Match], str]], ...] = (
    (r"(?:backbone\.body\.)?(conv|bn)1", lambda m: f"stem_conv{_UNITS[m[1]]}"),
    (
        r"(?:backbone\.body\.)?layer(\d)\.(\d+)\.(conv|bn)(\d)",
        lambda m: f"stage{m[1]}_block{int(m[2]) + 1}_conv{m[4]}{_UNITS[m[3]]}",
    ),
    (
        r"(?:backbone\.body\.)?layer(\d)\.(\d+)\.downsample\.([01])",
        lambda m: f"stage{m[1]}_block{int(m[2]) + 1}_shortcut_conv{('', '_bn')[int(m[3])]}",
    ),
    (r"fc", lambda _: CLASSIFIER),
    (r"stem\.([01])", lambda m: f"stem_conv{('', '_bn')[int(m[1])]}"),
    (
        r"trunk_output\.block(\d)\.block\d-(\d+)\.f\.([abc])\.([01])",
        lambda m: f"stage{m[1]}_block{int(m[2]) + 1}_conv{'abc'.index(m[3]) + 1}{('', '_bn')[int(m[4])]}",
    ),
    (
        r"trunk_output\.block(\d)\.block\d-(\d+)\.f\.se\.fc([12])",
        lambda m: f"stage{m[1]}_block{int(m[2]) + 1}_squeeze_excite_{('reduce', 'expand')[int(m[3]) - 1]}",
    ),
    (
        r"trunk_output\.block(\d)\.block\d-(\d+)\.proj\.([01])",
        lambda m: f"stage{m[1]}_block{int(m[2]) + 1}_shortcut_conv{('', '_bn')[int(m[3])]}",
    ),
    (
        r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?",
        lambda m: f"neck_cell1_p{int(m[1]) + 2}_td_from_p{int(m[1]) + 2}_conv",
    ),
    (r"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?", lambda m: f"neck_cell1_p{int(m[1]) + 2}_out_conv"),
    (r"rpn\.head\.conv(?:\.0\.0)?", lambda m: "rpn_conv1"),
    (r"rpn\.head\.cls_logits", lambda m: "rpn_objectness"),
    (r"rpn\.head\.bbox_pred", lambda m: "rpn_codes"),
    (r"roi_heads\.box_head\.fc([67])", lambda m: f"box_head_fc{int(m[1]) - 5}"),
    (r"roi_heads\.box_predictor\.cls_score", lambda m: "box_head_logits"),
    (r"roi_heads\.box_predictor\.bbox_pred", lambda m: "box_head_codes"),
)


def is_known(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether these are the names of such a state dict."""
    return _is_detector(arrays) or _is_resnet(arrays) or any(name.startswith("trunk_output.") for name in arrays)


def _is_detector(arrays: Mapping[str, np.ndarray]) -> bool:
    return any(name.startswith("rpn.head.") for name in arrays)


def _is_resnet(arrays: Mapping[str, np.ndarray]) -> bool:
    return any(name.startswith("layer1.0.") for name in arrays)


def rename(model: Network, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dict, by the paths and in the layouts of our variables.

    Kernels are transposed. Of the detector, the first dense layer reads channels last; codes are (dy, dx, log dh, log
    dw); background is the last class and has no codes. Its batch normalization, if frozen, has an epsilon of 0; that of
    the model is subtracted from its variances.

    Args:
        model: the network that the weights are for, with any number of classes.
        arrays: the state dict. Arrays that belong to no layer keep their names.

    Raises:
        UserError: it is not the state dict of such a network.
    """
    if not is_known(arrays):
        raise UserError(
            "the file has other names than torchvision's networks: only its RegNets, ResNet-50 and "
            "fasterrcnn_resnet50_fpn can be read"
        )
    detector = _is_detector(arrays)
    if not detector and _is_resnet(arrays) and all(layer.name != "stage2_block1_pad" for layer in model.layers):
        raise UserError(
            "torchvision's ResNets have the stride of a block in its 3x3 convolution; only resnet50-v1.5 can load "
            "their weights"
        )
    frozen = detector and not any(name.endswith("num_batches_tracked") for name in arrays)
    layers = {layer.name: layer for layer in model.layers}
    size = getattr(model.description, "pooling_size", 0)
    renamed = {}
    for name, array in arrays.items():
        if name.endswith("num_batches_tracked"):
            continue
        module, _, parameter = name.rpartition(".")
        layer = _layer(module)
        variables = _VARIABLES if layer is not None and layer.endswith("_bn") else {"weight": "kernel", "bias": "bias"}
        if layer is None or layer not in layers or parameter not in variables:
            renamed[name] = array
            continue
        if frozen and parameter == "running_var":
            array = np.maximum(array - layers[layer].epsilon, 0.0).astype(array.dtype)
        elif variables is not _VARIABLES:
            array = _converted(layer, array, size)
        renamed[f"{layer}/{variables[parameter]}"] = array
    return renamed


def _layer(module: str) -> str | None:
    """Returns our name of a module's layer."""
    for pattern, name in _PATTERNS:
        if match := re.fullmatch(pattern, module):
            return name(match)
    return None


def _converted(layer: str, array: np.ndarray, size: int) -> np.ndarray:
    """Returns a kernel or bias in our layout. The first axis of both is that of the outputs."""
    if layer == "box_head_logits":
        array = np.concatenate([array[1:], array[:1]])
    elif layer == "box_head_codes":
        array = _swapped(array[4:])
    elif layer == "rpn_codes":
        array = _swapped(array)
    elif layer == "box_head_fc1" and array.ndim == 2:
        array = array.reshape(len(array), -1, size, size).transpose(0, 2, 3, 1).reshape(len(array), -1)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _swapped(codes: np.ndarray) -> np.ndarray:
    """Returns codes (x, y, w, h) of the first axis as (y, x, h, w)."""
    return codes.reshape(-1, 4, *codes.shape[1:])[:, [1, 0, 3, 2]].reshape(codes.shape)
