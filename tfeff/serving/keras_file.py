"""Export to Keras' own format: `model.keras`, the network alone, for any backend of Keras 3.

Own layers are replaced by Keras' layers that compute the same, so a program that opens the file does not need tfeff.
Those without an equivalent remain: Keras finds them only after `import tfeff.models`.
"""

import tempfile
from pathlib import Path

import keras

from tfeff import checked
from tfeff.models.layers.activation import Activation
from tfeff.models.layers.bias import Dense
from tfeff.models.layers.convolution import DepthwiseConvolution, GroupedConvolution
from tfeff.models.layers.neck import NearestUpsampling, StopGradient
from tfeff.models.layers.normalization import BatchNormalization, Rescaling
from tfeff.models.layers.residual import LayerScale, StochasticDepth
from tfeff.serving.fitting import Fitting
from tfeff.tasks import ImageTask

FILE = "model.keras"


def convert(model: keras.Model, task: ImageTask, *, fitting: Fitting | None = None) -> dict[str, bytes]:
    """Returns `model.keras` and its contents, and warns if it needs tfeff to be opened.

    Args:
        model: the network, as `ImageTask.predictor` returns it.
        task: the network's task, whose decoding is no part of the file.
        fitting: None: the network takes float32 images that fit.
    """
    assert fitting is None
    network = plain(model)
    if needed := own_layers(network):
        checked.warn(f"{FILE} needs tfeff where it is opened: import tfeff.models first, for {', '.join(needed)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        network.save(path)
        return {FILE: path.read_bytes()}


def plain(model: keras.Model) -> keras.Model:
    """Returns the same network with as many of Keras' own layers as possible; others are shared with `model`.

    In training, it may take other random numbers than `model` for stochastic depth, and the gradients of the one-to-one
    head of an end-to-end YOLO also reach what it shares with the other.

    Args:
        model: a functional model.
    """
    replaced = list[tuple[keras.Layer, keras.Layer]]()

    def layer_for(operation: keras.Operation) -> keras.Operation:
        if isinstance(operation, keras.Model):
            return plain(operation)
        if not isinstance(operation, keras.Layer) or (equivalent := _equivalent(operation)) is None:
            return operation
        replaced.append((operation, equivalent))
        return equivalent

    network = keras.models.clone_model(
        keras.Model(model.input, model.output, name=model.name), clone_function=layer_for
    )
    for layer, equivalent in replaced:
        equivalent.set_weights(layer.get_weights())
    return network


def own_layers(model: keras.Model) -> list[str]:
    """Returns the names of the classes in a network that belong to tfeff."""
    own = {type(layer).__name__ for layer in model._flatten_layers() if type(layer).__module__.startswith("tfeff.")}
    return sorted(own)


def _equivalent(layer: keras.Layer) -> keras.Layer | None:
    """Returns a layer of Keras that computes the same with the same weights; None if none exists or is needed."""
    settings = {"name": layer.name, "trainable": layer.trainable, "dtype": layer.dtype_policy}
    match layer:
        case BatchNormalization():
            return keras.layers.BatchNormalization.from_config({**layer.get_config(), "synchronized": False})
        case Rescaling():
            return keras.layers.Rescaling.from_config(layer.get_config())
        case DepthwiseConvolution():
            return keras.layers.DepthwiseConv2D.from_config(layer.get_config())
        case Activation():
            return keras.layers.Activation.from_config(layer.get_config())
        case Dense():
            return keras.layers.Dense.from_config(layer.get_config())
        case GroupedConvolution():
            return keras.layers.Conv2D.from_config(layer.get_config())
        case StochasticDepth():
            rate, ones = 1 - layer.survival_probability, (1,) * (len(layer.output.shape) - 1)
            return keras.layers.Dropout(rate, noise_shape=(None, *ones), **settings)
        case LayerScale():
            return keras.layers.EinsumDense("...c,c->...c", output_shape=layer.output.shape[-1], **settings)
        case StopGradient():
            return keras.layers.Identity(**settings)
        case NearestUpsampling() if tuple(side * layer.factor for side in layer.input.shape[1:3]) == layer.size:
            return keras.layers.UpSampling2D(layer.factor, **settings)
    return None
