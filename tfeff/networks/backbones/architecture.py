"""Base class of all architectures: a frozen description of a network, independent of the layer backend."""

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

from tfeff.errors import UserError, nearest
from tfeff.networks.blocks import ConvolutionUnit
from tfeff.networks.heads import classifier
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.preprocessing import standardized

MINIMUM_RESOLUTION = 8  # smallest images in common use (8x8 digits); below this, features come mostly from padding


@dataclass(frozen=True)
class FeatureMaps:
    """Outputs of a backbone.

    Attributes:
        output: the last feature map, the input of the classifier head.
        levels: "P1", "P2", ... to the last feature map of stride 2, 4, ...; up to the stride of the network.
    """

    output: FeatureMap
    levels: dict[str, FeatureMap]


@dataclass(frozen=True)
class Graph:
    """Input and outputs of a complete network.

    Attributes:
        images: (batch, height, width, channels), raw pixels.
        output: logits, or the last feature map if the head is omitted; of a detector, a dictionary of its outputs.
        levels: pyramid levels, as in `FeatureMaps`; of a detector, those of its neck.
        boxes: second input, (batch, n, 4): regions of the images, in pixels. None if there is none.
    """

    images: FeatureMap
    output: FeatureMap
    levels: dict[str, FeatureMap]
    boxes: FeatureMap = None


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """The name."""


Description = TypeVar("Description", bound=Named)


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """Complete description of one network, and the section `model` of a config.

    Attributes:
        name: name of the published network that it is, or that it was derived from.
        weights: initial weights: "imagenet" (those published for the network of this name), "coco" (of a detector:
            those published for the detector of its name, trained on COCO), the name of another network of the family
            (those published for it), or the path of a weights file; None for random ones. Where depth or width differ
            from those of the source, they are inherited (`models.inheritance`).
        resolution: side of the square input image, in pixels; at least 8.
        width_coefficient: multiplies the number of channels.
        depth_coefficient: multiplies the number of blocks.
        dropout: dropout rate before the classifier.
        mean: per-channel mean of the preprocessing, in pixel units.
        std: per-channel standard deviation of the preprocessing, in pixel units.
        bn_momentum: momentum of batch normalization's moving statistics.
        bn_epsilon: epsilon of batch normalization.
        synchronized: computes batch statistics over all devices instead of on each (TensorFlow backend only).
    """

    MAY_DIFFER: ClassVar[frozenset[str]] = frozenset(
        (
            *("name", "weights", "resolution", "mean", "std", "bn_momentum", "bn_epsilon", "width_coefficient"),
            *("depth_coefficient", "dropout", "synchronized"),
        )
    )
    """Fields in which a network can differ from the one whose weights it starts from."""

    name: str
    weights: str | None = None
    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    width_coefficient: float = 1.0
    depth_coefficient: float = 1.0
    dropout: float = 0.0
    synchronized: bool = False

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            if isinstance(value := getattr(self, each.name), list):  # equal to what a saved config has
                object.__setattr__(self, each.name, tuple(value))
        check_integer("resolution", self.resolution, minimum=MINIMUM_RESOLUTION)
        check_above_zero(self, "width_coefficient", "depth_coefficient", "bn_epsilon")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout {self.dropout}: must be in [0, 1)")
        check_momentum(self.bn_momentum)
        if not self.mean or not self.std:
            raise UserError("mean and std: must have one value, or one for each channel")
        if not all(map(math.isfinite, self.mean)):
            raise UserError(f"mean {tuple(self.mean)}: every mean must be finite")
        if not all(0 < each < math.inf for each in self.std):
            raise UserError(f"std {tuple(self.std)}: every standard deviation must be above 0 and finite")

    @property
    def starts_trained(self) -> bool:
        """Whether its initial weights come from a training."""
        return self.weights is not None

    @property
    def backbone(self) -> Self:
        """This description: a classifier's network is its own backbone."""
        return self

    @property
    def neck_sizes(self) -> tuple[int, ...]:
        """Empty: only detectors have a neck."""
        return ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input image, in pixels."""
        return self.resolution, self.resolution

    def scaled(self, *, depth: float, width: float, resolution: int) -> Self:
        """Returns the network with `depth` times the blocks and `width` times the channels, at another resolution."""
        return dataclasses.replace(
            self,
            depth_coefficient=self.depth_coefficient * depth,
            width_coefficient=self.width_coefficient * width,
            resolution=resolution,
        )

    @property
    @abstractmethod
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks of each stage, after depth scaling."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Number of channels of each stage, after width scaling."""

    def convolution_unit(self, layers: Layers, **settings: Any) -> ConvolutionUnit:
        """Returns the convolution unit with this network's batch normalization; `settings` are its other fields."""
        return ConvolutionUnit(
            layers=layers,
            momentum=self.bn_momentum,
            epsilon=self.bn_epsilon,
            synchronized=self.synchronized,
            **settings,
        )

    @abstractmethod
    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines the backbone, without preprocessing and head.

        Args:
            images: (batch, resolution, resolution, channels), standardized.
        """

    def define(
        self,
        layers: Layers,
        *,
        num_classes: int,
        channels: int = 3,
        include_top: bool = True,
    ) -> Graph:
        """Defines the complete network: preprocessing, backbone and, optionally, classifier.

        Args:
            num_classes: outputs of the classifier.
            channels: channels of the images: 3 (RGB) or 1 (gray).
            include_top: False omits the classifier; the output is the last feature map.

        Raises:
            UserError: invalid `num_classes` or `channels`, or a `mean` or `std` that does not match the channels.
        """
        check_channels(channels)
        check_integer("num_classes", num_classes, minimum=1)
        images = layers.images(self.size, channels)
        x = standardized(layers, images, self.mean, self.std)
        features = self.features(x, layers)
        output = features.output
        if include_top:
            output = classifier(layers, output, num_classes, self.dropout)
        return Graph(images, output, features.levels)


def different(one: Architecture, other: Architecture) -> str | None:
    """Says how two networks differ, apart from their `MAY_DIFFER`; None if they do not.

    Networks that do not differ have the same layers, of other sizes and numbers. Those of own backbones are not known.
    """
    if not one.blocks or not other.blocks:
        return None
    if type(one) is not type(other):
        return "of another family"
    if (found := differing_field(one, other, one.MAY_DIFFER)) is not None:
        return found
    stages = len(other.blocks), len(one.blocks)
    return "{} stages instead of {}".format(*stages) if stages[0] != stages[1] else None


def differing_field(one: Any, other: Any, ignored: Collection[str]) -> str | None:
    """Returns "field value instead of value" for the first field in which two descriptions of a kind differ, or None.

    Args:
        one: a dataclass.
        other: another one of its class.
        ignored: fields that may differ.
    """
    for each in dataclasses.fields(one):
        ours, theirs = getattr(other, each.name), getattr(one, each.name)
        if each.name not in ignored and ours != theirs:
            return f"{each.name} {ours} instead of {theirs}"
    return None


def require_same_layers(described: Architecture, source: Architecture) -> None:
    """Raises UserError if a network cannot start from the weights of another one."""
    if (difference := different(source, described)) is not None:
        raise UserError(
            f'weights "{described.weights}": {source.name} has other layers than {described.name} ({difference})'
        )


def by_name(*descriptions: Description) -> dict[str, Description]:
    """Returns a table of descriptions."""
    return {description.name: description for description in descriptions}


def check_integer(name: str, value: object, minimum: int) -> None:
    """Raises UserError unless an option is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise UserError(f"{name} {value!r}: must be an integer, at least {minimum}")


