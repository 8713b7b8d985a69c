"""Fits a network, layer by layer, to what the network that it inherits from computes on images.

Every layer is a ridge regression from what it reads in the new network, errors of earlier layers included, so that
errors do not accumulate. The last layer of a block is fitted to the block's output, minus its shortcut.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from tfeff.models.graph import Node
from tfeff.models.inheritance import sampling
from tfeff.models.inheritance.blocks import Segment
from tfeff.models.inheritance.encoding import ridge
from tfeff.models.inheritance.plan import Plan
from tfeff.models.inheritance.sampling import Moments
from tfeff.models.inheritance.spaces import LINEAR
from tfeff.models.inheritance.transfer import affine, array, normalization_after
from tfeff.models.layers.residual import LayerScale, StochasticDepth

L = keras.layers
_KEPT_BYTES = 512 * 2**20  # of feature maps of one segment
_VARIANCE = 1e-6  # least variance of an output that batch normalization is set to


@dataclass(frozen=True, eq=False)
class _Ending:
    """How the last linear layer of a block leads to its output.

    Attributes:
        scale: name of the LayerScale after it, if any.
        add: name of the addition after it, if any.
        before: name of the operation whose output, before the block's last activation, is fitted.
    """

    scale: str | None
    add: str | None
    before: str


def reconstruct(
    plan: Plan, images: np.ndarray, rng: np.random.Generator, progress: Callable[[int, int], None]
) -> dict[str, float]:
    """Fit all layers of the target that are not exact, in order.

    Args:
        plan: the correspondence; the target has the weights of `transfer.copy_weights`.
        images: float32 (n, height, width, channels), raw pixels.
        rng: chooses positions.
        progress: called with the number of segments done, and of all.

    Returns:
        Relative squared error of the output of each block, by name: |target - source|^2 divided by the variance of the
        source, both in the channels of the target.
    """
    chunks = sampling.chunks(images)
    source = target = [ops.convert_to_tensor(images[chunk]) for chunk in chunks]
    errors = dict[str, float]()
    for done, segment in enumerate(plan.target.segments):
        progress(done, len(plan.target.segments))
        origin = plan.origin(segment)
        blocks = range(origin.first, origin.last + 1)
        theirs = [] if origin.new else [plan.source.block(segment.stage, block) for block in blocks]
        linear = [] if origin.new else _linear(segment)
        parts = _Parts(theirs, segment, source, target)
        for name in linear:
            ends = name == linear[-1] and segment.stage in plan.target.blocks
            if name in plan.encodings and (name not in plan.exact or (ends and segment.output not in plan.exact)):
                _fit(plan, segment, theirs, name, _ending(segment, name) if ends else None, parts, len(images), rng)
        if segment is plan.target.segments[-1]:
            break
        source, target = parts.outputs()
        if segment.stage in plan.target.blocks:
            errors[segment.name] = _relative_error(source, target, plan.encodings[segment.output].encode)
    return errors


class _Parts:
    """Feature maps of a segment and of those of the source that it answers for, part by part of the images.

    They are kept if they fit into memory, and otherwise computed each time.

    Args:
        theirs: consecutive segments of the source; none for an additional block.
        segment: of the target.
        source, target: inputs, by part.
    """

    def __init__(self, theirs: list[Segment], segment: Segment, source: list[Any], target: list[Any]) -> None:
        self._theirs, self._segment, self._inputs = theirs, segment, list(zip(source, target, strict=True))
        nodes = [node for each in (*theirs, segment) for node in each.nodes.values()]
        images = sum(len(part) for part in target)
        size = sum(4 * images * math.prod(node.layer.output.shape[1:]) for node in nodes)
        self._kept: dict[int, tuple[dict[str, Any], dict[str, Any]]] | None = {} if size <= _KEPT_BYTES else None

    def until(self, name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The source's maps, and the target's before the operation of this name, by name; part by part."""
        for number, (source, target) in enumerate(self._inputs):
            known = None if self._kept is None else self._kept.get(number)
            if known is None:
                known = {} if not self._theirs else {self._theirs[0].reads: source}, {self._segment.reads: target}
                for segment in self._theirs:
                    sampling.run(segment.nodes, known[0])
                if self._kept is not None:
                    self._kept[number] = known
            sampling.run(self._segment.nodes, known[1], until=name)
            yield known

    def changed(self, name: str) -> None:
        """Forgets what a layer of the target has computed, and all that depends on it: its weights have changed."""
        stale = {name}
        for each, node in self._segment.nodes.items():
            if not stale.isdisjoint(node.inputs):
                stale.add(each)
        for _, ours in (self._kept or {}).values():
            for each in stale:
                ours.pop(each, None)

    def outputs(self) -> tuple[list[Any], list[Any]]:
        """The last maps of source and target, by part."""
        source, target = list[Any](), list[Any]()
        for (before, _), (theirs, ours) in zip(self._inputs, self.until(""), strict=True):
            source.append(theirs[self._theirs[-1].output] if self._theirs else before)
            target.append(ours[self._segment.output])
        return source, target


def _linear(segment: Segment) -> list[str]:
    """The linear layers of a segment, each after those whose outputs it reads; a branch's after its shortcut's."""
    depth = dict[str, int]()
    for name, node in segment.nodes.items():
        depth[name] = isinstance(node.layer, LINEAR) + max((depth.get(each, 0) for each in node.inputs), default=0)
    linear = [name for name, node in segment.nodes.items() if isinstance(node.layer, LINEAR)]
    return sorted(linear, key=depth.__getitem__)


