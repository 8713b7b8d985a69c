"""The backbone contract: a network names its feature maps by pyramid level. Level Pn has stride 2^n."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from tfeff.networks.preprocessing import STANDARDIZATION

RECURSION_LIMIT = 10_000


@keras.saving.register_keras_serializable(package="tfeff")
class Network(keras.Model):
    """A functional Keras model of images of one size, with a feature pyramid.

    Input: (batch, height, width, channels), raw pixels in [0, 255]. Saving to `.keras` and loading preserve size and
    pyramid.

    Attributes:
        levels: maps the name of each pyramid level ("P1", "P2", ...) to the name of the layer that outputs it: the last
            feature map with stride 2, 4, ...
        description: what a detector was built from, with what its losses need, such as its anchors. Loading does not
            restore it.
        maps: the symbolic feature maps of the levels, if the layers of `levels` belong to another network first.
    """

    levels: dict[str, str]
    description: Any = None
    maps: dict[str, keras.KerasTensor] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input image, in pixels."""
        height, width = self.inputs[0].shape[1:3]
        return height, width

    @property
    def resolution(self) -> int:
        """The longer side of the input image, in pixels."""
        return max(self.size)

    @property
    def regions(self) -> int | None:
        """Regions per image for which multiply-adds are counted; None if the network reads no regions."""
        return getattr(self.description, "regions", None)

    def predictor(self) -> "Network":
        """Returns the network without the outputs that only training uses, or itself if it has none.

        Both share their weights. This is not a property, because Keras would save it as a part of the network.
        """
        unused = getattr(self.description, "training_outputs", ())
        if not unused or not set(unused) & self.output.keys():
            return self
        kept = {name: output for name, output in self.output.items() if name not in unused}
        network = Network(self.input, kept, name=self.name)
        network.description, network.levels, network.maps = self.description, dict(self.levels), self.maps
        return network

    @property
    def pyramid(self) -> dict[str, keras.KerasTensor]:
        """Symbolic feature map of each level, (batch, ceil(height / 2^n), ceil(width / 2^n), channels)."""
        return self.maps or {level: self.get_layer(layer).output for level, layer in self.levels.items()}

    def get_config(self) -> dict[str, Any]:
        """Returns the functional graph and the levels."""
        return {**super().get_config(), "levels": dict(self.levels)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Network":
        """Rebuilds a network from its config."""
        allow_deep_graphs()
        config = dict(config)
        levels = config.pop("levels")
        network = super().from_config(config, custom_objects=custom_objects)
        network.levels = levels
        return network


def standardization(model: keras.Model) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns the per-channel (mean, std) of a network's standardization, in pixel units; None without it."""
    layer = next((layer for layer in model.layers if layer.name == STANDARDIZATION), None)
    if layer is None:
        return None
    std = tuple(1 / scale for scale in layer.scale)
    return tuple(-offset * s for offset, s in zip(layer.offset, std, strict=True)), std


def allow_deep_graphs() -> None:
    """Raises Python's recursion limit, because Keras walks through graphs recursively.

    EfficientDet-D6 and larger have paths of more than 1000 layers, Python's default limit.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))


@contextmanager
def in_policy(name: str | None = None) -> Iterator[None]:
    """Layers that are built here compute in a dtype policy; afterwards, the policy is as before.

    Args:
        name: of the policy; None: as before, unless it is set here.
    """
    before = keras.config.dtype_policy()
    if name is not None:
        keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Layers that are built here draw the seeds of their initializers and dropout from a seed.

    Keras draws them from Python's generator, which is afterwards as before. keras.utils.set_random_seed would also seed
    TensorFlow's generator, which is not used here, and cause all functions to be compiled again.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def predictor_of(model: keras.Model) -> keras.Model:
    """Returns `Network.predictor` of a model; other Keras models predict with all of their outputs."""
    return model.predictor() if isinstance(model, Network) else model


def levels_of(network: keras.Model, graph: Any) -> dict[str, str]:
    """Returns level -> name of the layer that outputs it, of maps that the network computes: some lead to no output.

    Args:
        network: the model.
        graph: the `Graph` that its layers were made by.
    """
    known = {layer.name for layer in network.layers}
    names = {level: output._keras_history.operation.name for level, output in graph.levels.items()}
    return {level: name for level, name in names.items() if name in known}
