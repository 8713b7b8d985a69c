"""The layers that networks are defined with: an interface without Keras.

A family defines its network once, in terms of `Layers`. One backend builds Keras layers
(`models.layers.kinds.KerasLayers`); the other propagates shapes and counts cost (`models.cost.tracer.CostTracer`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

FeatureMap: TypeAlias = Any
"""A `keras.KerasTensor`, or a `TracedMap` of the cost tracer. Its `shape` ends in (height, width, channels)."""


class Layers(ABC):
    """Interface of a layer backend.

    Each kind of layer is a method of the name that it has in the table `models.layers.kinds.KINDS`. It applies a new
    layer to feature maps, (batch, height, width, channels), and returns the result:

        x = layers.convolution(x, filters=64, kernel_size=3, padding="same", name="stem_conv")
        x = layers.add(x, y, name="stem_add")

    `name` is the name of the layer; the other arguments are those of its class in Keras. With `precise=True`, the layer
    computes in float32 under any precision policy, for outputs that losses read. A list of maps as the only input means
    that they share the layer; the result is a list, too.
    """

    @abstractmethod
    def images(self, size: tuple[int, int], channels: int) -> FeatureMap:
        """Defines the input of the network: raw pixels of images of this (height, width)."""

    @abstractmethod
    def regions(self, number: int, *, name: str) -> FeatureMap:
        """Defines the second input of a network: boxes_yxyx float32 (batch, number, 4) in pixels."""

    @abstractmethod
    def given(
        self, images: FeatureMap, *, source: str, levels: Mapping[str, str]
    ) -> tuple[FeatureMap, dict[str, FeatureMap]]:
        """Returns the layers of a backbone that was given in Python, or of a preset: its output, and its maps by level.

        Args:
            images: standardized.
            source: name of the backbone.
            levels: the layer of each level; none: those of the backbone.
        """

    @abstractmethod
    def blocks(self, number: int) -> Iterable[int]:
        """Returns indices, from 0, of the blocks of a stage to define.

        Each block reads only the output of the block before it. All blocks after the first have the same shapes, so a
        backend that only counts may skip some of them.
        """

    @abstractmethod
    def __getattr__(self, kind: str) -> Callable[..., FeatureMap]:
        """Returns the method of a kind of layer.

        Raises:
            AttributeError: the table has no such kind.
        """
