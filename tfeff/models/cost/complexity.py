"""Parameters, multiply-adds and activation memory of a built network, counted from its graph.

Counting propagates shapes for one example; it does not run the network.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tfeff.errors import UserError
from tfeff.models.cost.activation_memory import Call, Lifetimes, lifetimes, peak_size
from tfeff.models.graph import graph_of, walk
from tfeff.models.layers.kinds import UNKNOWN, kind_of
from tfeff.models.network import predictor_of

# Operations of keras.ops that multiply matrices. Their cost depends on their arguments.
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
SMALL_KERNEL = 2**16
"""Parameters of the largest kernels that SavedModels copy for each batch normalization."""


@dataclass(frozen=True)
class Complexity:
    """Cost of a network for one example.

    Outputs that only training uses count in what concerns training alone: `trainable_params`, `activation_bytes` and
    `training_peak_bytes`.

    Attributes:
        params: number of parameters, including batch normalization's moving statistics.
        trainable_params: number of trainable parameters.
        macs: multiply-adds of convolutions and dense layers ("FLOPs" in the papers). Normalization, activations,
            biases, pooling, resizing and sums are not counted.
        activation_bytes: bytes of the layer outputs that a training step keeps for its backward pass: those that the
            gradients of layers read, and the outputs of the network, which the loss reads. The gradients of
            convolutions, dense layers, normalization, products, SiLU and GELU read the inputs; those of ReLU, sigmoid
            and softmax read the outputs; those of max-pooling and of unknown layers read both; those of sums, averages,
            padding, dropout and rescaling read neither. An activation inside another layer counts like a layer. GELU
            and layer normalization also count the maps that TensorFlow keeps inside them, four and one.
            Each tensor counts once, in its own dtype. Views (Reshape, Flatten, linear activations) do not count.
        peak_bytes: peak memory of a forward pass: input and layer outputs, in the order in which Keras runs the layers,
            each freed after its last use. Weights are not included.
        training_peak_bytes: peak memory of a training step for each image of the batch: input, layer outputs in use or
            kept, and gradients of layer outputs. Weights, their gradients and the workspace of single operations are
            not included, because they do not grow with the batch.
        kernel_params: number of those `params` that are in the kernels of convolutions and dense layers.
        folded_params: number of parameters if batch normalization is folded into kernels: these, a bias for each of
            their output channels, and the parameters of other layers.
        copied_params: parameters of kernels that are called again with another batch normalization, as by a detector's
            head on several levels: folding copies them.
        small_copied_params: those of `copied_params` in kernels of up to `SMALL_KERNEL` parameters.
        kernel_calls: calls of convolutions and dense layers.
        kernel_bytes: bytes of their outputs. Runtimes fuse what follows them, such as normalization and activations.
    """

    params: int
    trainable_params: int
    macs: int
    activation_bytes: int
    peak_bytes: int
    training_peak_bytes: int
    kernel_params: int
    folded_params: int
    copied_params: int
    small_copied_params: int
    kernel_calls: int
    kernel_bytes: int

    def trained_as(self, whole: "Complexity") -> "Complexity":
        """Returns the cost of a network that is trained as a part of another one."""
        training = ("trainable_params", "activation_bytes", "training_peak_bytes")
        return dataclasses.replace(self, **{name: getattr(whole, name) for name in training})


@dataclass(frozen=True)
class _Run:
    """One call of a layer."""

    operation: keras.Operation
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


def count(model: keras.Model, resolution: int | None = None, *, regions: int | None = None) -> Complexity:
    """Counts the cost of a functional or sequential model, including nested models, at batch size 1.

    Args:
        model: a built model. If it calls a layer several times, each call counts; the parameters count once.
        resolution: side of the square inputs; None uses the model's input shapes.
        regions: regions per image. They are boxes that the model takes, (batch, n, 4); or it takes images of regions
            alone, as R-CNN does, and the multiply-adds are those of all regions, the memory that of one.

    Raises:
        UserError: the model is not a graph of layers, its input shape is not fully defined, or the multiply-adds of a
            layer are unknown.
    """
    predictor = predictor_of(model)
    if predictor is not model:
        parts = [_counted(each, resolution, regions) for each in (predictor, model)]
        return parts[0].trained_as(parts[1])
    return _counted(model, resolution, regions)


def _counted(model: keras.Model, resolution: int | None, regions: int | None) -> Complexity:
    """Returns the cost of all outputs."""
    graph = graph_of(model)
    if graph is None:
        raise UserError(
            "complexity can only be counted on built functional and sequential models; this one has no graph"
        )
    images = [
        keras.KerasTensor((1, *_spatial(tensor, resolution), *tensor.shape[-1:]), dtype=tensor.dtype)
        if len(tensor.shape) == 4
        else keras.KerasTensor((1, *(regions if side is None else side for side in tensor.shape[1:])), tensor.dtype)
        for tensor in graph.inputs
    ]
    for tensor in images:
        if None in tensor.shape:
            raise UserError(
                f"{model.name}: input shape {tensor.shape[1:]} is not fully defined; pass resolution or regions"
            )
    reads_boxes = any(len(tensor.shape) != 4 for tensor in images)
    runs: list[_Run] = []
    outputs = keras.tree.flatten(_run(graph, images, runs))
    maps, sizes = _lifetimes(runs, images, outputs)
    macs = [_macs(run) for run in runs]
    with_kernels = [run for run, each in zip(runs, macs, strict=True) if each]
    kernels = {run.operation: run for run in reversed(with_kernels)}  # with the first call of each
    producers = {id(tensor): run for run in with_kernels for tensor in run.outputs}
    normalized = [run for run in runs if isinstance(run.operation, keras.layers.BatchNormalization)]
    convolved = [producers[id(run.inputs[0])] for run in normalized if id(run.inputs[0]) in producers]
    copied = [_kernel_params(run.operation) for run in convolved if run is not kernels[run.operation]]
    return Complexity(
        params=model.count_params(),
        trainable_params=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        macs=sum(macs) * (1 if regions is None or reads_boxes else regions),
        activation_bytes=sum(sizes[number] for number in maps.kept),
        peak_bytes=peak_size(maps.forward, sizes),
        training_peak_bytes=peak_size(maps.training, sizes),
        kernel_params=sum(map(_kernel_params, kernels)),
        folded_params=model.count_params()
        - sum(layer.count_params() for layer in {run.operation for run in normalized})
        - sum(layer.count_params() - _kernel_params(layer) for layer in kernels)
        + sum(run.outputs[0].shape[-1] for run in kernels.values()),
        copied_params=sum(copied),
        small_copied_params=sum(each for each in copied if each <= SMALL_KERNEL),
        kernel_calls=len(with_kernels),
        kernel_bytes=sum(_bytes(tensor) for run in with_kernels for tensor in run.outputs),
    )


def _spatial(tensor: keras.KerasTensor, resolution: int | None) -> tuple[int | None, ...]:
    return tensor.shape[1:-1] if resolution is None else (resolution, resolution)


def _run(graph: Any, inputs: Sequence[keras.KerasTensor], runs: list[_Run]) -> object:
    """Propagates shapes through a graph and records every call of a layer, also inside nested models."""

    def record(operation: keras.Operation, *args: Any, **kwargs: Any) -> object:
        arguments = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
        inside = list[_Run]()
        if (inner := _inside(operation, args, kwargs)) is not None:
            results = _run(inner, arguments, inside)
            if all(map(_is_known, inside)):
                runs.extend(inside)
                return results
        results = operation.compute_output_spec(*args, **kwargs)
        runs.append(_Run(operation, arguments, keras.tree.flatten(results)))
        return results

    return walk(graph, inputs, record)


def _inside(layer: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> keras.Model | None:
    """Returns the graph inside a layer of an unknown kind that has weights, such as a block; None if the layer has
    none, or computes with more than Keras' operations."""
    if kind_of(layer.__class__) is not UNKNOWN or not getattr(layer, "weights", ()) or not layer.built:
        return None

    def entered(value: Any) -> Any:
        is_tensor = isinstance(value, keras.KerasTensor)
        return keras.Input(batch_shape=value.shape, dtype=value.dtype) if is_tensor else value

    try:
        args, kwargs = keras.tree.map_structure(entered, (args, kwargs))
        inputs = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
        return keras.Model(inputs, layer.call(*args, **kwargs))
    except Exception:  # whatever another package's layer raises for symbolic tensors
        return None


