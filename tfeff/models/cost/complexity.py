"""What a network costs: parameters, multiply-adds and activation memory, counted exactly from its graph.

Nothing is run: shapes are followed through the graph for one example.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras

from tfeff.errors import UserError
from tfeff.models.cost.activation_memory import Call, Lifetimes, is_view, lifetimes, most, reads

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
        training_peak_bytes: most bytes alive at once in a training step, for each image of the batch: the images, the
            layer outputs alive or kept, and, as the layers are run backwards in the opposite order, the gradients of
            layer outputs, each from its first use to its last. Weights, their gradients and the working memory of
            single operations are not counted: they do not grow with the batch.
    """

    params: int
    trainable_params: int
    macs: int
    activation_bytes: int
    peak_bytes: int
    training_peak_bytes: int


@dataclass(frozen=True)
class _Run:
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
    runs: list[_Run] = []
    outputs = keras.tree.flatten(_run(graph, images, runs))
    when, sizes = _lifetimes(runs, images, outputs)
    return Complexity(
        params=model.count_params(),
        trainable_params=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        macs=sum(map(_macs, runs)),
        activation_bytes=most([when.kept], sizes),
        peak_bytes=most(when.forward, sizes),
        training_peak_bytes=most(when.training, sizes),
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


def _run(graph: keras.Model, inputs: Sequence[keras.KerasTensor], runs: list[_Run]) -> object:
    """Follow shapes through a graph and record every run of a layer, those inside nested models too."""

    def recorded(operation: keras.Operation) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            arguments = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
            if isinstance(operation, keras.Model):
                return _run(_graph(operation), arguments, runs)
            results = operation.compute_output_spec(*args, **kwargs)
            runs.append(_Run(operation, arguments, keras.tree.flatten(results)))
            return results

        return run

    outputs = graph._run_through_graph(inputs, operation_fn=recorded)
    leaves = keras.tree.flatten(outputs)
    return leaves[0] if len(leaves) == 1 else outputs


def _macs(run: _Run) -> int:
    """Multiply-adds of one run of a layer."""
    layer = run.operation
    if isinstance(layer, _SEPARABLE):
        positions = _positions(layer, run.outputs[0])
        return positions * (math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape))
    if isinstance(layer, _TRANSPOSED):
        return _positions(layer, run.inputs[0]) * math.prod(layer.kernel.shape)
    if isinstance(layer, _CONVOLUTIONS):
        return _positions(layer, run.outputs[0]) * math.prod(layer.kernel.shape)
    if isinstance(layer, L.Dense):
        return math.prod(run.inputs[0].shape[:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.Layer):
        if layer.weights and not isinstance(layer, _WITHOUT_MACS):
            raise UserError(f'layer "{layer.name}": multiply-adds of {type(layer).__name__} are not known')
    elif type(layer).__name__ in _MULTIPLYING_OPERATIONS:
        raise UserError(f'operation "{layer.name}": multiply-adds of {type(layer).__name__} are not known')
    return 0


def _positions(layer: keras.Layer, tensor: keras.KerasTensor) -> int:
    """Spatial positions of a feature map, (1, ...spatial, c) or (1, c, ...spatial)."""
    return math.prod(tensor.shape[1:-1] if layer.data_format == "channels_last" else tensor.shape[2:])


def _lifetimes(
    runs: Sequence[_Run], images: Sequence[keras.KerasTensor], outputs: Sequence[keras.KerasTensor]
) -> tuple[Lifetimes, list[int]]:
    """When each map is in memory, and bytes of the maps by number; a view is the map that it looks at."""
    numbers = {id(tensor): number for number, tensor in enumerate(images)}
    sizes = [_bytes(tensor) for tensor in images]
    calls = []
    for run in runs:
        kind: type = type(run.operation)
        activation = _activation(run.operation)
        sources = tuple(numbers[id(tensor)] for tensor in run.inputs)
        if is_view(kind, activation):
            numbers[id(run.outputs[0])] = sources[0]
            continue
        made = tuple(range(len(sizes), len(sizes) + len(run.outputs)))
        numbers.update((id(tensor), number) for tensor, number in zip(run.outputs, made, strict=True))
        sizes.extend(map(_bytes, run.outputs))
        calls.append(Call(sources, made, reads(kind, activation)))
    last = {numbers[id(tensor)] for tensor in outputs}
    first = range(len(images))
    return lifetimes(calls, inputs=first, outputs=last, kept=last, held=first), sizes


def _activation(layer: keras.Operation) -> str | None:
    """Name of the activation in a layer, if it has one."""
    function = getattr(layer, "activation", None)
    return None if function is None else getattr(function, "__name__", type(function).__name__)


def _bytes(tensor: keras.KerasTensor) -> int:
    digits = re.search(r"\d+", tensor.dtype)  # none in "bool", which takes a byte
    bits = int(digits.group()) if digits else 8
    return math.prod(tensor.shape) * bits // 8
