"""Base class of all detectors: any backbone, any neck, and heads.

A detector is a frozen description, independent of the layer backend. It offers its stages: backbone -> `features`,
neck -> `fused`, heads -> `predictions`. `define` connects them.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import (
    MINIMUM_RESOLUTION,
    Architecture,
    Graph,
    check_above_zero,
    check_channels,
    check_integer,
    check_momentum,
    differing_field,
    known_activation,
    level_numbers,
    require_levels,
)
from tfeff.networks.blocks import ConvolutionUnit
from tfeff.networks.heads import BOX_HEAD, CLASS_HEAD, ONE_TO_MANY, dense_head
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.necks.neck import Neck
from tfeff.networks.preprocessing import standardized
from tfeff.networks.scaling import half_up, round_filters

MAXIMUM_ASPECT = 8
NECK_AND_HEADS = ("neck_", f"{BOX_HEAD}_", f"{CLASS_HEAD}_", ONE_TO_MANY, "rpn_", "cells_")
"""Beginnings of the names of all layers that do not belong to the backbone."""


@dataclass(frozen=True, kw_only=True)
class Detector(ABC):
    """Complete description of a detector, and the section `task.network` of a config.

    Attributes:
        name: name of the published detector that it is, or that it was derived from.
        backbone: description of the backbone. Its resolution is the longer side of the input image. In a config, it is
            the section `model` instead.
        aspect: width of the input image divided by its height. The shorter side is rounded to whole pixels.
        levels: names of the pyramid levels, without gaps. Those beyond the backbone's last are added by the neck. A
            single level is that of the backbone, without a neck, so that the neck's settings have no effect.
        neck: name of the neck's table, such as "bifpn".
        neck_channels: channels of neck and heads.
        neck_repeats: number of the neck's cells.
        neck_width_coefficient: factor on the channels of neck and heads.
        neck_depth_coefficient: factor on the cells of the neck and the convolutions of each head.
        fusion: "sum", "unbounded", "softmax" or "fast".
        fusion_weights_per: "input", "channel" or "pixel": what has a fusion weight of its own. Those of pixels belong
            to one size of the input.
        head_repeats: number of convolutions of each head before its last.
        separable: depthwise-separable convolutions in neck and dense heads instead of plain ones.
        activation: Keras activation of neck and dense heads.
        bn_momentum: momentum of batch normalization in neck and heads.
        bn_epsilon: epsilon of batch normalization in neck and heads.
    """

    BEFORE_CLASSES = 0  # not annotated, so it is no field
    """Outputs of each anchor of the class head before those of the classes."""

    name: str
    backbone: Architecture = field(metadata={"hidden": True})
    aspect: float = 1.0
    levels: tuple[str, ...] = ("P3", "P4", "P5", "P6", "P7")
    neck: str = "bifpn"
    neck_channels: int = 64
    neck_repeats: int = 3
    neck_width_coefficient: float = 1.0
    neck_depth_coefficient: float = 1.0
    fusion: str = "fast"
    fusion_weights_per: str = "input"
    head_repeats: int = 3
    separable: bool = True
    activation: str = "silu"
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        if not 1 / MAXIMUM_ASPECT <= self.aspect <= MAXIMUM_ASPECT:
            raise UserError(f"aspect {self.aspect}: must be from 1/{MAXIMUM_ASPECT} to {MAXIMUM_ASPECT}")
        check_integer("neck_channels", self.neck_channels, minimum=1)
        check_integer("neck_repeats", self.neck_repeats, minimum=1)
        check_integer("head_repeats", self.head_repeats, minimum=0)
        check_above_zero(self, "neck_width_coefficient", "neck_depth_coefficient", "bn_epsilon")
        check_momentum(self.bn_momentum)
        object.__setattr__(self, "activation", known_activation(self.activation))
        object.__setattr__(self, "levels", tuple(f"P{number}" for number in level_numbers(self.levels)))
        _ = self.described_neck

    @property
    def resolution(self) -> int:
        """The longer side of the input image, in pixels."""
        return self.backbone.resolution

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input image, in pixels."""
        shorter = max(MINIMUM_RESOLUTION, round(self.resolution / max(self.aspect, 1 / self.aspect)))
        return (shorter, self.resolution) if self.aspect >= 1 else (self.resolution, shorter)

    @property
    def training_outputs(self) -> tuple[str, ...]:
        """Names of the outputs that only training uses."""
        return ()

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
            weights_per=self.fusion_weights_per,
            separable=self.separable,
        )

    def convolution_unit(self, layers: Layers) -> ConvolutionUnit:
        """Returns the batch normalization and activation of neck and heads."""
        return ConvolutionUnit(
            layers=layers,
            activation=self.activation,
            initializer="glorot_uniform",  # of single convolutions; necks and heads have their own
            momentum=self.bn_momentum,
            epsilon=self.bn_epsilon,
            synchronized=self.backbone.synchronized,
        )

    def neck_unit(self, layers: Layers) -> ConvolutionUnit:
        """Returns the batch normalization and activation of the neck."""
        return self.convolution_unit(layers)

    def scaled(
        self, *, depth: float, width: float, resolution: int, neck_depth: float = 1.0, neck_width: float = 1.0
    ) -> Self:
        """Returns the detector with a scaled backbone, neck and heads, at another resolution.

        It has `depth` times the backbone's blocks, `width` times its channels, `neck_depth` times the neck's cells and
        the heads' convolutions, and `neck_width` times their channels.
        """
        scaled = self.backbone.scaled(depth=depth, width=width, resolution=resolution)
        return dataclasses.replace(self, backbone=scaled).scaled_neck(neck_depth=neck_depth, neck_width=neck_width)

    def scaled_neck(self, *, neck_depth: float, neck_width: float) -> Self:
        """Returns the detector with `neck_depth` times the neck's cells and the heads' convolutions.

        These have `neck_width` times the channels.
        """
        return dataclasses.replace(
            self,
            neck_depth_coefficient=self.neck_depth_coefficient * neck_depth,
            neck_width_coefficient=self.neck_width_coefficient * neck_width,
        )

    @property
    def neck_sizes(self) -> tuple[int, int, int]:
        """Channels of neck and heads, cells of the neck, and convolutions of each head, after scaling.

        Scaled channels are rounded to multiples of 8, cells and convolutions to the nearest integer; one is left.
        """
        channels = self.neck_channels
        if self.neck_width_coefficient != 1:
            channels = round_filters(channels, self.neck_width_coefficient)
        cells, convolutions = (
            max(min(number, 1), half_up(number * self.neck_depth_coefficient))
            for number in (self.neck_repeats, self.head_repeats)
        )
        return channels, cells, convolutions

    def other_predictions(self, source: Self) -> str | None:
        """Says how anchors, or boxes of a cell, differ from those of a detector that `different` finds alike.

        Weights of predictions then mean something else. None if they do not differ.
        """
        return differing_field(source, self, {each.name for each in dataclasses.fields(self)} - _PREDICTED)

    def features(self, layers: Layers, images: FeatureMap) -> dict[str, FeatureMap]:
        """Defines preprocessing and backbone.

        Args:
            images: (batch, height, width, channels), raw pixels.

        Returns:
            Feature maps of the backbone by level.

        Raises:
            UserError: a `mean` or `std` of the backbone that does not match the channels.
        """
        standard = standardized(layers, images, self.backbone.mean, self.backbone.std)
        return self.backbone.features(standard, layers).levels

    def fused(self, layers: Layers, features: Mapping[str, FeatureMap]) -> dict[str, FeatureMap]:
        """Defines the neck; see `Neck`.

        Raises:
            UserError: a level that the backbone lacks and that the neck cannot add, or no level at all.
        """
        require_levels("the backbone", features)
        neck = self.described_neck
        if neck is not None:
            return neck(self.neck_unit(layers), features, self.size)
        (level,) = self.levels
        if level not in features:
            raise UserError(f'the backbone has no pyramid level "{level}"; it has {", ".join(features)}')
        return {level: features[level]}

    def head(self, layers: Layers, name: str) -> Callable[..., FeatureMap]:
        """Returns a dense head of this name: `dense_head` with the settings of this detector."""
        unit, repeats = self.convolution_unit(layers), self.neck_sizes[2]
        return partial(dense_head, unit, name=name, repeats=repeats, separable=self.separable)

    @abstractmethod
    def predictions(self, layers: Layers, fused: Mapping[str, FeatureMap], num_classes: int) -> dict[str, FeatureMap]:
        """Defines the heads; returns their outputs by name, each (batch, n, values) float32."""

    def define(self, layers: Layers, *, num_classes: int, channels: int = 3) -> Graph:
        """Defines the complete network.

        Args:
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


_PREDICTED = {"anchors", "anchor_size", "anchor_scales", "anchor_aspects", "boxes"}
"""Fields that change what predictions mean, and no other layer."""
_MAY_DIFFER = _PREDICTED | {
    *("backbone", "aspect", "name", "neck_channels", "neck_repeats", "neck_width_coefficient"),
    *("neck_depth_coefficient", "head_repeats", "hidden", "regions", "sampling", "aligned", "bins"),
    *("bn_momentum", "bn_epsilon"),
}


def different(one: Detector | None, other: Detector | None) -> str | None:
    """Says how two detectors differ, apart from the fields that scaling and anchors change; None if they do not.

    Detectors that do not differ have the same layers, of other sizes and numbers; see `other_predictions`.
    """
    if type(one) is not type(other):
        names = [each.name if each is not None else "a classifier" for each in (one, other)]
        return f"{names[1]} instead of {names[0]}"
    if one is None or other is None:
        return None
    if one.fusion_weights_per == "pixel" and one.size != other.size:
        sizes = ("x".join(map(str, each.size)) for each in (other, one))
        return "fusion weights of the pixels of {}, instead of {}".format(*sizes)
    return differing_field(one, other, _MAY_DIFFER)
