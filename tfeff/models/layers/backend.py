"""The kinds of layers that networks are drawn with, as an interface, and the hand that makes them in Keras.

A family describes its network once, against `Layers`. `KerasLayers` makes it; `ledger.Ledger` only adds up what it
would cost.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import keras

from tfeff.models.layers.preprocessing import standardisation
from tfeff.models.layers.stochastic_depth import StochasticDepth

FeatureMap: TypeAlias = Any
"""A `keras.KerasTensor`, or what stands for it where nothing is made; its `shape` ends in (height, width, channels)."""


class Layers(ABC):
    """The kinds of layers that the families use, each as a method that puts one at the end of the network.

    Feature maps are (batch, height, width, channels). `name` is the layer's.
    """

    @abstractmethod
    def images(self, resolution: int, channels: int) -> FeatureMap:
        """The network's input: square images of raw pixels."""

    @abstractmethod
    def standardisation(self, x: FeatureMap, mean: Sequence[float], std: Sequence[float]) -> FeatureMap:
        """(x - mean) / std by channel, in pixel units.

        Raises:
            UserError: a standard deviation that is not positive.
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
        """Convolution over all channels; "same" padding takes a side r to ceil(r / strides)."""

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
        """Convolution of every channel with a kernel of its own, padding "same"."""

    @abstractmethod
    def batch_normalisation(
        self, x: FeatureMap, *, name: str, momentum: float, epsilon: float, synchronized: bool
    ) -> FeatureMap:
        """Batch normalisation with scale and shift."""

    @abstractmethod
    def activation(self, x: FeatureMap, function: str, *, name: str) -> FeatureMap:
        """A function of each element, such as "relu", "relu6" or "silu"."""

    @abstractmethod
    def add(self, first: FeatureMap, second: FeatureMap, *, name: str) -> FeatureMap:
        """Sum of two maps of one shape."""

    @abstractmethod
    def scale(self, x: FeatureMap, gate: FeatureMap, *, name: str) -> FeatureMap:
        """Product of a map with a gate, (batch, 1, 1, channels)."""

    @abstractmethod
    def zero_padding(self, x: FeatureMap, pixels: int, *, name: str) -> FeatureMap:
        """Zeros on all four sides."""

    @abstractmethod
    def max_pooling(self, x: FeatureMap, size: int, *, name: str, strides: int) -> FeatureMap:
        """Largest of each window, without padding."""

    @abstractmethod
    def subsampling(self, x: FeatureMap, strides: int, *, name: str) -> FeatureMap:
        """Every `strides`-th pixel, from the first: a side r becomes ceil(r / strides)."""

    @abstractmethod
    def global_pooling(self, x: FeatureMap, *, name: str, keepdims: bool = False) -> FeatureMap:
        """Mean of each channel: (batch, channels), or (batch, 1, 1, channels) with `keepdims`."""

    @abstractmethod
    def stochastic_depth(self, x: FeatureMap, survival_probability: float, *, name: str) -> FeatureMap:
        """The map, dropped whole for some examples in training."""

    @abstractmethod
    def dropout(self, x: FeatureMap, rate: float, *, name: str) -> FeatureMap:
        """The map, with some elements dropped in training."""

    @abstractmethod
    def dense(self, x: FeatureMap, units: int, *, name: str, activation: str | None) -> FeatureMap:
        """Dense layer of (batch, channels), float32 under any precision policy, so that losses keep their digits."""

    @abstractmethod
    def blocks(self, number: int) -> Iterable[int]:
        """Indices of a stage's blocks to draw one after another, from 0.

        Each block takes the map that the block before it gave, and nothing else from before. Blocks after the first are
        of one shape, so that whoever only counts may leave out further ones.
        """


class KerasLayers(Layers):
    """Makes Keras layers."""

    def images(self, resolution: int, channels: int) -> FeatureMap:
        """An `Input`, float32."""
        return keras.Input((resolution, resolution, channels), name="images")

    def standardisation(self, x: FeatureMap, mean: Sequence[float], std: Sequence[float]) -> FeatureMap:
        """A `Rescaling`."""
        return standardisation(mean, std)(x)

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

    def batch_normalisation(
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

    def dense(self, x: FeatureMap, units: int, *, name: str, activation: str | None) -> FeatureMap:
        """A `Dense`."""
        return keras.layers.Dense(units, activation=activation, dtype="float32", name=name)(x)

    def blocks(self, number: int) -> Iterable[int]:
        """All of them."""
        return range(number)
