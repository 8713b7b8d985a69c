"""Backbones of KerasHub and KerasCV, by the names of their presets.

Both packages have one constructor for all their backbones, `from_preset`, which downloads what it needs. A preset
becomes an own backbone (`tfeff.models.given`) that takes raw pixels: its preprocessing is put in front of it.
"""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np

from tfeff.errors import UserError, nearest
from tfeff.models import given
from tfeff.models.given import Backbone
from tfeff.models.network import in_policy
from tfeff.networks.backbones.preset import is_name, parts

_INSTALL = {"keras_hub": "tfeff[hub]", "keras_cv": "keras-cv"}
_LOADED = dict[str, Backbone]()


def find(source: str) -> Backbone:
    """Returns the backbone of this name: of a preset, which is loaded once, or one that was given in Python.

    Raises:
        UserError: it was not offered to this process; or the package is not installed, the preset does not exist or
            cannot be loaded, or is no backbone of images.
    """
    if not is_name(source):
        return given.find(source)
    if source not in _LOADED:
        _LOADED[source] = _load(source)
    return _LOADED[source]


def notes(name: str) -> tuple[str, ...]:
    """Returns what the user should know about a preset, one line each; the package is installed."""
    package, preset = parts(name)
    if package != "keras_hub" or preset not in importlib.import_module(package).models.ObjectDetector.presets:
        return ()
    return (f"{name} is a detector of KerasHub: its backbone is used, its heads and their classes are not",)


def _load(name: str) -> Backbone:
    package, preset = parts(name)
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise UserError(f'{name}: {package} cannot be imported ({error}); pip install "{_INSTALL[package]}"') from error
    known = _known(module)
    if preset not in known and not re.search(r"://", preset) and not Path(preset).is_dir():
        what = "folder" if re.search(r"[/\\]", preset) else "preset"
        raise UserError(f"{name}: {package} has no {what} {preset!r}; {nearest(preset, known)}")
    try:
        with in_policy("float32"):  # so that `training.precision` applies to copies of the layers
            model, scale, offset = _PACKAGES[package](module, known.get(preset, preset))
    except Exception as error:  # of the hub, of HDF5, or of Keras, which builds what the preset describes
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
        raise UserError(
            f"{name}: cannot be loaded ({reason}). {package} downloads a preset on first use; run once with an "
            "internet connection to fill its cache (~/.cache/kagglehub), or name a folder with a preset"
        ) from error
    if not isinstance(model, keras.Model) or len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise UserError(f"{name}: is no backbone of images; {nearest(preset, set(known) - {preset})}")
    if (scale, offset) == (1.0, 0.0):
        return Backbone(model, name=re.sub(r"\W", "_", preset))
    images = keras.Input(model.inputs[0].shape[1:], name="pixels")
    pixels = keras.layers.Rescaling(scale, offset, dtype="float32", name="preset_rescaling")(images)
    return Backbone(keras.Model(images, model(pixels), name=model.name), name=re.sub(r"\W", "_", preset))


def _known(module: ModuleType) -> Mapping[str, str]:
    """Returns presets of backbones of images, by name: what `from_preset` of the base class takes."""
    if module.__name__ == "keras_hub":
        return {name: name for name in module.layers.ImageConverter.presets}
    classes = (getattr(module.models, name) for name in dir(module.models) if name.endswith("Backbone"))
    presets = {name: preset for each in classes for name, preset in each.presets.items()}
    return {name: preset["kaggle_handle"] for name, preset in presets.items() if "kaggle_handle" in preset}


def _of_keras_hub(module: ModuleType, preset: str) -> tuple[keras.Model, Any, Any]:
    """Returns the backbone, and the scale and the offset of its image converter."""
    model = module.models.Backbone.from_preset(preset, dtype="float32")
    converter = module.layers.ImageConverter.from_preset(preset)
    pairs = ((converter.scale, 1.0), (converter.offset, 0.0))
    scale, offset = (np.asarray(default if value is None else value, float).tolist() for value, default in pairs)
    return model, scale, offset


def _of_keras_cv(module: ModuleType, preset: str) -> tuple[keras.Model, Any, Any]:
    """Returns the backbone; without rescaling of its own, it takes pixels in [0, 1]."""
    model = module.models.Backbone.from_preset(preset)
    return model, (1.0 if getattr(model, "include_rescaling", False) else 1 / 255), 0.0


_PACKAGES = {"keras_hub": _of_keras_hub, "keras_cv": _of_keras_cv}
