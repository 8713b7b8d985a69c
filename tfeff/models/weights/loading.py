"""Loading of matching variables from files and other models, and a report of the rest."""

import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.network import Network, standardization
from tfeff.models.weights import automl, hdf5, torchvision
from tfeff.models.weights.classes import Classes
from tfeff.models.weights.safetensors_file import read_tensors
from tfeff.models.weights.torch_file import read_state_dict
from tfeff.networks.catalog import ALL_BACKBONES
from tfeff.networks.heads import CLASSIFIER, ONE_TO_MANY
from tfeff.networks.preprocessing import STANDARDIZATION, per_channel

PREPROCESSING_MEAN, PREPROCESSING_STD = "preprocessing/mean", "preprocessing/std"
"""Names of the arrays with the network's preprocessing, float64 [channels] in pixel units."""
CHECKPOINT_PREFIX, AVERAGE_PREFIX = "model/", "average/"
"""Prefixes of the network's variables, and of their averages, in a training checkpoint."""
_MOST_CHANNELS = 3  # times the size of a variable: the kernel of an RGB stem, for a gray network
LISTED = 8
"""Up to this many variables that one side lacks are listed one by one, more by the beginning of their names."""


@dataclass(frozen=True)
class Skipped:
    """A variable that was not loaded.

    Attributes:
        name: path of the variable, such as "head_classifier/kernel".
        shape_here: its shape in the network, or None if the network does not have it.
        shape_there: its shape in the source, or None if the source does not have it.
    """

    name: str
    shape_here: tuple[int, ...] | None
    shape_there: tuple[int, ...] | None

    def __str__(self) -> str:
        here = "not in the network" if self.shape_here is None else f"{self.shape_here} in the network"
        there = "not in the source" if self.shape_there is None else f"{self.shape_there} in the source"
        return f"{self.name}: {here}, {there}"


@dataclass(frozen=True)
class LoadReport:
    """Loaded and skipped variables.

    Attributes:
        loaded: paths of the network's variables that were set.
        skipped: all other variables of the network and of the source.
        classes: the classes of network and source, if they differ; outputs of shared classes were loaded.
        copied: those of `loaded` that the source lacks, of heads that only training uses: set as in the heads that
            predict.
    """

    loaded: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    classes: Classes | None = None
    copied: tuple[str, ...] = ()

    def __str__(self) -> str:
        skipped = {each.name: each for each in self.skipped}
        if skipped.keys() == {f"{CLASSIFIER}/kernel", f"{CLASSIFIER}/bias"} and self.classes is None:
            shape = skipped[f"{CLASSIFIER}/bias"].shape_here
            head = "no classifier" if shape is None else f"a new classifier for {shape[0]} classes"
            return f"{head}; all {len(self.loaded)} other variables loaded"
        lines = [f"{len(self.loaded)} variables loaded, {len(self.skipped)} skipped"]
        if self.copied:
            lines.append(f"{len(self.copied)} variables of training-only heads are copied from the heads that predict")
        absent = [each for each in self.skipped if each.shape_there is None]
        surplus = [each for each in self.skipped if each.shape_here is None]
        differing = [each for each in self.skipped if each not in absent and each not in surplus]
        for where, group in (("source", absent), ("network", surplus)):
            if len(group) <= LISTED:
                lines += map(str, group)
            else:
                prefixes = Counter(re.split(r"[/_.]", each.name.lstrip("_"))[0] for each in group)
                names = ", ".join(f"{count} of {prefix}*" for prefix, count in sorted(prefixes.items()))
                lines.append(f"not in the {where}: {names}")
        lines += map(str, differing)
        return "\n  ".join([*lines, *([str(self.classes)] if self.classes else [])])


def is_weights_file(path: str | Path) -> bool:
    """Returns whether there is a file or a TensorFlow checkpoint to load weights from."""
    return Path(path).is_file() or automl.find_checkpoint(Path(path)) is not None


def classes_of(path: Path) -> int | None:
    """Returns the number of outputs of the classifier in a `.npz` file; None if there is none, or for other files.

    Raises:
        UserError: the file cannot be read.
    """
    if path.suffix != ".npz":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if _array_name(info).removeprefix(CHECKPOINT_PREFIX) == f"{CLASSIFIER}/kernel":
                    return _header(archive, info)[0][-1]
    except Exception as error:  # of any kind, in what a damaged file states
        raise _unreadable(path, error) from error
    return None


