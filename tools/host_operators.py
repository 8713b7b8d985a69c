"""Operators of a training step that a GPU build of TensorFlow computes on the host: `python tools/host_operators.py`.

    python tools/host_operators.py [--tasks=NAME,NAME,...]

Needs no GPU. TensorFlow's registry of kernels says, also on a machine without a GPU, which operators have a kernel for
it, and which arguments of these are in the memory of the host. An operator is listed if it depends on the values of
images, targets or weights, and has no such kernel or takes such a value from the memory of the host. Shapes and
counters of loops are on the host anyway, and are left out.
"""

import argparse
import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import command_line
import tensorflow as tf
from tensorflow.python.framework import kernels

from tfeff import config, training
from tfeff.config.tasks import TASKS
from tfeff.errors import UserError
from tfeff.reporting import tables

METADATA = frozenset(("Shape", "ShapeN", "Size", "Rank", "VariableShape", "TensorListLength", "TensorListElementShape"))
"""Their results depend on the shapes of their inputs alone."""
PASSED_ON = frozenset(("Identity", "IdentityN", "NoOp", "StopGradient", "PreventGradient", "Placeholder", "_Arg"))
"""Values stay where they are; these operators are removed, or have no cost of their own."""
LOOPS, BRANCHES = ("While", "StatelessWhile"), ("If", "StatelessIf")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
NAMES = tuple(name for name in TASKS if name != "rcnn")
"""R-CNN trains on stored features."""
BATCH = 2


@dataclasses.dataclass(frozen=True)
class Found:
    """An operator that runs on the host.

    Attributes:
        operator: its type.
        dtypes: types of its inputs.
        shape: shape of its first output.
        name: its name in the graph.
    """

    operator: str
    dtypes: tuple[str, ...]
    shape: str
    name: str


def hosted(graph: tf.Graph, given: Sequence[bool]) -> tuple[list[Found], list[bool]]:
    """Returns the operators of a function on the host, and which of its outputs depend on values of the device.

    Args:
        graph: the function's graph.
        given: for each input of the function, whether it depends on values of the device.
    """
    known: dict[tuple[str, int], bool] = {
        (tensor.op.name, 0): depends for tensor, depends in zip(graph.inputs, given, strict=True)
    }
    found: list[Found] = []

    def depends(tensor: tf.Tensor) -> bool:
        return known.get((tensor.op.name, tensor.value_index), False)

    for operation in graph.get_operations():
        inputs = [depends(each) for each in operation.inputs]
        kind = operation.type
        if kind in LOOPS:
            outputs, inside = _loop(graph, operation, inputs)
            found += inside
        elif kind in BRANCHES:
            bodies = [_function(graph, operation, key) for key in ("then_branch", "else_branch")]
            both = [hosted(body, inputs[1:]) for body in bodies]
            found += [each for inside, _ in both for each in inside]
            outputs = [inputs[0] or any(each) for each in zip(*(result for _, result in both), strict=True)]
        elif kind in CALLS:
            inside, outputs = hosted(_function(graph, operation, "f"), inputs)
            found += inside
        else:
            reads = kind in ("ReadVariableOp", "ResourceGather")
            outputs = [reads or (any(inputs) and kind not in METADATA)] * len(operation.outputs)
            if any(outputs) and kind not in PASSED_ON and _on_host(operation, inputs):
                dtypes = tuple(each.dtype.name for each in operation.inputs)
                shape = str(operation.outputs[0].shape) if operation.outputs else ""
                found.append(Found(kind, dtypes, shape, operation.name))
        for index, output in enumerate(outputs):
            known.setdefault((operation.name, index), output)
    return found, [depends(each) for each in graph.outputs]


def _loop(graph: tf.Graph, operation: tf.Operation, inputs: list[bool]) -> tuple[list[bool], list[Found]]:
    body, state = _function(graph, operation, "body"), list(inputs)
    while True:
        inside, after = hosted(body, state)
        merged = [a or b for a, b in zip(state, after, strict=True)]
        if merged == state:
            return state, inside + hosted(_function(graph, operation, "cond"), state)[0]
        state = merged


def _function(graph: tf.Graph, operation: tf.Operation, attribute: str) -> tf.Graph:
    """Returns the graph of a function that an operation calls."""
    return graph._get_function(operation.get_attr(attribute).name).graph


@functools.cache
def _gpu_kernels(operator: str) -> tuple[Any, ...]:
    registered = kernels.get_registered_kernels_for_op(operator).kernel
    return tuple(each for each in registered if each.device_type in ("GPU", "DEFAULT"))


def _on_host(operation: tf.Operation, depends: Sequence[bool]) -> bool:
    """Returns whether no kernel for GPUs fits, or the one that does takes values of the device from the host."""
    for kernel in _gpu_kernels(operation.type):
        fits = (
            operation.get_attr(each.name).as_datatype_enum in each.allowed_values.list.type
            for each in kernel.constraint
            if each.allowed_values.list.type
        )
        if all(fits):
            host = set(kernel.host_memory_arg)
            return any(
                needed and name in host for name, needed in zip(_argument_names(operation), depends, strict=True)
            )
    return True


def _argument_names(operation: tf.Operation) -> Iterator[str]:
    """Yields the name of the argument that each input belongs to."""
    for argument in operation.op_def.input_arg:
        count = 1
        if argument.number_attr:
            count = operation.get_attr(argument.number_attr)
        elif argument.type_list_attr:
            count = len(operation.get_attr(argument.type_list_attr))
        for _ in range(count):
            yield argument.name


def graphs(name: str) -> dict[str, tf.Graph]:
    """Returns the training step of a task with a small network, and its validation, by name."""
    model = config.architecture("resnet", width=8, stage_blocks=(1, 1, 1, 1), stem="7x7", resolution=128)
    settings = config.Experiment(task=TASKS[name], model=model, training=config.Training(batch_size=BATCH))
    plan = dataclasses.replace(training.Plan.of(settings), class_names=tuple("abc"))
    network = plan.build_network()
    step = plan.build_step(network, plan.build_optimizer(network))
    targets = plan.task.dummy_targets(BATCH, plan.num_classes)
    batch = {"image": tf.zeros((BATCH, *network.size, 3)), **targets}
    return {
        "training": step._train.get_concrete_function(batch, tf.constant(0, tf.int64)).graph,
        "validation": step._predict.get_concrete_function(batch).graph,
    }


def of_graph(graph: tf.Graph) -> list[Found]:
    """Returns the operators on the host, given inputs and variables on the device."""
    return hosted(graph, [each.dtype != tf.resource for each in graph.inputs])[0]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(NAMES), help="Default: %(default)s.")
    arguments, rows = parser.parse_args(), []
    if not _gpu_kernels("MatMul"):
        raise UserError("this build of TensorFlow has no kernels for GPUs; install the package tensorflow for Linux")
    for name in arguments.tasks.split(","):
        if name not in NAMES:
            raise UserError(f"--tasks={name}: must be one of {', '.join(NAMES)}")
        for work, graph in graphs(name).items():
            found = of_graph(graph)
            rows.append(
                {"task": name, "graph": work, "operator": "all", "inputs": "", "output": "", "count": len(found)}
            )
            counts = collections.Counter((each.operator, ", ".join(each.dtypes), each.shape) for each in found)
            for (operator, inputs, shape), count in counts.most_common():
                rows.append({"operator": operator, "inputs": inputs, "output": shape, "count": count})
    print(tables.text(rows))


if __name__ == "__main__":
    command_line.run(main)