def _ending(segment: Segment, name: str) -> _Ending | None:
    """How a linear layer leads to the output of its block; None if another linear layer follows it."""
    readers = {each: reader for reader, node in segment.nodes.items() for each in node.inputs}
    scale = add = None
    while name in readers:
        reader = readers[name]
        layer = segment.nodes[reader].layer
        if isinstance(layer, L.Activation) and reader == segment.output:
            break
        if isinstance(layer, LayerScale):
            scale = reader
        elif isinstance(layer, L.Add):
            add = reader
        elif not isinstance(layer, (L.BatchNormalization, StochasticDepth)):
            return None
        name = reader
    return _Ending(scale, add, name)


def _fit(
    plan: Plan,
    segment: Segment,
    theirs: list[Segment],
    name: str,
    ending: _Ending | None,
    parts: _Parts,
    images: int,
    rng: np.random.Generator,
) -> None:
    node, source_name = segment.nodes[name], plan.theirs(segment, name)
    makes = plan.encodings[name]
    kernel, bias = affine(plan.source.nodes, source_name)
    reads = plan.encodings[node.inputs[0]]
    prior = np.einsum("tCO,cC,Oo->tco", kernel, reads.decode, makes.encode, optimize=True).reshape(
        -1, len(makes.decode)
    )
    kernel = kernel.reshape(-1, kernel.shape[-1])
    source_layer = plan.source.nodes[source_name]
    moments = Moments()
    scale = None
    if ending is not None and ending.scale is not None:
        scale = array(segment.nodes[ending.scale].layer.gamma)
    for known, ours in parts.until(name):
        count = len(ours[node.inputs[0]])
        places = sampling.positions(sampling.output_size(node.layer), count, images, rng)
        x = sampling.inputs_at(ours[node.inputs[0]], node.layer, places)
        if ending is None:
            y = sampling.inputs_at(known[source_layer.inputs[0]], source_layer.layer, places) @ kernel + bias
            y = y @ makes.encode
        else:
            y = sampling.values_at(known[_before_activation(theirs[-1])], places) @ makes.encode
            if ending.add is not None:
                y = y - _others(segment, ending, name, ours, places)
            if scale is not None:
                y = y / scale
        moments.add(x, y.astype(np.float32))
    gram, mean = moments.covariance(), moments.mean()
    fitted = ridge(gram, moments.covariance(1), prior)
    offset = moments.mean(1) - mean @ fitted
    variance = np.einsum("io,io->o", fitted, gram @ fitted)
    _assign(segment.nodes, name, fitted, offset, mean, variance)
    parts.changed(name)


def _assign(
    nodes: dict[str, Node],
    name: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Set a linear layer, and the batch normalization after it, to x @ kernel + bias.

    The moving statistics are those of the rows of the regression, so batch normalization computes the same in training.

    Args:
        kernel: float64 (inputs, outputs).
        mean: of the inputs.
        variance: of the outputs.
    """
    layer = nodes[name].layer
    follower = normalization_after(nodes, name)
    if follower is not None:
        norm = nodes[follower].layer
        gamma = np.sqrt(np.maximum(variance, _VARIANCE))
        moving = array(norm.moving_variance)
        kernel = kernel * (np.sqrt(moving + norm.epsilon) / gamma)
        center = mean @ kernel
        for variable, value in (
            (norm.gamma, gamma),
            (norm.beta, bias + center * gamma / np.sqrt(moving + norm.epsilon)),
            (norm.moving_mean, center),
        ):
            variable.assign(value.astype(variable.dtype))
        bias = np.zeros_like(bias)
    layer.kernel.assign(kernel.reshape(layer.kernel.shape).astype(layer.kernel.dtype))
    if layer.use_bias:
        layer.bias.assign(bias.astype(layer.bias.dtype))


def _before_activation(segment: Segment) -> str:
    """The operation whose output the last activation of a block reads; without one, the block's output."""
    node = segment.nodes[segment.output]
    return node.inputs[0] if isinstance(node.layer, L.Activation) else segment.output


def _others(segment: Segment, ending: _Ending, name: str, ours: dict[str, Any], places: np.ndarray) -> np.ndarray:
    """The sum of what is added to the branch of a layer."""
    assert ending.add is not None
    branch = {name}
    for each, node in segment.nodes.items():
        if not branch.isdisjoint(node.inputs):
            branch.add(each)
    others = [each for each in segment.nodes[ending.add].inputs if each not in branch]
    for each in others:
        sampling.run({key: segment.nodes[key] for key in _ancestors(segment, each)}, ours)
    return np.sum([sampling.values_at(ours[each], places) for each in others], axis=0)


def _ancestors(segment: Segment, name: str) -> list[str]:
    """An operation and those it depends on, in the order of execution."""
    wanted = {name}
    for each in reversed(segment.nodes):
        if each in wanted:
            wanted.update(segment.nodes[each].inputs)
    return [each for each in segment.nodes if each in wanted]


def _relative_error(source: list[Any], target: list[Any], encode: np.ndarray) -> float:
    difference, moments = 0.0, Moments()
    for theirs, ours in zip(source, target, strict=True):
        wanted = ops.convert_to_numpy(theirs).reshape(-1, theirs.shape[-1]) @ encode.astype(np.float32)
        difference += float(np.square(wanted - ops.convert_to_numpy(ours).reshape(-1, ours.shape[-1])).mean())
        moments.add(wanted)
    return difference / len(source) / max(float(np.diag(moments.covariance()).mean()), 1e-12)