def check_above_zero(described: object, *names: str) -> None:
    """Raises UserError unless these fields of a description are above 0 and finite."""
    for name in names:
        if not 0 < getattr(described, name) < math.inf:
            raise UserError(f"{name} {getattr(described, name)}: must be above 0 and finite")


def check_momentum(momentum: float) -> None:
    """Raises UserError unless batch normalization can keep moving statistics with this momentum."""
    if not 0 < momentum < 1:
        raise UserError(f"bn_momentum {momentum}: must be in (0, 1)")


ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
    *("leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink"),
    *("softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink"),
)
"""Names of Keras' activations that act on single values."""


ALIASES = {"hard_swish": "hard_silu", "swish": "silu"}
"""Other names of some of them, with Keras' own."""


def known_activation(activation: str) -> str:
    """Returns Keras' own name of an activation. A function, which Python can pass, is returned as it is.

    Raises:
        UserError: Keras has no activation of this name.
    """
    if isinstance(activation, str) and activation not in ACTIVATIONS:
        raise UserError(f"activation {activation!r}: {nearest(activation, ACTIVATIONS)}")
    return ALIASES.get(activation, activation)


def check_channels(channels: object) -> None:
    """Raises UserError unless images have 3 channels or 1."""
    if channels not in (1, 3):
        raise UserError(f"channels {channels!r}: must be 3 (RGB) or 1 (gray)")


def check_survival(probability: float) -> None:
    """Raises UserError unless a probability of stochastic depth can keep a block."""
    if not 0 < probability <= 1:
        raise UserError(f"survival_probability {probability}: must be in (0, 1]")


def check_squeeze(ratio: float) -> None:
    """Raises UserError unless a ratio of squeeze-and-excitation is a fraction."""
    if not 0 <= ratio <= 1:
        raise UserError(f"squeeze_ratio {ratio}: must be in [0, 1]")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises UserError unless an option is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name} {value!r}: must be one of {', '.join(choices)}")


def level_numbers(levels: Sequence[str]) -> list[int]:
    """Returns numbers of the levels in ascending order.

    Raises:
        UserError: no levels, or a malformed or repeated name.
    """
    if isinstance(levels, str) or not levels:
        raise UserError(f'pyramid levels {levels!r}: must be a non-empty list such as ["P3", "P4", "P5"]')
    numbers = sorted(map(level_number, levels))
    for number, count in Counter(numbers).items():
        if count > 1:
            raise UserError(f'pyramid level "P{number}" is given {count} times')
    return numbers


def require_levels(name: str, maps: Mapping[str, FeatureMap]) -> None:
    """Raises UserError if a backbone has no pyramid level at all."""
    if not maps:
        raise UserError(
            f"{name} has no pyramid level, which is a feature map of half, a quarter, ... of the image's side, rounded "
            'up; give it more stages, or the strided layers of an own backbone padding="same"'
        )


def level_number(level: str) -> int:
    """Returns the n of "Pn"; raises UserError for a malformed name."""
    if not re.fullmatch(r"P[1-9][0-9]*", str(level)):
        raise UserError(f'pyramid level "{level}": must be P1 (stride 2), P2 (stride 4), P3 (stride 8), ...')
    return int(level[1:])