def load_weights(
    model: keras.Model,
    source: str | Path | keras.Model | Mapping[str, np.ndarray],
    *,
    classes: Classes | None = None,
) -> LoadReport:
    """Loads all variables that the source has with the same path and shape.

    For a network with one input channel, the kernels of an RGB stem are summed over their input channels. The network
    then computes for a gray image what the RGB network computes for three equal channels: exactly if these share their
    mean; otherwise up to the border, where the padding of the standardized image then means another gray value.
    Conversely, a network with three channels gets a third of a gray stem's kernels for each.

    A model, a `.keras` file and a training checkpoint contain their preprocessing, and that of torchvision's and
    google/automl's networks is known. It is transferred: the network takes the source's mean, and a different standard
    deviation is folded into the stem's kernel. Other sources must have been trained with the preprocessing of the
    network. Load weights before your own `tf.function` traces the
    network, because a traced function does not see the new mean.

    Args:
        model: the network to change.
        source: a network; arrays by variable path; or a file: `.npz` (arrays by variable path, or a training
            checkpoint, of which the weights for evaluation are loaded: averaged, if there is an average),
            `.weights.h5` or `.keras`; or a TensorFlow checkpoint of google/automl's EfficientDet; or `.pth`, a state
            dict of torchvision: of a RegNet, of its ResNet-50 for "resnet50-v1.5", of `fasterrcnn_resnet50_fpn` for
            the detector "faster-rcnn", or of `retinanet_resnet50_fpn` for "retinanet"; or `.safetensors`, with either
            the names of such a state dict or the paths of the variables.
        classes: the classes of network and source. If they differ, outputs are loaded class by class. None: all
            outputs are loaded, if there are as many.

    Raises:
        UserError: the file does not exist or cannot be read, no variable matches, or a value is not finite.
    """
    if isinstance(source, (str, Path)):
        origin, source = f"weights {source}", os.path.expanduser(source)
        foreign = read_foreign(model, Path(source)) if isinstance(model, Network) else None
        source = _read(model, Path(source), classes) if foreign is None else foreign
    else:
        origin = "the given weights"
    if isinstance(source, keras.Model):
        origin = source.name if origin == "the given weights" else origin
        arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in source.weights}
        statistics = standardization(source)
        if statistics is not None:
            adopt_preprocessing(model, arrays, *statistics)
    else:
        arrays = dict(source)
        mean, std = arrays.pop(PREPROCESSING_MEAN, None), arrays.pop(PREPROCESSING_STD, None)
        if mean is not None and std is not None:
            adopt_preprocessing(model, arrays, tuple(map(float, mean)), tuple(map(float, std)))
    return assign(model, arrays, origin, classes)


def read_foreign(network: Network, path: Path) -> dict[str, np.ndarray] | None:
    """Reads a file of torchvision or google/automl, or a `.safetensors` file.

    The network adopts the preprocessing with which the networks of torchvision and google/automl were trained.

    Returns:
        Arrays by the paths of the network's variables; None for any other file.

    Raises:
        UserError: the file does not exist or cannot be read, or is of another network.
    """
    prefix, known = automl.find_checkpoint(path), ALL_BACKBONES[torchvision.NETWORK]
    if prefix is not None:
        arrays = automl.rename(network, automl.read_variables(prefix))
        backbone = getattr(network.description, "backbone", None)
        if backbone is None or backbone.name not in ALL_BACKBONES:
            return arrays
        known = ALL_BACKBONES[backbone.name]
    elif path.suffix == ".pth":
        arrays = torchvision.rename(network, read_state_dict(path))
    elif path.suffix == ".safetensors":
        arrays = read_tensors(path)
        if not torchvision.is_known(arrays):
            return arrays
        arrays = torchvision.rename(network, arrays)
    else:
        return None
    adopt_preprocessing(network, arrays, known.mean, known.std)
    return arrays


