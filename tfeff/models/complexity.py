"""What a network costs: parameters, multiply-adds and activation memory, counted exactly from its graph.

Nothing is run: shapes are followed through the graph for one example.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras

from tfeff.errors import UserError
from tfeff.models.stochastic_depth import StochasticDepth

L = keras.layers

_CONVOLUTIONS = (L.Conv1D, L.Conv2D, L.Conv3D, L.DepthwiseConv1D, L.DepthwiseConv2D)
_SEPARABLE = (L.SeparableConv1D, L.SeparableConv2D)
_TRANSPOSED = (L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose)
_WITHOUT_MACS = (
    L.BatchNormalization,
    L.LayerNormalization,
    L.GroupNormalization,
    L.Normalization,
    L.PReLU,
    L.Embedding,
)
# Operations of keras.ops that multiply matrices; their cost depends on how they are called.
_MULTIPLYING_OPERATIONS = {
    "Conv",
    "ConvTranspose",
    "DepthwiseConv",
    "Dot",
    "DotProductAttention",
    "Einsum",
    "Inner",
    "Matmul",
    "Outer",
    "SeparableConv",
    "Tensordot",
    "Vdot",
}

# Whose output is its input under another name.
_VIEWS = (L.Reshape, L.Flatten, L.Identity, L.ActivityRegularization)
# Whose gradient reads neither input nor output: linear with constant factors, or with a mask of its own.
_READS_NOTHING = (
    L.Add,
    L.Average,
    L.AveragePooling2D,
    L.Concatenate,
    L.Cropping2D,
    L.Dropout,
    L.GlobalAveragePooling2D,
    L.Permute,
    L.Rescaling,
    L.Resizing,
    L.SpatialDropout2D,
    StochasticDepth,
    L.Subtract,
    L.UpSampling2D,
    L.ZeroPadding2D,
)
_READS_INPUT = (
    *_CONVOLUTIONS,
    *_SEPARABLE,
    *_TRANSPOSED,
    *_WITHOUT_MACS,
    L.Dense,
    L.EinsumDense,
    L.LeakyReLU,
    L.Multiply,
)
_READS_OUTPUT = (L.ReLU, L.Softmax)
# Activations whose gradient is a function of their output; that of all others reads their input.
_ACTIVATIONS_READING_OUTPUT = {"relu", "relu6", "sigmoid", "softmax", "tanh"}


@dataclass(frozen=True)
class Complexity:
    """Cost of a network for one example.

    Attributes:
        params: elements of all weights, batch normalisation's moving statistics included.
        trainable_params: elements of the weights that training changes.
        macs: multiply-adds of convolutions and dense layers; "FLOPs" in the papers. Normalisation, activations, biases
            and pooling are not counted.
        activation_bytes: layer outputs that one training step keeps for its backward pass: those that the gradient of
            the layer itself or of a layer after it reads, and the outputs of the network, which the loss reads. A
            convolution, a dense layer, batch normalisation, a product and SiLU read their inputs; ReLU, sigmoid and
            softmax their outputs; max-pooling both; sums, averages, padding, dropout and rescaling neither. Layers not
            known here count as reading both. An activation inside another layer counts as one of its own.
            Each tensor counts once and in its own dtype; views (Reshape, Flatten, linear activations) not at all.
        peak_bytes: most bytes of layer outputs alive at once in a forward pass, layers in the order in which Keras runs
            them, each output freed after its last reader; the images included, weights not.
    """

    params: int
    trainable_params: int
    macs: int
    activation_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class _Call:
    """One run of one layer."""

    operation: keras.Operation
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


def count(model: keras.Model, resolution: int | None = None) -> Complexity:
    """Count a functional or sequential model, nested ones included, at batch size 1.

    Args:
        model: built; a layer that it calls several times counts as often (its weights once).
        resolution: side of square inputs to count at; None takes the model's own input shapes.

    Raises:
        UserError: a model that is not a graph of layers, an input shape that is not fully known, or a layer whose
            multiply-adds are not known.
    """
    graph = _graph(model)
    images = [
        keras.KerasTensor((1, *_spatial(tensor, resolution), *tensor.shape[-1:]), dtype=tensor.dtype)
        if len(tensor.shape) == 4
        else keras.KerasTensor((1, *tensor.shape[1:]), dtype=tensor.dtype)
        for tensor in graph.inputs
    ]
    for tensor in images:
        if None in tensor.shape:
            raise UserError(f"{model.name}: input shape {tensor.shape[1:]} is not fully known; give a resolution")
    calls: list[_Call] = []
    outputs = keras.tree.flatten(_run(graph, images, calls))
    roots = _Roots(calls)
    return Complexity(
        params=model.count_params(),
        trainable_params=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        macs=sum(_macs(call) for call in calls),
        activation_bytes=_activation_bytes(calls, outputs, roots),
        peak_bytes=_peak_bytes(calls, images, outputs, roots),
    )


def _spatial(tensor: keras.KerasTensor, resolution: int | None) -> tuple[int | None, ...]:
    return tensor.shape[1:-1] if resolution is None else (resolution, resolution)


def _graph(model: keras.Model) -> keras.Model:
    """The functional graph of a model."""
    if isinstance(model, keras.Sequential):
        model = model._functional
    if model is None or not hasattr(model, "_run_through_graph"):
        raise UserError("complexity is counted on built functional and sequential models; this one has no graph")
    return model


def _run(graph: keras.Model, inputs: Sequence[keras.KerasTensor], calls: list[_Call]) -> object:
    """Follow shapes through a graph and record every run of a layer, those inside nested models too."""

    def recorded(operation: keras.Operation) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            arguments = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
            if isinstance(operation, keras.Model):
                return _run(_graph(operation), arguments, calls)
            results = operation.compute_output_spec(*args, **kwargs)
            calls.append(_Call(operation, arguments, keras.tree.flatten(results)))
            return results

        return run

    outputs = graph._run_through_graph(inputs, operation_fn=recorded)
    leaves = keras.tree.flatten(outputs)
    return leaves[0] if len(leaves) == 1 else outputs


def _macs(call: _Call) -> int:
    """Multiply-adds of one run of a layer."""
    layer = call.operation
    if isinstance(layer, _SEPARABLE):
        positions = _positions(layer, call.outputs[0])
        return positions * (math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape))
    if isinstance(layer, _TRANSPOSED):
        return _positions(layer, call.inputs[0]) * math.prod(layer.kernel.shape)
    if isinstance(layer, _CONVOLUTIONS):
        return _positions(layer, call.outputs[0]) * math.prod(layer.kernel.shape)
    if isinstance(layer, L.Dense):
        return math.prod(call.inputs[0].shape[:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.Layer):
        if layer.weights and not isinstance(layer, _WITHOUT_MACS):
            raise UserError(f'layer "{layer.name}": multiply-adds of {type(layer).__name__} are not known')
    elif type(layer).__name__ in _MULTIPLYING_OPERATIONS:
        raise UserError(f'operation "{layer.name}": multiply-adds of {type(layer).__name__} are not known')
    return 0


def _positions(layer: keras.Layer, tensor: keras.KerasTensor) -> int:
    """Spatial positions of a feature map, (1, ...spatial, c) or (1, c, ...spatial)."""
    return math.prod(tensor.shape[1:-1] if layer.data_format == "channels_last" else tensor.shape[2:])


class _Roots:
    """Tensors that hold memory of their own: a view stands for the tensor it looks at."""

    def __init__(self, calls: Sequence[_Call]) -> None:
        self._viewed = {id(call.outputs[0]): call.inputs[0] for call in calls if _is_view(call.operation)}

    def __call__(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        while id(tensor) in self._viewed:
            tensor = self._viewed[id(tensor)]
        return tensor


def _is_view(layer: keras.Operation) -> bool:
    return isinstance(layer, _VIEWS) or (isinstance(layer, L.Activation) and _activation(layer) == "linear")


def _activation(layer: keras.Operation) -> str | None:
    """Name of the activation in a layer, if it has one."""
    function = getattr(layer, "activation", None)
    return None if function is None else getattr(function, "__name__", type(function).__name__)


def _bytes(tensor: keras.KerasTensor) -> int:
    digits = re.search(r"\d+", tensor.dtype)  # none in "bool", which takes a byte
    bits = int(digits.group()) if digits else 8
    return math.prod(tensor.shape) * bits // 8


def _activation_bytes(calls: Sequence[_Call], outputs: Sequence[keras.KerasTensor], roots: _Roots) -> int:
    kept = {id(tensor): tensor for tensor in map(roots, outputs)}
    inside = 0
    for call in calls:
        layer = call.operation
        if _is_view(layer):
            continue
        reads_input, reads_output = _reads(layer)
        activation = _activation(layer)
        if activation not in (None, "linear"):
            if activation in _ACTIVATIONS_READING_OUTPUT:
                reads_output = True
            elif isinstance(layer, L.Activation):
                reads_input = True
            else:
                inside += sum(map(_bytes, call.outputs))
        read = [*(call.inputs if reads_input else ()), *(call.outputs if reads_output else ())]
        kept.update((id(tensor), tensor) for tensor in map(roots, read))
    return inside + sum(map(_bytes, kept.values()))


def _reads(layer: keras.Operation) -> tuple[bool, bool]:
    """Whether a layer's gradient, its activation's aside, reads the layer's input and its output."""
    if isinstance(layer, (L.Activation, *_READS_NOTHING)):
        return False, False
    if isinstance(layer, _READS_OUTPUT):
        return False, True
    return True, not isinstance(layer, _READS_INPUT)


def _peak_bytes(
    calls: Sequence[_Call],
    images: Sequence[keras.KerasTensor],
    outputs: Sequence[keras.KerasTensor],
    roots: _Roots,
) -> int:
    last_use = {id(roots(tensor)): step for step, call in enumerate(calls) for tensor in call.inputs}
    last_use.update((id(roots(tensor)), len(calls)) for tensor in outputs)
    alive = {id(tensor): _bytes(tensor) for tensor in images}
    peak = sum(alive.values())
    for step, call in enumerate(calls):
        if not _is_view(call.operation):
            alive.update((id(tensor), _bytes(tensor)) for tensor in call.outputs)
        peak = max(peak, sum(alive.values()))
        alive = {tensor: size for tensor, size in alive.items() if last_use.get(tensor, -1) > step}
    return peak
