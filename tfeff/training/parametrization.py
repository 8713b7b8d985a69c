"""The maximal update parametrization (μP): one learning rate for all widths and depths of a family.

Yang et al., "Tensor Programs V" (arXiv:2203.03466), in the form of Yang, Simon and Bernstein, "A Spectral Condition for
Feature Learning" (arXiv:2310.17813, section 4): a variable with fan-in n and fan-out m has an initial standard
deviation proportional to min(1, √(m/n)) / √n. Its learning rate is proportional to m / n for SGD, and to 1 / n for
optimizers that normalize gradients. Each of L residual blocks adds 1/√L of its result, and those optimizers train it at
1/√L of the rate (Yang et al., "Tensor Programs VI", arXiv:2310.02244, table 1).

All factors are relative to the member of the family whose width and depth coefficients are 1, which is trained as
usual.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras import layers as L

from tfeff.models.graph import Node, nodes_of
from tfeff.networks import Architecture

_BLOCK = re.compile(r"stage\d+_block\d+_")
_SHORTCUT = "_shortcut"


@dataclass(frozen=True)
class Parametrization:
    """How the variables of a network differ from those of the base, by path.

    Attributes:
        initial: factors on the initial values.
        rates: factors on the learning rate.
    """

    initial: Mapping[str, float]
    rates: Mapping[str, float]


def narrow(description: Architecture) -> Architecture:
    """Returns the member of the same depth whose width coefficient is 1."""
    return dataclasses.replace(description, width_coefficient=1.0)


def parametrization(
    network: keras.Model, description: Architecture, narrower: Mapping[str, tuple[int, ...]], *, normalizes: bool
) -> Parametrization:
    """Returns the μP of a classifier.

    Args:
        network: functional.
        description: description of `network`.
        narrower: shapes of the variables of `narrow(description)`, by path.
        normalizes: the optimizer divides gradients by their size, as AdamW and RMSProp do and SGD does not.
    """
    shallow = dataclasses.replace(description, depth_coefficient=1.0)
    share = math.sqrt(sum(shallow.blocks) / sum(description.blocks))  # of a residual block
    nodes = nodes_of(network)
    last = _last_weighted(nodes)
    residual = {_block(name) for name in last}
    initial, rates = dict[str, float](), dict[str, float]()
    for name, node in nodes.items():
        for variable in node.layer.trainable_variables:
            shape = tuple(variable.shape)
            fans = [_fans(node.layer, each) for each in (shape, narrower[variable.path])]
            fan_in, fan_out = (own / theirs for own, theirs in zip(*fans, strict=True))
            factor, rate = 1.0, (1.0 if normalizes else fan_out) / fan_in
            if len(shape) > 1:
                now, then = (_deviation(node.layer, *each) for each in fans)
                factor = min(1.0, math.sqrt(fan_out / fan_in)) / math.sqrt(fan_in) / (now / then)
            if name in last:  # its variables v = share · w, and w is trained at the rate of the formula
                factor, rate = share * factor, (share if normalizes else share**2) * rate
            elif normalizes and _block(name) in residual and _SHORTCUT not in name:
                rate *= share
            initial[variable.path], rates[variable.path] = factor, rate
    return Parametrization(initial, rates)


def _last_weighted(nodes: Mapping[str, Node]) -> set[str]:
    """Returns the last layer with weights of each residual branch."""
    found = set()
    for name, node in nodes.items():
        if not isinstance(node.layer, L.Add) or _block(name) is None:
            continue
        for each in node.inputs:
            while _block(each) == _block(name) and not nodes[each].layer.trainable_variables:
                (each,) = nodes[each].inputs
            if _block(each) == _block(name) and _SHORTCUT not in each:
                found.add(each)
    return found


def _block(name: str) -> str | None:
    """Returns the block that a layer is part of."""
    match = _BLOCK.match(name)
    return match and match[0]


def _fans(layer: keras.Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns fan-in and fan-out; what multiplies or shifts single channels reads one value."""
    if len(shape) == 1 or isinstance(layer, L.DepthwiseConv2D):
        return 1, math.prod(shape[-2:])
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _deviation(layer: keras.Layer, fan_in: int, fan_out: int) -> float:
    """Returns the initial standard deviation of a kernel with these fans, up to a factor."""
    initializer = getattr(layer, "kernel_initializer", None)
    if not isinstance(initializer, keras.initializers.VarianceScaling):
        return 1.0
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    return 1 / math.sqrt(fans[initializer.mode])