def assign(
    model: keras.Model, arrays: Mapping[str, np.ndarray], origin: str, classes: Classes | None = None
) -> LoadReport:
    """Sets the variables that match, as described in `load_weights`.

    Heads that only training uses, and that the source lacks, start as those that predict.

    Args:
        model: the network to change.
        arrays: arrays by variable path.
        origin: description of the source, for the error message.
        classes: as for `load_weights`.

    Raises:
        UserError: no variable matches, or a value of one that does is not finite; the network is then unchanged.
    """
    if classes is not None and classes.same:
        classes = None
    matching, skipped, kept = {}, [], False
    before = getattr(getattr(model, "description", None), "BEFORE_CLASSES", 0)
    channels = model.inputs[0].shape[-1]
    twins = {weight.path: weight.path.removeprefix(ONE_TO_MANY) for weight in model.weights}
    copied = [path for path, twin in twins.items() if path not in arrays and twin in arrays]
    arrays = {**arrays, **{path: arrays[twins[path]] for path in copied}}
    for weight in model.weights:
        if weight.path not in arrays:
            skipped.append(Skipped(weight.path, tuple(weight.shape), None))
            continue
        array = np.asarray(arrays[weight.path])
        if weight.path == "stem_conv/kernel" and array.ndim == 4:
            array = _for_channels(array, channels)
        if classes is not None and classes.has_outputs(weight.path):
            merged = classes.merged(weight.path, keras.ops.convert_to_numpy(weight), array, before)
            if merged is None:
                skipped.append(Skipped(weight.path, tuple(weight.shape), array.shape))
            else:
                matching[weight.path], kept = merged, True
        elif array.shape == tuple(weight.shape):
            matching[weight.path] = array
        else:
            skipped.append(Skipped(weight.path, tuple(weight.shape), array.shape))
    known = {weight.path for weight in model.weights}
    skipped.extend(Skipped(path, None, np.shape(array)) for path, array in arrays.items() if path not in known)
    if not matching:
        raise UserError(f"{origin}: no variable matches {model.name}; are these the weights of another network?")
    broken = [path for path, array in matching.items() if not np.isfinite(array).all()]
    if broken:
        raise UserError(
            f"{origin}: {len(broken)} of {len(matching)} variables have values that are not finite (NaN or infinite), "
            f"first {broken[0]}; the file is damaged, or its training diverged: use an earlier checkpoint"
        )
    for weight in model.weights:
        if weight.path in matching:
            weight.assign(matching[weight.path])
    copied = [path for path in copied if path in matching]
    return LoadReport(tuple(matching), tuple(skipped), classes if kept else None, tuple(copied))


def _for_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Returns a stem's kernel for gray or RGB images: the sum over three channels, or a third for each of them."""
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return np.repeat(kernel, channels, axis=2) / channels if kernel.shape[2] == 1 else kernel


