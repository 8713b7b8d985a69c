"""Reads weights from `.npz`, `.weights.h5` and `.keras` files."""

import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from tfeff.errors import UserError

PREPROCESSING_MEAN, PREPROCESSING_STD = "preprocessing/mean", "preprocessing/std"
"""Names of the arrays with the network's preprocessing, float64 [channels] in pixel units."""
CHECKPOINT_PREFIX = "model/"  # prefix of the network's variables in a training checkpoint


def read(model: keras.Model, path: Path) -> keras.Model | dict[str, np.ndarray]:
    """Read a file of weights; its extension determines the format.

    Args:
        model: the network that the weights are for.
        path: `.npz`, `.weights.h5` or `.keras`.

    Returns:
        A model, or arrays by variable path.

    Raises:
        UserError: the file does not exist or cannot be read, or its extension is unknown.
    """
    if not path.is_file():
        raise UserError(f"weights {path}: no such file")
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        if path.name.endswith(".weights.h5"):
            return _read_h5(model, path)
        if path.suffix == ".keras":
            return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"weights {path}: cannot be read ({error})") from error
    raise UserError(f"weights {path}: unknown extension; must be .npz, .weights.h5 or .keras")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        prefixes = (CHECKPOINT_PREFIX, PREPROCESSING_MEAN, PREPROCESSING_STD)
        names = [name for name in archive.files if name.startswith(prefixes)] or archive.files
        return {name.removeprefix(CHECKPOINT_PREFIX): archive[name] for name in names}


def _read_h5(model: keras.Model, path: Path) -> dict[str, np.ndarray]:
    """Read Keras' weights file: each layer is a group of numbered variables.

    The file does not contain the variables' names. They are taken from the same layer of `model`, by number.
    """
    own = {layer.name: [weight.path for weight in layer.weights] for layer in model.layers}
    arrays = {}
    with h5py.File(path) as file:
        for group in file["layers"].values():
            if "vars" not in group:
                continue
            layer = group["vars"].attrs.get("name", "")
            for number, variable in group["vars"].items():
                paths = own.get(layer, [])
                name = paths[int(number)] if int(number) < len(paths) else f"{layer}/{number}"
                arrays[name] = variable[()]
    return arrays
