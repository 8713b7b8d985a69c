"""Base class of all detectors: any backbone, any neck, and heads.

A detector is a frozen description, independent of the layer backend. It offers its stages: backbone -> `features`,
neck -> `fused`, heads -> `predictions`. `define` connects them.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from tfeff.errors import UserError
from tfeff.models.backbones.architecture import (
    MINIMUM_RESOLUTION,
    Architecture,
    Graph,
    check_channels,
    check_integer,
)
from tfeff.models.backbones.scaling import round_filters
from tfeff.models.heads.dense import DenseHead
from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.layers.preprocessing import per_channel
from tfeff.models.necks.neck import Neck
from tfeff.models.necks.pyramid import level_numbers

MAXIMUM_ASPECT = 8


@dataclass(frozen=True, kw_only=True)
class Detector(ABC):
    """Complete description of a detector. Every field is an option of `tfeff.models.detector`.

    Attributes:
        backbone: description of the backbone. The detector's `resolution` replaces its own.
        resolution: the longer side of the input image, in pixels; at least 8.
        aspect: width of the input image divided by its height. The shorter side is rounded to whole pixels.
        levels: names of the pyramid levels, without gaps. Those beyond the backbone's last are added by the neck. A
            single level is that of the backbone, without a neck.
        neck: name of the neck's table, such as "bifpn".
        neck_channels: channels of neck and heads.
        neck_repeats: number of the neck's cells.
        neck_width_coefficient: factor on the channels of neck and heads.
        neck_depth_coefficient: factor on the cells of the neck and the convolutions of each head.
        fusion: "sum", "unbounded", "softmax" or "fast".
        fusion_per_channel: a fusion weight for each channel instead of one per input.
        head_repeats: number of convolutions of each head before its last.
        separable: depthwise-separable convolutions in neck and heads instead of plain ones.
        activation: Keras activation of neck and heads.
        bn_momentum: momentum of batch normalization in neck and heads.
        bn_epsilon: epsilon of batch normalization in neck and heads.
    """

    backbone: Architecture
    resolution: int
    aspect: float = 1.0
    levels: tuple[str, ...] = ("P3", "P4", "P5", "P6", "P7")
    neck: str = "bifpn"
    neck_channels: int = 64
    neck_repeats: int = 3
    neck_width_coefficient: float = 1.0
    neck_depth_coefficient: float = 1.0
    fusion: str = "fast"
    fusion_per_channel: bool = False
    head_repeats: int = 3
    separable: bool = True
    activation: str = "silu"
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        """Validate field values; raises UserError."""
        check_integer("resolution", self.resolution, minimum=MINIMUM_RESOLUTION)
        if not 1 / MAXIMUM_ASPECT <= self.aspect <= MAXIMUM_ASPECT:
            raise UserError(f"aspect must be from 1/{MAXIMUM_ASPECT} to {MAXIMUM_ASPECT}, not {self.aspect}")
        check_integer("head_repeats", self.head_repeats, minimum=0)
        backbone = dataclasses.replace(self.backbone, resolution=self.resolution)
        object.__setattr__(self, "backbone", backbone)
        neck = self.described_neck
        levels = tuple(f"P{number}" for number in level_numbers(self.levels)) if neck is None else neck.levels
        object.__setattr__(self, "levels", levels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input image, in pixels."""
        shorter = max(MINIMUM_RESOLUTION, round(self.resolution / max(self.aspect, 1 / self.aspect)))
        return (shorter, self.resolution) if self.aspect >= 1 else (self.resolution, shorter)

    @property
    def described_neck(self) -> Neck | None:
        """Description of the neck; None with a single level."""
        if len(self.levels) == 1:
            return None
        channels, repeats, _ = self.neck_sizes
        return Neck(
            name=self.neck,
            levels=self.levels,
            channels=channels,
            repeats=repeats,
            fusion=self.fusion,
            per_channel=self.fusion_per_channel,
            separable=self.separable,
            activation=self.activation,
            bn_momentum=self.bn_momentum,
            bn_epsilon=self.bn_epsilon,
            synchronized=self.backbone.synchronized,
        )

    def scaled(
        self, *, depth: float, width: float, resolution: int, neck_depth: float = 1.0, neck_width: float = 1.0
    ) -> Self:
        """With `depth` times the backbone's blocks, `width` times its channels, `neck_depth` times the neck's cells and
        the heads' convolutions, and `neck_width` times their channels, at another resolution."""
        return dataclasses.replace(
            self,
            backbone=self.backbone.scaled(depth=depth, width=width, resolution=resolution),
            resolution=resolution,
            neck_depth_coefficient=self.neck_depth_coefficient * neck_depth,
            neck_width_coefficient=self.neck_width_coefficient * neck_width,
        )

    @property
    def neck_sizes(self) -> tuple[int, int, int]:
        """Channels of neck and heads, cells of the neck, and convolutions of each head, after scaling.

        Scaled channels are rounded to multiples of 8, cells and convolutions to the nearest integer.
        """
        channels = self.neck_channels
        if self.neck_width_coefficient != 1:
            channels = round_filters(channels, self.neck_width_coefficient)
        cells, convolutions = (
            math.floor(number * self.neck_depth_coefficient + 0.5) for number in (self.neck_repeats, self.head_repeats)
        )
        return channels, cells, convolutions

    def features(self, layers: Layers, images: FeatureMap) -> dict[str, FeatureMap]:
        """Define preprocessing and backbone.

        Args:
            layers: the layer backend.
            images: (batch, height, width, channels), raw pixels.

        Returns:
            Feature maps of the backbone by level.

        Raises:
            UserError: a `mean` or `std` of the backbone that does not match the channels.
        """
        channels = images.shape[-1]
        mean, std = (per_channel(values, channels) for values in (self.backbone.mean, self.backbone.std))
        return self.backbone.features(layers.standardization(images, mean, std), layers).levels

    def fused(self, layers: Layers, features: Mapping[str, FeatureMap]) -> dict[str, FeatureMap]:
        """Define the neck; see `Neck`.

        Raises:
            UserError: a level that the backbone lacks and that the neck cannot add.
        """
        neck = self.described_neck
        if neck is not None:
            return neck(layers, features, self.size)
        (level,) = self.levels
        if level not in features:
            raise UserError(f'the backbone has no pyramid level "{level}"; it has {", ".join(features)}')
        return {level: features[level]}

    def head(self, name: str) -> DenseHead:
        """Description of a head."""
        return DenseHead(
            name=name,
            repeats=self.neck_sizes[2],
            separable=self.separable,
            activation=self.activation,
            bn_momentum=self.bn_momentum,
            bn_epsilon=self.bn_epsilon,
            synchronized=self.backbone.synchronized,
        )

    @abstractmethod
    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Define the heads; their outputs by name, each (batch, n, values) float32."""

    def define(self, layers: Layers, *, num_classes: int, channels: int = 3) -> Graph:
        """Define the complete network.

        Args:
            layers: the layer backend.
            num_classes: number of classes, without background.
            channels: channels of the images: 3 (RGB) or 1 (gray).

        Raises:
            UserError: invalid `num_classes` or `channels`, or as `features` and `fused`.
        """
        check_channels(channels)
        check_integer("num_classes", num_classes, minimum=1)
        images = layers.images(self.size, channels)
        fused = self.fused(layers, self.features(layers, images))
        return Graph(images, self.predictions(layers, fused, num_classes), fused)
