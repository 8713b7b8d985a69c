"""What every family of networks has in common: a frozen description that can draw itself as a graph."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.heads import classifier
from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.layers.preprocessing import per_channel

MINIMUM_RESOLUTION = 8  # the smallest images in common use (8x8 digits); below, a network sees mostly its own padding


@dataclass(frozen=True)
class Features:
    """What a backbone puts out.

    Attributes:
        output: the last feature map, which the classifier head reads.
        levels: "P1".."P5" to the last feature map of stride 2, 4, .. 32, as far as the network goes.
    """

    output: FeatureMap
    levels: dict[str, FeatureMap]


@dataclass(frozen=True)
class Drawing:
    """A whole network.

    Attributes:
        images: (batch, resolution, resolution, channels), raw pixels.
        output: logits, or the last feature map where the head is left out.
        levels: of `Features`.
    """

    images: FeatureMap
    output: FeatureMap
    levels: dict[str, FeatureMap]


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """One network, fully described; every field is an option of `tfeff.models.build`.

    Attributes:
        resolution: side of the square input image, in pixels; at least 8.
        width_coefficient: multiplies the channels.
        depth_coefficient: multiplies the blocks.
        dropout: share of the pooled features dropped before the classifier.
        mean: per-channel mean of the preprocessing, in pixel units.
        std: per-channel standard deviation of the preprocessing, in pixel units.
        bn_momentum: momentum of batch normalisation's moving statistics.
        bn_epsilon: epsilon of batch normalisation.
        synchronized: batch statistics over all replicas (TensorFlow backend only).
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
        """Check the options.

        Raises:
            UserError: a value out of its range.
        """
        whole("resolution", self.resolution, at_least=MINIMUM_RESOLUTION)
        for name in ("width_coefficient", "depth_coefficient"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} {getattr(self, name)}: must be above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout {self.dropout}: must be in [0, 1)")
        if not 0 < self.bn_momentum < 1 or not self.bn_epsilon > 0:
            raise UserError(f"bn_momentum {self.bn_momentum}: must be in (0, 1); bn_epsilon {self.bn_epsilon}: above 0")
        if self.synchronized and keras.backend.backend() != "tensorflow":
            raise UserError("synchronized: batch statistics over all replicas need Keras' TensorFlow backend")

    @property
    @abstractmethod
    def blocks(self) -> tuple[int, ...]:
        """Blocks of each stage, after depth scaling."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage, after width scaling."""

    @abstractmethod
    def features(self, images: FeatureMap, layers: Layers) -> Features:
        """Draw the network without its preprocessing and its head.

        Args:
            images: (batch, resolution, resolution, channels), standardised.
            layers: what to draw with.
        """

    def draw(
        self,
        layers: Layers,
        *,
        num_classes: int,
        channels: int = 3,
        include_top: bool = True,
        classifier_activation: str | None = None,
    ) -> Drawing:
        """Draw the whole network: preprocessing, features, and the classifier unless it is left out.

        Args:
            layers: what to draw with.
            num_classes: outputs of the classifier.
            channels: of the images: 3 (RGB) or 1 (gray).
            include_top: False ends the network at its last feature map.
            classifier_activation: such as "softmax"; None gives logits.

        Raises:
            UserError: a number of classes or channels that cannot be, or preprocessing that does not fit the channels.
        """
        if channels not in (1, 3):
            raise UserError(f"channels {channels!r}: must be 3 (RGB) or 1 (gray)")
        whole("num_classes", num_classes, at_least=1)
        images = layers.images(self.resolution, channels)
        x = layers.standardisation(images, per_channel(self.mean, channels), per_channel(self.std, channels))
        features = self.features(x, layers)
        output = features.output
        if include_top:
            output = classifier.classifier(layers, output, num_classes, self.dropout, classifier_activation)
        return Drawing(images, output, features.levels)


def whole(name: str, value: object, at_least: int) -> None:
    """Check that an option is a whole number of a minimum.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < at_least:
        raise UserError(f"{name} {value!r}: must be a whole number, at least {at_least}")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that an option is one of its choices.

    Raises:
        UserError: it is not.
    """
    if value not in choices:
        raise UserError(f"{name} {value!r}: must be one of {', '.join(choices)}")
