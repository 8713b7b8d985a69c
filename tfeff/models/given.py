"""A backbone that a caller passes from Python: any Keras model that is a graph of layers.

A config refers to it by a name that contains a digest of its layers (`tfeff.networks.backbones.given`), so a run that
resumes or is opened again asks for the same backbone.
"""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain, count
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from tfeff.errors import UserError, nearest
from tfeff.models.graph import graph_of, walk
from tfeff.networks.backbones.architecture import level_number
from tfeff.networks.backbones.given import Given
from tfeff.networks.heads import CLASSIFIER, POOL
from tfeff.networks.layers import FeatureMap
from tfeff.networks.preprocessing import STANDARDIZATION

PROBED = 512
"""Side at which the strides of a model for images of any size are measured, in pixels."""
_TAKEN = (STANDARDIZATION, POOL, "head_dropout", CLASSIFIER, "images", "regions")
"""Names of layers around a backbone."""
_IN_FLOAT32 = (keras.layers.Rescaling, keras.layers.Normalization)
"""Layers that read raw pixels, for which half precision is too coarse."""
_OWN = ("levels", "pyramid_level_inputs", "pyramid_outputs")
"""Attributes by which models of `tfeff.models`, KerasCV and KerasHub name their levels."""


class Backbone:
    """A Keras model as a backbone of classifiers and detectors.

    Its layers are copied into each network that is trained, with the weights that it has now; the model itself does not
    change. Nested models are unpacked. Layers keep their names; generated names, such as `conv2d_17`, count from the
    beginning. `optimizer.frozen` and other patterns match them.

    Args:
        model: a functional or sequential model, from images [batch, height, width, channels] to one feature map, or to
            a dictionary of feature maps by level. Its layers can be saved (`get_config`).
        levels: pyramid levels, such as `{"P3": "block_5_add"}`: names of layers with maps of stride 2^3. None: those
            that the model names itself (KerasCV, KerasHub and `tfeff.models`), if their strides are right; otherwise
            the last map of each stride.
        mean: the model gets (pixel - mean) / std with pixels in [0, 255]; per channel, or one number for all. 0 and 1:
            raw pixels, for models that contain their preprocessing.
        std: see `mean`.
        resolution: side of the images in pixels. None: that of the model's input; if that takes any size,
            `model.resolution` of the config, or what a recipe chooses.
        pretrained: whether its weights come from a training. False: recipes choose settings for random weights.
        name: first part of its name in configs and messages. None: the model's name.

    Attributes:
        resolution: see above; None if neither is known.

    Raises:
        UserError: the model is not a graph of layers, has another input or output, or lacks a level.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        levels: Mapping[str, str] | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        resolution: int | None = None,
        pretrained: bool = True,
        name: str | None = None,
    ) -> None:
        graph = graph_of(model)
        if graph is None or len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
            raise UserError(
                f"backbone: {getattr(model, 'name', model)!r} is no functional or sequential Keras model of images "
                "[batch, height, width, channels]; for a subclassed model, give keras.Model(inputs, outputs)"
            )
        *size, self._channels = graph.inputs[0].shape[1:]
        self._graph, self._label = graph, _name(model, ())
        self._weights = dict[keras.Operation, list[Any]]()
        probed = tuple(side or PROBED for side in size)
        images = keras.Input((*probed, self._channels), name="images")
        outputs, maps, names = self._copied(images, {})
        if any(len(each.shape) != 4 for each in outputs) or (len(outputs) > 1 and not isinstance(graph.output, dict)):
            raise UserError(
                f"backbone: {self._label} returns {', '.join(str(each.shape) for each in outputs)}; it should return "
                "one feature map [batch, height, width, channels], without pooling and classifier (include_top=False)"
            )
        if levels is None:
            models = (model, *(layer for layer in graph.layers if isinstance(layer, keras.Model)))
            own = next((each for of in models for key in _OWN if (each := getattr(of, key, None))), graph.output)
            levels = _levels(own, names, maps, probed, outputs[-1])
        else:  # by the names in the model, which those of the copies may differ from
            levels = {level: names.get(layer, layer) for level, layer in levels.items()}
        _require_layers(levels, maps)
        layers = json.dumps(_unnamed(keras.Model(images, outputs).get_config()), sort_keys=True, default=repr)
        layers = re.sub(r" at 0x[0-9a-f]+", "", layers)  # addresses in memory
        self.resolution = resolution or (max(size) if None not in size else None)
        self.description = Given(
            graph=f"{name or self._label}-{_digest([layers.encode()])}",
            initial=_digest(array.tobytes() for arrays in self._weights.values() for array in arrays),
            levels=tuple(f"{level}={levels[level]}" for level in sorted(levels, key=level_number)),
            mean=tuple(np.array(mean, float, ndmin=1).tolist()),
            std=tuple(np.array(std, float, ndmin=1).tolist()),
            resolution=self.resolution or 0,
            pretrained=pretrained,
        )

    def define(self, images: FeatureMap, levels: Mapping[str, str]) -> tuple[FeatureMap, dict[str, FeatureMap]]:
        """Copies the layers: the output, and the maps of the levels, for images (batch, height, width, channels).

        Args:
            images: standardized.
            levels: the layer of each level; none: those of the description. If a layer is called several times, the
                first call counts.

        Raises:
            UserError: the layers cannot be copied or do not take such images, or a level does not have its stride.
        """
        size = images.shape[1:3]
        levels = levels or dict(each.split("=", 1) for each in self.description.levels)
        if images.shape[-1] != self._channels:
            raise UserError(
                f"config: data.channels is {images.shape[-1]}; the backbone {self._label} takes {self._channels}"
            )
        outputs, maps, _ = self._copied(images, levels)
        _require_layers(levels, maps)
        for level, layer in levels.items():
            if (sides := _sides(maps[layer])) != (expected := _cells(size, level_number(level))):
                raise UserError(
                    f"backbone: {self._label}, at {size[0]}x{size[1]} pixels: the map of {layer} is {sides}, but "
                    f"{level} is {expected}; set model.resolution to a multiple of "
                    f"{2 ** max(map(level_number, levels))}, or name other layers: tfeff.Backbone(model, levels=...)"
                )
        return outputs[-1], {level: maps[layer] for level, layer in levels.items()}

    def _copied(
        self, images: FeatureMap, levels: Mapping[str, str]
    ) -> tuple[list[FeatureMap], dict[str, FeatureMap], dict[str, str]]:
        """Copies the layers; keeps the weights the first time.

        Returns the outputs; the output of each layer, and an identity after those of levels; names of layers in
        networks by their names in the model.
        """
        copies, maps = dict[keras.Operation, keras.Operation](), dict[str, FeatureMap]()
        ends = {layer: f"backbone_{level.lower()}" for level, layer in levels.items()}

        def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
            if operation in copies:
                return copies[operation](*args, **kwargs)
            copy = copies[operation] = self._copy(operation, _name(operation, maps))
            output = copy(*args, **kwargs)
            if isinstance(operation, keras.Layer):
                self._assign(copy, self._weights.setdefault(operation, operation.get_weights()))
            if copy.name in ends:
                output = keras.layers.Identity(name=ends[copy.name])(output)
            maps[copy.name] = output
            return output

        # Layers inside other layers get the names that they would have in a new process, so that the paths of
        # variables, by which checkpoints name them, do not depend on what else was built.
        numbers = global_state.get_global_attribute("object_name_uids")
        global_state.set_global_attribute("object_name_uids", defaultdict(int))
        try:
            outputs = keras.tree.flatten(walk(self._graph, [images], call))
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"backbone: {self._label} does not take images of {images.shape[1]}x{images.shape[2]} pixels: {error}"
            ) from error
        finally:
            global_state.set_global_attribute("object_name_uids", numbers)
        return outputs, maps, {operation.name: copy.name for operation, copy in copies.items()}

    def _copy(self, operation: keras.Operation, name: str) -> keras.Operation:
        try:
            if isinstance(operation, keras.layers.Lambda):  # its config would lose what the function refers to
                return keras.layers.Lambda(operation.function, arguments=operation.arguments, name=name)
            config = {**operation.get_config(), "name": name}
            policy = getattr(getattr(operation, "dtype_policy", None), "name", None)
            if policy == "float32" and not isinstance(operation, _IN_FLOAT32):
                config.pop("dtype", None)  # so that `training.precision` applies
            return type(operation).from_config(config)
        except Exception as error:
            raise UserError(
                f"backbone: {self._label}: the layer {operation.name} cannot be copied; {type(operation).__name__} "
                f"needs get_config and from_config that describe it completely ({error})"
            ) from error

    def _assign(self, copy: keras.Layer, arrays: Sequence[Any]) -> None:
        try:
            copy.set_weights(arrays)
        except ValueError as error:
            raise UserError(
                f"backbone: {self._label}: the weights of {copy.name} depend on the size of the images; give the model "
                "for model.resolution, or set that to the resolution of the model"
            ) from error
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()


_OFFERED = dict[str, Backbone]()


def offer(backbone: keras.Model | Backbone) -> Given:
    """Makes a backbone known to this process; returns its description."""
    backbone = backbone if isinstance(backbone, Backbone) else Backbone(backbone)
    _OFFERED[backbone.description.graph] = backbone
    return backbone.description


def find(source: str) -> Backbone:
    """Returns the backbone of this name.

    Raises:
        UserError: it was not offered to this process.
    """
    if source not in _OFFERED:
        raise UserError(
            f"config: model.graph is {source!r}, a backbone that was given in Python and is not known to this "
            "process; give it again: tfeff.train(..., backbone=...) or tfeff.open(workdir, backbone=...)"
        )
    return _OFFERED[source]


def _require_layers(levels: Mapping[str, str], maps: Mapping[str, FeatureMap]) -> None:
    """Raises UserError for the name of a layer that there is not."""
    for layer in levels.values():
        if layer not in maps:
            raise UserError(f'backbone: no layer "{layer}"; {nearest(layer, maps)}')


def _levels(
    own: Any, names: Mapping[str, str], maps: Mapping[str, FeatureMap], size: Sequence[int], output: FeatureMap
) -> dict[str, str]:
    """Returns the layers of levels that a model names itself, if their strides are right.

    Otherwise, returns the layer with the last map of each stride, up to the stride of the output.
    """
    strides = {_cells(size, number): f"P{number}" for number in range(1, math.ceil(math.log2(max(size))) + 1)}
    found = {layer: strides[sides] for layer, each in maps.items() if (sides := _sides(each)) in strides}
    layers = {
        level: names.get(each if isinstance(each, str) else each._keras_history.operation.name, "")
        for level, each in (own.items() if isinstance(own, Mapping) else ())
    }
    right = {level: layer for level, layer in layers.items() if found.get(layer) == level}
    return right or {level: layer for layer, level in found.items() if _sides(maps[layer]) >= _sides(output)}


def _cells(size: Sequence[int], number: int) -> tuple[int, ...]:
    """Returns the height and width of a map of stride 2^number."""
    return tuple(-(-side // 2**number) for side in size)


def _sides(output: Any) -> tuple[int, ...]:
    """Returns the height and width of a feature map; empty for other outputs."""
    shape = getattr(output, "shape", ())
    return tuple(shape[1:3]) if len(shape) == 4 else ()


def _name(operation: keras.Operation, used: Container[str]) -> str:
    """Returns a layer's name in networks.

    Generated names count from the beginning, and others get a number if they are used.
    """
    stem, kind = re.sub(r"_\d+$", "", operation.name), type(operation).__name__.lower()
    name = stem if stem.replace("_", "") == kind.replace("_", "") else operation.name
    names = chain([name], (f"{name}_{number}" for number in count(1)))
    return next(each for each in names if each not in used and each not in _TAKEN)


def _unnamed(config: Any) -> Any:
    """Returns a config of layers without names, precision and None.

    Entries of None are removed because Keras writes a mask of None only sometimes.
    """
    if isinstance(config, Mapping):
        kept = {key: each for key, each in config.items() if key not in ("name", "dtype") and each is not None}
        return {key: _unnamed(each) for key, each in kept.items()}
    return [_unnamed(each) for each in config] if isinstance(config, list | tuple) else config


def _digest(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()[:12]
