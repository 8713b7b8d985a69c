"""Loads matching variables from files and other models, and reports the rest."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from tfeff.errors import UserError
from tfeff.models.layers.preprocessing import STANDARDIZATION, per_channel, set_mean, statistics
from tfeff.models.network import Network
from tfeff.models.weights import automl, tensorflow_checkpoint, torchvision
from tfeff.models.weights.files import PREPROCESSING_MEAN, PREPROCESSING_STD, read
from tfeff.models.weights.report import LoadReport, Skipped
from tfeff.models.weights.torch_file import read_state_dict


def is_weights_file(path: str | Path) -> bool:
    """Whether there is a file or a TensorFlow checkpoint to load weights from."""
    return Path(path).is_file() or tensorflow_checkpoint.find_checkpoint(Path(path)) is not None


def load_weights(model: keras.Model, source: str | Path | keras.Model | Mapping[str, np.ndarray]) -> LoadReport:
    """Load all variables that the source has with the same path and shape.

    For a network with one input channel, the kernels of an RGB stem are summed over their input channels. The network
    then computes for a gray image what the RGB network computes for three equal channels: exactly if these share their
    mean; otherwise up to the border, where the padding of the standardized image then means another gray value.

    A model, a `.keras` file and a training checkpoint contain their preprocessing, which is transferred: the network
    takes the source's mean, and a different standard deviation is folded into the stem's kernel. Other sources must
    have been trained with the preprocessing of the network. Load weights before your own `tf.function` traces the
    network, because a traced function does not see the new mean.

    Args:
        model: the network to change.
        source: a network; arrays by variable path; or a file: `.npz` (arrays by variable path, or a training
            checkpoint, whose paths start with "model/"), `.weights.h5` or `.keras`; or a TensorFlow checkpoint of
            google/automl's EfficientDet, for an EfficientDet with the preprocessing of its table; or `.pth`, a state
            dict of torchvision's `fasterrcnn_resnet50_fpn`, for the detector "faster-rcnn".

    Raises:
        UserError: the file does not exist or cannot be read, or no variable matches.
    """
    if isinstance(source, (str, Path)):
        prefix = tensorflow_checkpoint.find_checkpoint(Path(source))
        if prefix is not None and isinstance(model, Network):
            return assign(model, automl.rename(model, tensorflow_checkpoint.read_variables(prefix)), str(prefix))
        if Path(source).suffix == ".pth" and isinstance(model, Network):
            return assign(model, torchvision.rename(model, read_state_dict(Path(source))), str(source))
        source = read(model, Path(source))
    origin = "the given weights"
    if isinstance(source, keras.Model):
        origin = source.name
        arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in source.weights}
        layers = {layer.name: layer for layer in source.layers}
        if STANDARDIZATION in layers:
            adopt_preprocessing(model, arrays, *statistics(layers[STANDARDIZATION]))
    else:
        arrays = dict(source)
        mean, std = arrays.pop(PREPROCESSING_MEAN, None), arrays.pop(PREPROCESSING_STD, None)
        if mean is not None and std is not None:
            adopt_preprocessing(model, arrays, tuple(map(float, mean)), tuple(map(float, std)))
    return assign(model, arrays, origin)


def assign(model: keras.Model, arrays: Mapping[str, np.ndarray], origin: str) -> LoadReport:
    """Set the variables that match, as described in `load_weights`.

    Args:
        model: the network to change.
        arrays: arrays by variable path.
        origin: description of the source, for the error message.

    Raises:
        UserError: no variable matches.
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
        raise UserError(f"{origin}: no variable matches {model.name}; are these the weights of another network?")
    return LoadReport(tuple(loaded), tuple(skipped))


def adopt_preprocessing(
    model: keras.Model, arrays: dict[str, np.ndarray], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Transfer the preprocessing of the source to a network and to the arrays that are loaded into it.

    The preprocessing layer takes the mean. The ratio of the standard deviations is folded into the stem's kernel, which
    is exact because zero padding is the same in both scales. The layer changes only if the means differ. A gray network
    takes the average of the means; what the other channels' means change in the stem's output is a constant for each
    filter, which its bias or batch normalization takes.

    Args:
        model: the network to change.
        arrays: arrays by variable path; those of the stem are replaced.
        mean: mean of the source, in pixel units.
        std: standard deviation of the source, in pixel units.
    """
    layer = model.get_layer(STANDARDIZATION)
    channels = model.inputs[0].shape[-1]
    own_mean, own_std = statistics(layer)
    if not np.allclose(own_mean, per_channel(mean, channels), rtol=1e-5):
        set_mean(layer, per_channel(mean, channels))
        model.train_function = model.test_function = model.predict_function = None
    kernel = arrays.get("stem_conv/kernel")
    if kernel is not None and kernel.shape[2] in (len(std), 1):
        if channels == 1 and len(mean) == kernel.shape[2]:
            steps = (np.mean(mean) - np.asarray(mean)) / np.asarray(std)
            shift = (kernel.sum(axis=(0, 1)) * steps[:, None]).sum(axis=0)
            for path, sign in (("stem_conv/bias", 1), ("stem_conv_bn/moving_mean", -1)):
                if path in arrays:
                    arrays[path] = (arrays[path] + sign * shift).astype(arrays[path].dtype)
        own = np.asarray(own_std if len(own_std) == kernel.shape[2] else own_std[:1] * kernel.shape[2])
        arrays["stem_conv/kernel"] = (kernel * (own / np.asarray(std))[:, None]).astype(kernel.dtype)
