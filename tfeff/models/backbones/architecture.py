"""Base class of all architectures: a frozen description of a network, independent of the layer backend."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.heads import classifier
from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.layers.preprocessing import per_channel

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


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """Complete description of one network. Every field is an option of `tfeff.models.build`.

    Attributes:
        resolution: side of the square input image, in pixels; at least 8.
        width_coefficient: multiplies the number of channels.
        depth_coefficient: multiplies the number of blocks.
        dropout: dropout rate before the classifier.
        mean: per-channel mean of the preprocessing, in pixel units.
        std: per-channel standard deviation of the preprocessing, in pixel units.
        bn_momentum: momentum of batch normalization's moving statistics.
        bn_epsilon: epsilon of batch normalization.
        synchronized: computes batch statistics over all replicas (TensorFlow backend only).
    """

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
        """Validate field values.

        Raises:
            UserError: a value is out of range.
        """
        check_integer("resolution", self.resolution, minimum=MINIMUM_RESOLUTION)
        for name in ("width_coefficient", "depth_coefficient"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} {getattr(self, name)}: must be above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout {self.dropout}: must be in [0, 1)")
        if not 0 < self.bn_momentum < 1 or not self.bn_epsilon > 0:
            raise UserError(f"bn_momentum {self.bn_momentum}: must be in (0, 1); bn_epsilon {self.bn_epsilon}: above 0")
        if self.synchronized and keras.backend.backend() != "tensorflow":
            raise UserError("synchronized: batch statistics over all replicas require the TensorFlow backend of Keras")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input image, in pixels."""
        return self.resolution, self.resolution

    def scaled(self, *, depth: float, width: float, resolution: int) -> Self:
        """With `depth` times the blocks and `width` times the channels, at another resolution."""
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

    @abstractmethod
    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Define the backbone, without preprocessing and head.

        Args:
            images: (batch, resolution, resolution, channels), standardized.
            layers: the layer backend.
        """

    def define(
        self,
        layers: Layers,
        *,
        num_classes: int,
        channels: int = 3,
        include_top: bool = True,
    ) -> Graph:
        """Define the complete network: preprocessing, backbone and, optionally, classifier.

        Args:
            layers: the layer backend.
            num_classes: outputs of the classifier.
            channels: channels of the images: 3 (RGB) or 1 (gray).
            include_top: False omits the classifier; the output is the last feature map.

        Raises:
            UserError: invalid `num_classes` or `channels`, or a `mean` or `std` that does not match the channels.
        """
        check_channels(channels)
        check_integer("num_classes", num_classes, minimum=1)
        images = layers.images(self.size, channels)
        x = layers.standardization(images, per_channel(self.mean, channels), per_channel(self.std, channels))
        features = self.features(x, layers)
        output = features.output
        if include_top:
            output = classifier.classifier(layers, output, num_classes, self.dropout)
        return Graph(images, output, features.levels)


def check_integer(name: str, value: object, minimum: int) -> None:
    """Check that an option is an integer of at least `minimum`.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise UserError(f"{name} {value!r}: must be an integer, at least {minimum}")


def check_channels(channels: object) -> None:
    """Check the number of channels of the images.

    Raises:
        UserError: it is neither 3 nor 1.
    """
    if channels not in (1, 3):
        raise UserError(f"channels {channels!r}: must be 3 (RGB) or 1 (gray)")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that an option is one of `choices`.

    Raises:
        UserError: it is not.
    """
    if value not in choices:
        raise UserError(f"{name} {value!r}: must be one of {', '.join(choices)}")
