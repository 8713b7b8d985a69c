"""The graph of operations of a Keras model. Keras has no public way to apply other functions along it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras


def graph_of(model: Any) -> Any:
    """Returns the functional graph of a functional or sequential model; None for all else."""
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
        The outputs, in the structure of the model's; a list of one as the model returns it, by itself.
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
    return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs


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
    found = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
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
