"""Weights from files and other models: what fits is loaded, what does not is listed."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.layers.preprocessing import STANDARDISATION, per_channel, set_mean, statistics

PREPROCESSING_MEAN, PREPROCESSING_STD = "preprocessing/mean", "preprocessing/std"
"""Names under which arrays bring their network's preprocessing along, float64 [channels] in pixel units."""
CHECKPOINT_PREFIX = "model/"  # of a network's variables among those of a training state


@dataclass(frozen=True)
class Skipped:
    """A variable that was not loaded.

    Attributes:
        name: path of the variable, such as "head_classifier/kernel".
        shape_here: its shape in the network, or None where the network has no such variable.
        shape_there: its shape in the source, or None where the source has no such variable.
    """

    name: str
    shape_here: tuple[int, ...] | None
    shape_there: tuple[int, ...] | None

    def __str__(self) -> str:
        here = "not in the network" if self.shape_here is None else f"{self.shape_here} here"
        there = "not in the source" if self.shape_there is None else f"{self.shape_there} in the source"
        return f"{self.name}: {here}, {there}"


@dataclass(frozen=True)
class LoadReport:
    """What became of a network's variables and of the source's.

    Attributes:
        loaded: paths of the network's variables that were set.
        skipped: all others, of either side.
    """

    loaded: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} variables loaded, {len(self.skipped)} not"]
        return "\n  ".join([*lines, *map(str, self.skipped)])


def load_weights(model: keras.Model, source: str | Path | keras.Model | Mapping[str, np.ndarray]) -> LoadReport:
    """Set all of a network's variables that the source has in the same shape under the same path.

    A network with one input channel takes the sum of an RGB stem's kernels over their input channels: on a gray image
    it then computes what the RGB network computes on that image's three equal channels. A source that is a model, a
    `.keras` file or a training's checkpoint brings its preprocessing along: the network's mean becomes the source's,
    and another standard deviation is folded into the stem's kernel. Other sources must have been trained with the
    network's preprocessing.
    Load before the network is traced by a function of your own: a traced function keeps the mean it has seen.

    Args:
        model: the network to change.
        source: a network; a mapping from variable paths to arrays; or a file: `.npz` (arrays by variable path, or a
            training checkpoint, whose paths begin with "model/"), `.weights.h5` or `.keras`.

    Raises:
        UserError: a file that is missing or cannot be read, or a source of which nothing fits.
    """
    if isinstance(source, (str, Path)):
        source = _read(model, Path(source))
    origin = "the given weights"
    if isinstance(source, keras.Model):
        origin = source.name
        arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in source.weights}
        layers = {layer.name: layer for layer in source.layers}
        if STANDARDISATION in layers:
            adopt_preprocessing(model, arrays, *statistics(layers[STANDARDISATION]))
    else:
        arrays = dict(source)
        given = arrays.pop(PREPROCESSING_MEAN, None), arrays.pop(PREPROCESSING_STD, None)
        if given[0] is not None and given[1] is not None:
            adopt_preprocessing(model, arrays, tuple(map(float, given[0])), tuple(map(float, given[1])))
    return assign(model, arrays, origin)


def assign(model: keras.Model, arrays: Mapping[str, np.ndarray], origin: str) -> LoadReport:
    """Set the variables of a network that fit; see `load_weights`.

    Raises:
        UserError: none fits.
    """
    loaded, skipped = [], []
    channels = model.inputs[0].shape[-1]
    for weight in model.weights:
        if weight.path not in arrays:
            skipped.append(Skipped(weight.path, tuple(weight.shape), None))
            continue
        array = np.asarray(arrays[weight.path])
        if weight.path == "stem_conv/kernel" and channels == 1 and array.ndim == 4:
            array = array.sum(axis=2, keepdims=True)
        if array.shape == tuple(weight.shape):
            weight.assign(array)
            loaded.append(weight.path)
        else:
            skipped.append(Skipped(weight.path, tuple(weight.shape), array.shape))
    known = {weight.path for weight in model.weights}
    skipped.extend(Skipped(path, None, np.shape(array)) for path, array in arrays.items() if path not in known)
    if not loaded:
        raise UserError(f"nothing of {origin} fits {model.name}; are they another network's?")
    return LoadReport(tuple(loaded), tuple(skipped))


def adopt_preprocessing(
    model: keras.Model, arrays: dict[str, np.ndarray], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Make a network standardise as the source of its weights does.

    The mean moves into the preprocessing layer; the ratio of the standard deviations moves into the stem's kernel,
    which is exact because padding is zero on either scale. The layer thus changes only where the means differ.
    """
    layer = model.get_layer(STANDARDISATION)
    channels = model.inputs[0].shape[-1]
    own_mean, own_std = statistics(layer)
    if not np.allclose(own_mean, per_channel(mean, channels), rtol=1e-5):
        set_mean(layer, per_channel(mean, channels))
        model.train_function = model.test_function = model.predict_function = None
    kernel = arrays.get("stem_conv/kernel")
    if kernel is not None and kernel.shape[2] in (len(std), 1):
        own = np.asarray(own_std if len(own_std) == kernel.shape[2] else own_std[:1] * kernel.shape[2])
        arrays["stem_conv/kernel"] = (kernel * (own / np.asarray(std))[:, None]).astype(kernel.dtype)


def _read(model: keras.Model, path: Path) -> keras.Model | dict[str, np.ndarray]:
    """Weights of a file, by its ending."""
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
    raise UserError(f"weights {path}: the name must end in .npz, .weights.h5 or .keras")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        brought = (CHECKPOINT_PREFIX, PREPROCESSING_MEAN, PREPROCESSING_STD)
        names = [name for name in archive.files if name.startswith(brought)] or archive.files
        return {name.removeprefix(CHECKPOINT_PREFIX): archive[name] for name in names}


def _read_h5(model: keras.Model, path: Path) -> dict[str, np.ndarray]:
    """Keras' weights file: a group of numbered variables a layer, under the layer's name.

    A variable's name is not in the file; it is that of the variable of the same number in the network's own layer.
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
