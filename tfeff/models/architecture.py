"""What every family of networks has in common: a frozen description that can draw itself as a graph."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import keras
import numpy as np

from tfeff.errors import UserError

MINIMUM_RESOLUTION = 8  # the smallest images in common use (8x8 digits); below, a network sees mostly its own padding


@dataclass(frozen=True)
class Features:
    """What a backbone puts out.

    Attributes:
        output: the last feature map, which the classifier head reads.
        levels: "P1".."P5" to the last feature map of stride 2, 4, .. 32, as far as the network goes.
    """

    output: keras.KerasTensor
    levels: dict[str, keras.KerasTensor]


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

    @abstractmethod
    def features(self, images: keras.KerasTensor) -> Features:
        """Draw the network without its head.

        Args:
            images: (batch, resolution, resolution, channels), standardised.
        """


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