def adopt_preprocessing(
    model: keras.Model, arrays: dict[str, np.ndarray], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Transfers the preprocessing of the source to a network and to the arrays that are loaded into it.

    The preprocessing layer takes the mean. The ratio of the standard deviations is folded into the stem's kernel, which
    is exact because zero padding is the same in both scales. The layer changes only if the means differ. A gray network
    takes the average of the means; what the other channels' means change in the stem's output is a constant for each
    filter, which its bias or batch normalization takes. In an own backbone without such a stem, the layer takes the
    standard deviation, too.

    Args:
        model: the network to change.
        arrays: arrays by variable path; those of the stem are replaced.
        mean: mean of the source, in pixel units.
        std: standard deviation of the source, in pixel units.
    """
    layer = model.get_layer(STANDARDIZATION)
    channels = model.inputs[0].shape[-1]
    statistics = standardization(model)
    assert statistics is not None
    own_mean, own_std = statistics
    mean_here, std_here = (per_channel(values, channels) for values in (mean, std))
    kernel = arrays.get("stem_conv/kernel")
    shape = next((tuple(weight.shape) for weight in model.weights if weight.path == "stem_conv/kernel"), ())
    rescaled = not shape and not np.allclose(own_std, std_here, rtol=1e-5)
    if rescaled:
        layer.scale = [1 / s for s in std_here]
    if rescaled or not np.allclose(own_mean, mean_here, rtol=1e-5):
        layer.offset = [-m * scale for m, scale in zip(mean_here, layer.scale, strict=True)]
        model.train_function = model.test_function = model.predict_function = None
    alike = kernel is not None and kernel.ndim == 4 and (*kernel.shape[:2], kernel.shape[3]) == (*shape[:2], *shape[3:])
    if kernel is not None and alike and kernel.shape[2] in (1, 3):
        if channels > 1:  # a gray network's kernel is summed after it is scaled, in `assign`
            kernel = _for_channels(kernel, channels)
        ours, theirs, centers = (np.asarray(per_channel(each, kernel.shape[2])) for each in (own_std, std, mean))
        if channels == 1:
            steps = (centers.mean() - centers) / theirs
            shift = (kernel.sum(axis=(0, 1)) * steps[:, None]).sum(axis=0)
            for path, sign in (("stem_conv/bias", 1), ("stem_conv_bn/moving_mean", -1)):
                if path in arrays:
                    arrays[path] = (arrays[path] + sign * shift).astype(arrays[path].dtype)
                    break
        arrays["stem_conv/kernel"] = (kernel * (ours / theirs)[:, None]).astype(kernel.dtype)


def _read(model: keras.Model, path: Path, classes: Classes | None) -> keras.Model | dict[str, np.ndarray]:
    """Reads a `.npz`, `.weights.h5`, `.keras` or `.safetensors` file.

    Args:
        model: the network that the weights are for.
        path: the file.
        classes: as for `load_weights`.

    Returns:
        A model, or arrays by variable path.

    Raises:
        UserError: the file does not exist or cannot be read, or its extension is unknown.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if not path.is_file():
        raise UserError(f"weights {path}: no such file")
    try:
        if path.suffix == ".npz":
            return _read_npz(model, path, classes)
        if path.name.endswith(".weights.h5"):
            return _read_h5(model, path)
        if path.suffix == ".keras":
            hdf5.require_plain_archive(path)
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras builds what the file describes, and any layer may fail
        raise _unreadable(path, error) from error
    raise UserError(f"weights {path}: unknown extension; must be .npz, .weights.h5, .keras, .pth or .safetensors")


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
    return UserError(f"weights {path}: cannot be read ({reason})")


def _read_npz(model: keras.Model, path: Path, classes: Classes | None) -> dict[str, np.ndarray]:
    """Reads arrays that the network can take; of others, only their shapes: compressed, they may be of any size."""
    sizes = {weight.path: math.prod(weight.shape) for weight in model.weights}
    sizes |= dict.fromkeys((PREPROCESSING_MEAN, PREPROCESSING_STD), 1)
    arrays = dict[str, np.ndarray]()
    with zipfile.ZipFile(path) as zipped:
        members = {_array_name(info): (info, *_header(zipped, info)) for info in zipped.infolist()}
        is_checkpoint = any(name.startswith(CHECKPOINT_PREFIX) for name in members)
        prefix = evaluated_prefix(members) if is_checkpoint else ""
        for name in members:
            if not name.startswith((prefix, PREPROCESSING_MEAN, PREPROCESSING_STD)):
                continue
            info, shape, dtype = members[name]
            target = name.removeprefix(prefix)
            most = _MOST_CHANNELS * sizes.get(target, 0)
            if classes is not None and classes.has_outputs(target):
                most = max(most, math.ceil(sizes.get(target, 0) * len(classes.there) / len(classes.here)))
            if math.prod(shape) <= most:
                with zipped.open(info) as file:
                    arrays[target] = np.lib.format.read_array(file, allow_pickle=False)
            elif target not in (PREPROCESSING_MEAN, PREPROCESSING_STD):
                arrays[target] = np.broadcast_to(np.zeros((), dtype), shape)
    return arrays


def evaluated_prefix(names: Iterable[str]) -> str:
    """Returns the prefix of the weights for evaluation among the arrays of a training checkpoint."""
    return AVERAGE_PREFIX if any(name.startswith(AVERAGE_PREFIX) for name in names) else CHECKPOINT_PREFIX


def _array_name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _header(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype]:
    """Returns the shape and type of an array, which is as large as its file: NumPy allocates what the header states."""
    with zipped.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject or info.file_size - file.tell() != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{info.filename} is not an array of {shape}")
    return shape, dtype


def _read_h5(model: keras.Model, path: Path) -> dict[str, np.ndarray]:
    """Reads Keras' weights file: each layer is a group of numbered variables.

    The file does not contain the variables' names. They are taken from the same layer of `model`, by number.
    """
    own = {layer.name: [weight.path for weight in layer.weights] for layer in model.layers}
    arrays = {}
    for layer, variables in hdf5.read_layers(path).items():
        paths = own.get(layer, [])
        for number, value in variables.items():
            known = number.isdecimal() and int(number) < len(paths)
            arrays[paths[int(number)] if known else f"{layer}/{number}"] = value
    return arrays


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Names of a family's layers in another implementation, such as keras.applications.

    Attributes:
        ends: maps layers of stem and head to their names there.
        block: maps (stage, block), both counted from 1, to the name of the block, or to None if it does not exist.
        units: maps the layers of a block (without the block's name) to their names, where "{block}" is the block and
            "{previous}" the number of the stage before, counted from 0.
        statistics: RGB (mean, std) of the module's `preprocess_input`, or None if preprocessing is part of the network.
        flipped: whether the stem expects BGR.
    """

    ends: dict[str, str]
    block: Callable[[int, int], str | None]
    units: dict[str, str]
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
    flipped: bool = False

    def __call__(self, layer: str) -> str | None:
        """Returns the name of a layer in the other implementation, or None."""
        parts = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", layer)
        if parts is None:
            return self.ends.get(layer)
        stage = int(parts[1])
        block, unit = self.block(stage, int(parts[2])), self.units.get(parts[3])
        return None if block is None or unit is None else unit.format(block=block, previous=stage - 2)
