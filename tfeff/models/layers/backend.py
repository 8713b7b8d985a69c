"""The layers that networks are defined with: an interface and its Keras backend.

A family defines its network once, in terms of `Layers`. One backend builds Keras layers (`KerasLayers`); the other
propagates shapes and counts cost (`models.cost.tracer.CostTracer`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import keras

from tfeff.models.layers.fusion import WeightedFusion
from tfeff.models.layers.nearest_upsampling import NearestUpsampling
from tfeff.models.layers.normalization import BatchNormalization
from tfeff.models.layers.preprocessing import standardization
from tfeff.models.layers.roi_align import RoIAlign
from tfeff.models.layers.roi_pool import RoIMaxPool
from tfeff.models.layers.stochastic_depth import StochasticDepth

FeatureMap: TypeAlias = Any
"""A `keras.KerasTensor`, or a `TracedMap` of the cost tracer. Its `shape` ends in (height, width, channels)."""


class Layers(ABC):
    """Interface of a layer backend: one method for each kind of layer, which applies a new layer to a feature map.

    Feature maps are (batch, height, width, channels). `name` is the name of the new layer. Convolutions also take a
    list of maps, which share the layer, and return a list.
    """

    @abstractmethod
    def images(self, size: tuple[int, int], channels: int) -> FeatureMap:
        """Input of the network: raw pixels of images of this (height, width)."""

    @abstractmethod
    def standardization(self, x: FeatureMap, mean: Sequence[float], std: Sequence[float]) -> FeatureMap:
        """(x - mean) / std for each channel, in pixel units.

        Raises:
            UserError: a standard deviation is not positive.
        """

    @abstractmethod
    def convolution(
        self,
        x: FeatureMap,
        filters: int,
        kernel_size: int,
        *,
        name: str,
        initializer: str | dict,
        strides: int = 1,
        padding: str = "same",
        bias: bool = True,
        bias_value: float = 0.0,
        activation: str | None = None,
    ) -> FeatureMap:
        """Convolution. With padding "same", a side r becomes ceil(r / strides). Biases start at `bias_value`."""

    @abstractmethod
    def depthwise_convolution(
        self,
        x: FeatureMap,
        kernel_size: int,
        *,
        name: str,
        initializer: str | dict,
        strides: int = 1,
        bias: bool = True,
    ) -> FeatureMap:
        """Depthwise convolution with padding "same"."""

    @abstractmethod
    def batch_normalization(
        self, x: FeatureMap, *, name: str, momentum: float, epsilon: float, synchronized: bool, zero: bool = False
    ) -> FeatureMap:
        """Batch normalization with learned scale and shift; `zero`: the scale starts at 0 instead of 1."""

    @abstractmethod
    def activation(self, x: FeatureMap, function: str, *, name: str) -> FeatureMap:
        """Elementwise activation, such as "relu", "relu6" or "silu"."""

    @abstractmethod
    def add(self, *maps: FeatureMap, name: str) -> FeatureMap:
        """Sum of feature maps of the same shape."""

    @abstractmethod
    def weighted_fusion(self, *maps: FeatureMap, method: str, per_channel: bool, name: str) -> FeatureMap:
        """Weighted sum of feature maps of the same shape, as described in `WeightedFusion`."""

    @abstractmethod
    def scale(self, x: FeatureMap, gate: FeatureMap, *, name: str) -> FeatureMap:
        """Feature map times a gate (batch, 1, 1, channels)."""

    @abstractmethod
    def zero_padding(self, x: FeatureMap, pixels: int, *, name: str) -> FeatureMap:
        """Pads all four sides with zeros."""

    @abstractmethod
    def max_pooling(self, x: FeatureMap, size: int, *, name: str, strides: int, padding: str = "valid") -> FeatureMap:
        """Max-pooling. With padding "same", a side r becomes ceil(r / strides)."""

    @abstractmethod
    def subsampling(self, x: FeatureMap, strides: int, *, name: str) -> FeatureMap:
        """Every `strides`-th pixel, starting with the first: a side r becomes ceil(r / strides)."""

    @abstractmethod
    def global_pooling(self, x: FeatureMap, *, name: str, keepdims: bool = False) -> FeatureMap:
        """Global average pooling to (batch, channels), or to (batch, 1, 1, channels) with `keepdims`."""

    @abstractmethod
    def global_max_pooling(self, x: FeatureMap, *, name: str) -> FeatureMap:
        """Global max-pooling to (batch, 1, 1, channels)."""

    @abstractmethod
    def upsampling(self, x: FeatureMap, factor: int, size: tuple[int, int], *, name: str) -> FeatureMap:
        """Nearest-neighbor upsampling to `size` (height, width), as described in `NearestUpsampling`."""

    @abstractmethod
    def stochastic_depth(self, x: FeatureMap, survival_probability: float, *, name: str) -> FeatureMap:
        """Stochastic depth: drops the whole map for random examples in training."""

    @abstractmethod
    def dropout(self, x: FeatureMap, rate: float, *, name: str) -> FeatureMap:
        """Dropout: drops random elements in training."""

    @abstractmethod
    def dense(
        self,
        x: FeatureMap,
        units: int,
        *,
        name: str,
        activation: str | None = None,
        initializer: str | dict = "glorot_uniform",
        precise: bool = True,
    ) -> FeatureMap:
        """Dense layer on (batch, ..., channels). If `precise`, float32 under any precision policy, for outputs that
        losses read."""

    @abstractmethod
    def regions(self, number: int, *, name: str) -> FeatureMap:
        """Second input of a network: boxes_yxyx float32 (batch, number, 4) in pixels."""

    @abstractmethod
    def roi_align(
        self,
        maps: Sequence[FeatureMap],
        boxes: FeatureMap,
        *,
        levels: Sequence[int],
        size: int,
        sampling: int,
        aligned: bool,
        name: str,
    ) -> FeatureMap:
        """Features of boxes, (batch, boxes, size, size, channels), as described in `RoIAlign`."""

    @abstractmethod
    def roi_max_pooling(self, x: FeatureMap, boxes: FeatureMap, *, level: int, size: int, name: str) -> FeatureMap:
        """Features of boxes, (batch, boxes, size, size, channels), as described in `RoIMaxPool`."""

    @abstractmethod
    def flattened(self, x: FeatureMap, *, name: str) -> FeatureMap:
        """Features of boxes as rows: (batch, boxes, ...) to (batch, boxes, values)."""

    @abstractmethod
    def predictions(self, maps: Sequence[FeatureMap], values: int, *, name: str) -> FeatureMap:
        """Predictions of all levels, each (batch, h, w, k * values), as one (batch, sum of h * w * k, values).

        float32 under any precision policy, so that losses are precise.
        """

    @abstractmethod
    def blocks(self, number: int) -> Iterable[int]:
        """Indices, from 0, of the blocks of a stage to define.

        Each block reads only the output of the block before it. All blocks after the first have the same shapes, so a
        backend that only counts may skip some of them.
        """


class KerasLayers(Layers):
    """Builds Keras layers."""

    def images(self, size: tuple[int, int], channels: int) -> FeatureMap:
        """An `Input`, float32."""
        return keras.Input((*size, channels), name="images")

    def standardization(self, x: FeatureMap, mean: Sequence[float], std: Sequence[float]) -> FeatureMap:
        """A `Rescaling`."""
        return standardization(mean, std)(x)

    def convolution(
        self,
        x: FeatureMap,
        filters: int,
        kernel_size: int,
        *,
        name: str,
        initializer: str | dict,
        strides: int = 1,
        padding: str = "same",
        bias: bool = True,
        bias_value: float = 0.0,
        activation: str | None = None,
    ) -> FeatureMap:
        """A `Conv2D`."""
        layer = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=bias,
            activation=activation,
            kernel_initializer=keras.initializers.get(initializer),
            bias_initializer=keras.initializers.Constant(bias_value) if bias_value else "zeros",
            name=name,
        )
        return [layer(feature_map) for feature_map in x] if isinstance(x, list) else layer(x)

    def depthwise_convolution(
        self,
        x: FeatureMap,
        kernel_size: int,
        *,
        name: str,
        initializer: str | dict,
        strides: int = 1,
        bias: bool = True,
    ) -> FeatureMap:
        """A `DepthwiseConv2D`."""
        layer = keras.layers.DepthwiseConv2D(
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=bias,
            depthwise_initializer=keras.initializers.get(initializer),
            name=name,
        )
        return [layer(feature_map) for feature_map in x] if isinstance(x, list) else layer(x)

    def batch_normalization(
        self, x: FeatureMap, *, name: str, momentum: float, epsilon: float, synchronized: bool, zero: bool = False
    ) -> FeatureMap:
        """A `BatchNormalization`."""
        return BatchNormalization(
            momentum=momentum,
            epsilon=epsilon,
            gamma_initializer="zeros" if zero else "ones",
            synchronized=synchronized,
            name=name,
        )(x)

    def activation(self, x: FeatureMap, function: str, *, name: str) -> FeatureMap:
        """An `Activation`."""
        return keras.layers.Activation(function, name=name)(x)

    def add(self, *maps: FeatureMap, name: str) -> FeatureMap:
        """An `Add`."""
        return keras.layers.Add(name=name)(list(maps))

    def weighted_fusion(self, *maps: FeatureMap, method: str, per_channel: bool, name: str) -> FeatureMap:
        """A `WeightedFusion`."""
        return WeightedFusion(method, per_channel, name=name)(list(maps))

    def scale(self, x: FeatureMap, gate: FeatureMap, *, name: str) -> FeatureMap:
        """A `Multiply`."""
        return keras.layers.Multiply(name=name)([x, gate])

    def zero_padding(self, x: FeatureMap, pixels: int, *, name: str) -> FeatureMap:
        """A `ZeroPadding2D`."""
        return keras.layers.ZeroPadding2D(pixels, name=name)(x)

    def max_pooling(self, x: FeatureMap, size: int, *, name: str, strides: int, padding: str = "valid") -> FeatureMap:
        """A `MaxPooling2D`."""
        return keras.layers.MaxPooling2D(size, strides=strides, padding=padding, name=name)(x)

    def subsampling(self, x: FeatureMap, strides: int, *, name: str) -> FeatureMap:
        """An `AveragePooling2D` of one pixel."""
        return keras.layers.AveragePooling2D(1, strides=strides, name=name)(x)

    def global_pooling(self, x: FeatureMap, *, name: str, keepdims: bool = False) -> FeatureMap:
        """A `GlobalAveragePooling2D`."""
        return keras.layers.GlobalAveragePooling2D(keepdims=keepdims, name=name)(x)

    def global_max_pooling(self, x: FeatureMap, *, name: str) -> FeatureMap:
        """A `GlobalMaxPooling2D`."""
        return keras.layers.GlobalMaxPooling2D(keepdims=True, name=name)(x)

    def upsampling(self, x: FeatureMap, factor: int, size: tuple[int, int], *, name: str) -> FeatureMap:
        """A `NearestUpsampling`."""
        return NearestUpsampling(factor, size, name=name)(x)

    def stochastic_depth(self, x: FeatureMap, survival_probability: float, *, name: str) -> FeatureMap:
        """A `StochasticDepth`."""
        return StochasticDepth(survival_probability, name=name)(x)

    def dropout(self, x: FeatureMap, rate: float, *, name: str) -> FeatureMap:
        """A `Dropout`."""
        return keras.layers.Dropout(rate, name=name)(x)

    def dense(
        self,
        x: FeatureMap,
        units: int,
        *,
        name: str,
        activation: str | None = None,
        initializer: str | dict = "glorot_uniform",
        precise: bool = True,
    ) -> FeatureMap:
        """A `Dense`."""
        dtype = keras.config.floatx() if precise else None
        kernel = keras.initializers.get(initializer)
        return keras.layers.Dense(units, activation=activation, kernel_initializer=kernel, dtype=dtype, name=name)(x)

    def regions(self, number: int, *, name: str) -> FeatureMap:
        """An `Input`, float32, for any number."""
        return keras.Input((None, 4), dtype=keras.config.floatx(), name=name)

    def roi_align(
        self,
        maps: Sequence[FeatureMap],
        boxes: FeatureMap,
        *,
        levels: Sequence[int],
        size: int,
        sampling: int,
        aligned: bool,
        name: str,
    ) -> FeatureMap:
        """A `RoIAlign`."""
        return RoIAlign(levels, size, sampling, aligned, name=name)((list(maps), boxes))

    def roi_max_pooling(self, x: FeatureMap, boxes: FeatureMap, *, level: int, size: int, name: str) -> FeatureMap:
        """A `RoIMaxPool`."""
        return RoIMaxPool(level, size, name=name)((x, boxes))

    def flattened(self, x: FeatureMap, *, name: str) -> FeatureMap:
        """A `Reshape`."""
        return keras.layers.Reshape((-1, math.prod(x.shape[2:])), name=name)(x)

    def predictions(self, maps: Sequence[FeatureMap], values: int, *, name: str) -> FeatureMap:
        """A `Reshape` of each level and a `Concatenate`."""
        dtype = keras.config.floatx()
        rows = [
            keras.layers.Reshape((-1, values), dtype=dtype, name=f"{name}_rows{number}")(feature_map)
            for number, feature_map in enumerate(maps, 1)
        ]
        return keras.layers.Concatenate(axis=1, dtype=dtype, name=name)(rows)

    def blocks(self, number: int) -> Iterable[int]:
        """All indices."""
        return range(number)
