"""The graph of operations of a Keras model. Keras has no public way to apply other functions along it."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras


def graph_of(model: Any) -> Any:
    """The functional graph of a functional or sequential model; None for all else."""
    if isinstance(model, keras.Sequential):
        model = model._functional
    return model if isinstance(model, keras.Model) and hasattr(model, "_run_through_graph") else None


def walk(graph: Any, inputs: Sequence[Any], call: Callable[..., Any], training: bool | None = None) -> Any:
    """Applies `call(operation, *args, **kwargs)` in the order of execution, also inside nested models.

    Args:
        graph: see `graph_of`.
        inputs: a tensor, of any kind, for each input.
        call: returns the outputs of the operation.
        training: argument of the operations that have one; None: as the model calls them.

    Returns:
        The outputs, in the structure of the model's; a single one by itself.
    """

    def visited(operation: keras.Operation) -> Callable[..., Any]:
        def visit(*args: Any, **kwargs: Any) -> Any:
            inner = graph_of(operation)
            if inner is not None:
                tensors = [each for each in keras.tree.flatten(args) if hasattr(each, "shape")]
                return walk(inner, tensors, call, kwargs.get("training", training))
            if training is not None and "training" in inspect.signature(operation.call).parameters:
                kwargs.setdefault("training", training)
            return call(operation, *args, **kwargs)

        return visit

    outputs = graph._run_through_graph(list(inputs), operation_fn=visited)
    leaves = keras.tree.flatten(outputs)
    return leaves[0] if len(leaves) == 1 else outputs


@dataclass(frozen=True, eq=False)
class Node:
    """An operation of a functional model that is applied once.

    Attributes:
        layer: the operation.
        inputs: names of the operations whose outputs it reads.
    """

    layer: keras.Operation
    inputs: tuple[str, ...]


def nodes_of(model: keras.Model) -> dict[str, Node]:
    """The operations of a functional model by name, in the order of execution.

    Each has one output and is applied once, as in all backbones that this package describes.
    """
    nodes = dict[str, Node]()
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            inputs = tuple([tensor._keras_history.operation.name for tensor in node.input_tensors])
            nodes[node.operation.name] = Node(node.operation, () if node.is_input else inputs)
    return nodes