def _is_known(run: _Run) -> bool:
    """Returns whether the multiply-adds and the memory of a call are known."""
    try:
        _macs(run)
    except UserError:
        return False
    return all(None not in output.shape for output in run.outputs)


def _macs(run: _Run) -> int:
    """Returns the multiply-adds of one call of a layer."""
    layer = run.operation
    kind = kind_of(layer.__class__)
    if kind.macs is None:
        is_layer, name = isinstance(layer, keras.Layer), type(layer).__name__
        if layer.weights if is_layer else name in _MULTIPLYING_OPERATIONS:
            noun = "layer" if is_layer else "operation"
            raise UserError(f'{noun} "{layer.name}": the multiply-adds of {name} are unknown')
        return 0
    if kind.macs == "none":
        return 0
    positions = _positions(layer, run.outputs[0] if kind.macs == "output" else run.inputs[0])
    return positions * _kernel_params(layer)


def _kernel_params(layer: keras.Layer) -> int:
    """Returns the number of elements of a layer's kernels."""
    return sum(math.prod(getattr(layer, kernel).shape) for kernel in kind_of(layer.__class__).kernels)


def _positions(layer: keras.Layer, tensor: keras.KerasTensor) -> int:
    """Returns the number of spatial positions of a feature map, (1, ...spatial, c) or (1, c, ...spatial)."""
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    return math.prod(tensor.shape[2:] if channels_first else tensor.shape[1:-1])


def _lifetimes(
    runs: Sequence[_Run], images: Sequence[keras.KerasTensor], outputs: Sequence[keras.KerasTensor]
) -> tuple[Lifetimes, list[int]]:
    """Returns lifetimes of the maps, and the bytes of each map. A view has the number of its input."""
    numbers = {id(tensor): number for number, tensor in enumerate(images)}
    sizes = [_bytes(tensor) for tensor in images]
    calls = []
    for run in runs:
        reads = kind_of(run.operation.__class__).reading(_activation(run.operation))
        sources = tuple(numbers[id(tensor)] for tensor in run.inputs)
        if reads is None:
            numbers[id(run.outputs[0])] = sources[0]
            continue
        results = tuple(range(len(sizes), len(sizes) + len(run.outputs)))
        numbers.update((id(tensor), number) for tensor, number in zip(run.outputs, results, strict=True))
        sizes.extend(map(_bytes, run.outputs))
        calls.append(Call(sources, results, reads))
    last = {numbers[id(tensor)] for tensor in outputs}
    first = range(len(images))
    return lifetimes(calls, inputs=first, outputs=last, kept=last, held=first), sizes


def _activation(layer: keras.Operation) -> str | None:
    """Returns the name of a layer's activation, if it has one."""
    function = getattr(layer, "activation", None)
    return None if function is None else getattr(function, "__name__", type(function).__name__)


def _bytes(tensor: keras.KerasTensor) -> int:
    digits = re.search(r"\d+", tensor.dtype)  # "bool" has none and takes a byte
    bits = int(digits.group()) if digits else 8
    return math.prod(tensor.shape) * bits // 8
