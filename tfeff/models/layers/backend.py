"""The layers that backbones are defined with: an interface and its Keras backend.

A family defines its network once, in terms of `Layers`. One backend builds Keras layers (`KerasLayers`); the other
propagates shapes and counts cost (`models.cost.tracer.CostTracer`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import keras

from tfeff.models.layers.preprocessing import standardization
from tfeff.models.layers.stochastic_depth import StochasticDepth

FeatureMap: TypeAlias = Any
"""A `keras.KerasTensor`, or a `TracedMap` of the cost tracer. Its `shape` ends in (height, width, channels)."""


class Layers(ABC):
    """Interface of a layer backend: one method for each kind of layer, which applies a new layer to a feature map.

    Feature maps are (batch, height, width, channels). `name` is the name of the new layer.
    """

    @abstractmethod
    def images(self, resolution: int, channels: int) -> FeatureMap:
        """Input of the network: square images of raw pixels."""

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
        activation: str | None = None,
    ) -> FeatureMap:
        """Convolution. With padding "same", a side r becomes ceil(r / strides)."""

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
        self, x: FeatureMap, *, name: str, momentum: float, epsilon: float, synchronized: bool
    ) -> FeatureMap:
        """Batch normalization with learned scale and shift."""

    @abstractmethod
    def activation(self, x: FeatureMap, function: str, *, name: str) -> FeatureMap:
        """Elementwise activation, such as "relu", "relu6" or "silu"."""

    @abstractmethod
    def add(self, first: FeatureMap, second: FeatureMap, *, name: str) -> FeatureMap:
        """Sum of two feature maps of the same shape."""

    @abstractmethod
    def scale(self, x: FeatureMap, gate: FeatureMap, *, name: str) -> FeatureMap:
        """Feature map times a gate (batch, 1, 1, channels)."""

    @abstractmethod
    def zero_padding(self, x: FeatureMap, pixels: int, *, name: str) -> FeatureMap:
        """Pads all four sides with zeros."""

    @abstractmethod
    def max_pooling(self, x: FeatureMap, size: int, *, name: str, strides: int) -> FeatureMap:
        """Max-pooling without padding."""

    @abstractmethod
    def subsampling(self, x: FeatureMap, strides: int, *, name: str) -> FeatureMap:
        """Every `strides`-th pixel, starting with the first: a side r becomes ceil(r / strides)."""

    @abstractmethod
    def global_pooling(self, x: FeatureMap, *, name: str, keepdims: bool = False) -> FeatureMap:
        """Global average pooling to (batch, channels), or to (batch, 1, 1, channels) with `keepdims`."""

    @abstractmethod
    def stochastic_depth(self, x: FeatureMap, survival_probability: float, *, name: str) -> FeatureMap:
        """Stochastic depth: drops the whole map for random examples in training."""

    @abstractmethod
    def dropout(self, x: FeatureMap, rate: float, *, name: str) -> FeatureMap:
        """Dropout: drops random elements in training."""

    @abstractmethod
    def dense(self, x: FeatureMap, units: int, *, name: str) -> FeatureMap:
        """Dense layer on (batch, channels), float32 under any precision policy, so that losses are precise."""

    @abstractmethod
    def blocks(self, number: int) -> Iterable[int]:
        """Indices, from 0, of the blocks of a stage to define.

        Each block reads only the output of the block before it. All blocks after the first have the same shapes, so a
        backend that only counts may skip some of them.
        """


class KerasLayers(Layers):
    """Builds Keras layers."""

    def images(self, resolution: int, channels: int) -> FeatureMap:
        """An `Input`, float32."""
        return keras.Input((resolution, resolution, channels), name="images")

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
        activation: str | None = None,
    ) -> FeatureMap:
        """A `Conv2D`."""
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=bias,
            activation=activation,
            kernel_initializer=keras.initializers.get(initializer),
            name=name,
        )(x)

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
        return keras.layers.DepthwiseConv2D(
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=bias,
            depthwise_initializer=keras.initializers.get(initializer),
            name=name,
        )(x)

    def batch_normalization(
        self, x: FeatureMap, *, name: str, momentum: float, epsilon: float, synchronized: bool
    ) -> FeatureMap:
        """A `BatchNormalization`."""
        return keras.layers.BatchNormalization(
            momentum=momentum, epsilon=epsilon, synchronized=synchronized, name=name
        )(x)

    def activation(self, x: FeatureMap, function: str, *, name: str) -> FeatureMap:
        """An `Activation`."""
        return keras.layers.Activation(function, name=name)(x)

    def add(self, first: FeatureMap, second: FeatureMap, *, name: str) -> FeatureMap:
        """An `Add`."""
        return keras.layers.Add(name=name)([first, second])

    def scale(self, x: FeatureMap, gate: FeatureMap, *, name: str) -> FeatureMap:
        """A `Multiply`."""
        return keras.layers.Multiply(name=name)([x, gate])

    def zero_padding(self, x: FeatureMap, pixels: int, *, name: str) -> FeatureMap:
        """A `ZeroPadding2D`."""
        return keras.layers.ZeroPadding2D(pixels, name=name)(x)

    def max_pooling(self, x: FeatureMap, size: int, *, name: str, strides: int) -> FeatureMap:
        """A `MaxPooling2D`."""
        return keras.layers.MaxPooling2D(size, strides=strides, name=name)(x)

    def subsampling(self, x: FeatureMap, strides: int, *, name: str) -> FeatureMap:
        """An `AveragePooling2D` of one pixel."""
        return keras.layers.AveragePooling2D(1, strides=strides, name=name)(x)

    def global_pooling(self, x: FeatureMap, *, name: str, keepdims: bool = False) -> FeatureMap:
        """A `GlobalAveragePooling2D`."""
        return keras.layers.GlobalAveragePooling2D(keepdims=keepdims, name=name)(x)

    def stochastic_depth(self, x: FeatureMap, survival_probability: float, *, name: str) -> FeatureMap:
        """A `StochasticDepth`."""
        return StochasticDepth(survival_probability, name=name)(x)

    def dropout(self, x: FeatureMap, rate: float, *, name: str) -> FeatureMap:
        """A `Dropout`."""
        return keras.layers.Dropout(rate, name=name)(x)

    def dense(self, x: FeatureMap, units: int, *, name: str) -> FeatureMap:
        """A `Dense`."""
        return keras.layers.Dense(units, dtype=keras.config.floatx(), name=name)(x)

    def blocks(self, number: int) -> Iterable[int]:
        """All indices."""
        return range(number)
