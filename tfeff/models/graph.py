"""The graph of operations of a Keras model. Keras has no public way to apply other functions along it."""

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras


def graph_of(model: Any) -> Any:
    """Returns the functional graph of a functional or sequential model; None for all else."""
    if isinstance(model, keras.Sequential):
        model = model._functional
    return model if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth") else None


def walk(graph: Any, inputs: Sequence[Any], call: Callable[..., Any], training: bool | None = None) -> Any:
    """Applies `call(operation, *args, **kwargs)` in the order of execution, also inside nested models.

    Each output is dropped after its last reader, while Keras keeps all of them to the end.

    Args:
        graph: see `graph_of`.
        inputs: a tensor, of any kind, for each input.
        call: returns the outputs of the operation.
        training: argument of the operations that have one; None: as the model calls them.

    Returns:
        The outputs, in the structure of the model's; a list of one as the model returns it, by itself.
    """

    def visit(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        inner = graph_of(operation)
        if inner is not None:
            tensors = [each for each in keras.tree.flatten(args) if hasattr(each, "shape")]
            return walk(inner, tensors, call, kwargs.get("training", training))
        if training is not None and "training" in inspect.signature(operation.call).parameters:
            kwargs.setdefault("training", training)
        return call(operation, *args, **kwargs)

    nodes = [node for node in _ordered(graph) if not node.is_input]
    readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    readers.update(map(id, graph.outputs))
    known = dict(zip(map(id, graph.inputs), inputs, strict=True))
    for node in nodes:
        args, kwargs = node.arguments.fill_in(known)
        found = keras.tree.flatten(visit(node.operation, *args, **kwargs))
        known.update(zip(map(id, node.outputs), found, strict=True))
        for tensor in node.input_tensors:
            readers[id(tensor)] -= 1
            if not readers[id(tensor)]:
                del known[id(tensor)]
    outputs = keras.tree.map_structure(lambda tensor: known[id(tensor)], graph._outputs_struct)
    return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs


def _ordered(graph: Any) -> list[Any]:
    """Returns Keras' nodes of a functional model in the order of execution."""
    return [node for depth in sorted(graph._nodes_by_depth, reverse=True) for node in graph._nodes_by_depth[depth]]


@dataclass(frozen=True, eq=False)
class Node:
    """An application of a layer in a functional model.

    Attributes:
        layer: the layer or another operation.
        inputs: names of the applications whose outputs it reads, in the order of its arguments.
        shape: shape of its first output, with the batch dimension.
        node: Keras' own node.
    """

    layer: keras.Operation
    inputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    node: Any

    def __call__(self, known: Mapping[str, Any]) -> Any:
        """Computes the output of the operation at inference.

        Args:
            known: the outputs of its inputs, by name.
        """
        tensors = {id(tensor): known[name] for tensor, name in zip(self.node.input_tensors, self.inputs, strict=True)}
        args, kwargs = self.node.arguments.fill_in(tensors)
        return self.layer(*args, **{**kwargs, "training": False})


def nodes_of(model: keras.Model) -> dict[str, Node]:
    """Returns the applications of the layers of a functional model by name, in the order of execution.

    Each has one output. The first application of a layer has its name; further ones, such as those of a head on other
    pyramid levels, are called `<name>#2` and so on.
    """
    found = _ordered(model)
    names, applied = dict[int, str](), dict[int, list[Any]]()
    for node in found:
        applied.setdefault(id(node.operation), []).append(node)
    for group in applied.values():
        operation = group[0].operation
        for number, node in enumerate(sorted(group, key=operation._inbound_nodes.index), 1):
            names[id(node)] = operation.name if number == 1 else f"{operation.name}#{number}"
    nodes = dict[str, Node]()
    for node in found:
        origins = [] if node.is_input else [tensor._keras_history for tensor in node.input_tensors]
        inputs = tuple([names[id(each.operation._inbound_nodes[each.node_index])] for each in origins])
        nodes[names[id(node)]] = Node(node.operation, inputs, tuple(node.outputs[0].shape), node)
    return nodes
