"""Fit of a network, layer by layer, to what the network that it inherits from computes on images.

Every layer is a ridge regression from what it reads in the new network, errors of earlier layers included, so that
errors do not accumulate. The last layer of a block is fitted to the block's output, minus its shortcut. A layer that is
applied several times, as heads are on all levels of a pyramid, is one regression.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from tfeff.models.graph import Node
from tfeff.models.inheritance import sampling
from tfeff.models.inheritance.blocks import Segment, last_reads
from tfeff.models.inheritance.encoding import ridge
from tfeff.models.inheritance.maps import Maps, source_steps
from tfeff.models.inheritance.plan import Plan
from tfeff.models.inheritance.regression import Rows
from tfeff.models.inheritance.sampling import Moments
from tfeff.models.inheritance.spaces import LINEAR, channels_of, groups_of
from tfeff.models.inheritance.transfer import affine, array, linear, normalization_after, normalized, passing_on
from tfeff.models.layers.residual import LayerScale, StochasticDepth

L = keras.layers
_VARIANCE = 1e-6  # least variance of an output that batch normalization is set to


@dataclass(frozen=True, eq=False)
class _Ending:
    """How a linear layer leads to an output of its segment.

    Attributes:
        output: name of the output.
        scale: name of the LayerScale after it, if any.
        add: name of the addition after it, if any.
        activated: whether the output is that of an activation.
    """

    output: str
    scale: str | None
    add: str | None
    activated: bool


@dataclass(frozen=True, eq=False)
class _Goal:
    """What an application of a linear layer should compute, in the source.

    Attributes:
        of: name of an operation.
        layer: whether it is what the operation, a linear layer, computes before its activation, with the batch
            normalization that follows it, instead of its output.
        scale, offset: float64 (channels,), what a batch normalization that belongs to this application alone makes of
            it; None if there is none.
    """

    of: str
    layer: bool
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None


def reconstruct(
    plan: Plan,
    images: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> dict[str, tuple[float, float]]:
    """Fits all layers of the target that are not exact, in order.

    Args:
        plan: the correspondence; the target has the weights of `transfer.copy_weights`.
        images: raw pixels and, if the networks take them, regions, float32 (n, ...), by the name of the input.
        rng: chooses positions.
        progress: called with the number of segments done, and of all.

    Returns:
        Of the outputs of each segment, by name: the mean of |target - source|^2, and the variance of the source, both
        in the channels of the target.
    """
    segments, count = plan.target.segments, len(next(iter(images.values())))
    parts = [
        {name: ops.convert_to_tensor(values[chunk]) for name, values in images.items()}
        for chunk in sampling.chunks(images)
    ]
    steps = source_steps(plan)
    source, target, errors = parts, [dict(part) for part in parts], dict[str, tuple[float, float]]()
    for done, (segment, (nodes, needed), ours) in enumerate(zip(segments, steps, last_reads(segments), strict=True)):
        progress(done, len(segments))
        theirs = Maps(nodes, source)
        maps = Maps(segment.nodes, target)
        endings = _endings(segment)
        for names in _inexact(plan, segment, endings):
            _Fitting(plan, segment, names, endings, theirs, maps, count).run(rng)
        found = _Errors(plan, segment)
        source, target = _finished(theirs, needed, maps, ours, found)
        errors |= found.results()
    return errors


def _finished(
    theirs: Maps, needed: set[str], maps: Maps, ours: set[str], errors: "_Errors"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Adds to the errors of a segment, and returns the maps of both sides that are needed after it, of each part.

    Each part is computed once for both, because large maps are not kept.
    """
    source, target = list[dict[str, Any]](), list[dict[str, Any]]()
    for number in range(len(maps)):
        there, later = theirs.last(number, errors.wanted, needed)
        here, own = maps.last(number, errors.names, ours)
        errors.add(there, here)
        source.append(later)
        target.append(own)
    return source, target


def _inexact(plan: Plan, segment: Segment, endings: Mapping[str, _Ending]) -> list[list[str]]:
    """Returns the applications of each linear layer of a segment that is to be fitted, in order.

    Each layer comes after those whose outputs it reads; a branch's layers come after its shortcut's.
    """
    if plan.origin(segment).new and segment.is_residual:
        return []
    depth = _depth(segment)
    groups = {id(segment.nodes[name].layer): plan.target.applied[id(segment.nodes[name].layer)] for name in depth}
    fitted = [
        names
        for names in groups.values()
        if names[0] in plan.encodings
        and not plan.exact.issuperset([*names, *(endings[name].output for name in names if name in endings)])
    ]
    return sorted(fitted, key=lambda names: max(depth[name] for name in names))


def _depth(segment: Segment) -> dict[str, int]:
    """Returns, for each linear layer of a segment, the most linear layers on a path to its output."""
    depth = dict[str, int]()
    for name, node in segment.nodes.items():
        depth[name] = isinstance(node.layer, LINEAR) + max((depth.get(each, 0) for each in node.inputs), default=0)
    return {name: number for name, number in depth.items() if isinstance(segment.nodes[name].layer, LINEAR)}


def _endings(segment: Segment) -> dict[str, _Ending]:
    """Finds the linear layers that lead to the outputs of a segment; if several are added, the one fitted last."""
    depth, found = _depth(segment), dict[str, tuple[str, _Ending]]()
    for name in sorted(depth, key=depth.__getitem__):
        ending = _ending(segment, name)
        if ending is not None:
            found[ending.output] = name, ending
    return dict(found.values())


def _ending(segment: Segment, name: str) -> _Ending | None:
    """Returns how a linear layer leads to an output of its segment; None if other linear layers follow it."""
    scale = add = None
    while name not in segment.outputs:
        reader = next(reader for reader, node in segment.nodes.items() if name in node.inputs)
        layer = segment.nodes[reader].layer
        if isinstance(layer, L.Activation) and reader in segment.outputs:
            return _Ending(reader, scale, add, activated=True)
        if isinstance(layer, LayerScale):
            scale = reader
        elif isinstance(layer, L.Add):
            add = reader
        elif not isinstance(layer, (L.BatchNormalization, StochasticDepth)):
            return None
        name = reader
    return _Ending(name, scale, add, activated=False)


class _Fitting:
    """The regression of a linear layer.

    Args:
        plan: the correspondence.
        segment: the target's segment that holds the layer.
        names: applications of the layer.
        endings: what ends each layer of the segment, by name.
        theirs, maps: feature maps of source and target.
        images: number of images.
    """

    def __init__(
        self,
        plan: Plan,
        segment: Segment,
        names: list[str],
        endings: Mapping[str, _Ending],
        theirs: Maps,
        maps: Maps,
        images: int,
    ) -> None:
        self._plan, self._segment, self._names = plan, segment, names
        self._theirs, self._maps, self._images = theirs, maps, images
        self._node = segment.nodes[names[0]]
        self._makes, self._reads = plan.encodings[names[0]], plan.encodings[self._node.inputs[0]]
        self._shared = len(names) > 1 and normalization_after(segment.nodes, names[0]) is not None
        self._endings = [endings.get(name) for name in names]
        self._goals = [self._goal(name, ending) for name, ending in zip(names, self._endings, strict=True)]

    def _goal(self, name: str, ending: _Ending | None) -> _Goal:
        nodes, counterpart = self._plan.source.nodes, self._plan.counterparts.get(name)
        if ending is None and counterpart is not None:
            goal = _Goal(counterpart, layer=True)
        else:
            value = self._plan.values[name if ending is None else ending.output]
            layer = nodes[value].layer
            activated = ending is not None and ending.activated
            if activated and isinstance(layer, L.Activation):
                goal = _Goal(nodes[value].inputs[0], layer=False)
            elif isinstance(layer, LINEAR) and isinstance(self._node.layer, LINEAR) and _activation(self._node.layer):
                goal = _Goal(value, layer=True)
            else:
                goal = _Goal(value, layer=False)
        if not self._shared:
            return goal
        norm = normalization_after(nodes, goal.of) if goal.layer else goal.of
        if norm is None or not isinstance(nodes[norm].layer, L.BatchNormalization):
            return goal
        (before,) = nodes[norm].inputs
        if len(self._plan.source.applied[id(nodes[before].layer)]) == 1:
            return goal
        return _Goal(before, False, *normalized(nodes[norm].layer))

    def run(self, rng: np.random.Generator) -> None:
        """Sets the layer, and the batch normalization after it."""
        segment, names, layer = self._segment, self._names, self._node.layer
        prior, groups = self._prior(), groups_of(layer)
        applied = [Moments() for _ in names if self._shared]
        sets = [Rows(len(prior) // groups) for _ in range(groups)]
        for number in range(len(self._maps)):
            known = self._theirs.part(number, self._wanted())
            ours = self._maps.part(number, [each for name in names for each in self._needed(name)])
            for place, name in enumerate(names):
                x = ours[segment.nodes[name].inputs[0]]
                places = sampling.positions(sampling.output_size(segment.nodes[name], x), len(x), self._images, rng)
                read, y = sampling.inputs_at(x, layer, places), self._values(place, known, ours, places)
                if self._shared:
                    applied[place].add(read, y)
                else:
                    inputs = np.split(read.reshape(len(read), -1, x.shape[-1]), groups, axis=-1)
                    for rows, part, values in zip(sets, inputs, np.split(y, groups, axis=-1), strict=True):
                        rows.add(part.reshape(len(part), -1), values)
        if self._shared:
            self._set_shared(applied, prior)
        else:
            priors = [prior] if groups == 1 else self._of_groups(prior, groups)
            solved = [rows.solve(each, rng) for rows, each in zip(sets, priors, strict=True)]
            _assign(segment.nodes, names[0], *(np.concatenate(each, axis=-1) for each in zip(*solved, strict=True)))
        self._maps.changed(names)

    def _of_groups(self, kernel: np.ndarray, groups: int) -> list[np.ndarray]:
        """Returns the parts, (inputs, outputs), of a kernel (inputs, outputs) between the channels of each group."""
        channels = len(self._reads.decode)
        rows = np.split(kernel.reshape(-1, channels, kernel.shape[-1]), groups, axis=1)
        parts = [np.split(part, groups, axis=-1)[group] for group, part in enumerate(rows)]
        return [part.reshape(-1, part.shape[-1]) for part in parts]

    def _values(self, place: int, known: dict[str, Any], ours: dict[str, Any], positions: np.ndarray) -> np.ndarray:
        """Returns what an application should compute at some positions, float32 (n, outputs)."""
        ending, segment = self._endings[place], self._segment
        y = self._computed(self._goals[place], known, positions) @ self._makes.encode
        if ending is not None and ending.add is not None:
            others = self._others(self._names[place])
            y = y - np.sum([sampling.values_at(ours[each], positions) for each in others], axis=0)
        if ending is not None and ending.scale is not None:
            gamma = array(segment.nodes[ending.scale].layer.gamma)  # 0 in channels that the branch does not change
            y = np.divide(y, gamma, out=np.zeros_like(y), where=gamma != 0)
        found: np.ndarray = y.astype(np.float32)
        return found

    def _prior(self) -> np.ndarray:
        """Returns what the kernel is drawn to: that of the source in the channels that both sides have."""
        plan, reads, makes = self._plan, self._reads, self._makes
        counterpart = plan.counterparts.get(self._names[0])
        if counterpart is None:
            shape = self._node.layer.kernel.shape
            return passing_on(shape, reads, makes).reshape(-1, shape[-1])
        nodes = plan.source.nodes
        if self._shared:
            kernel, _ = linear(nodes[counterpart].layer, channels_of(nodes, nodes[counterpart].inputs[0]))
        else:
            kernel, _ = affine(nodes, counterpart)
        if kernel.shape[1:] != (len(reads.encode), len(makes.encode)):
            return np.zeros((len(kernel) * len(reads.decode), len(makes.decode)))
        prior = np.einsum("tCO,cC,Oo->tco", kernel, reads.decode, makes.encode, optimize=True)
        return prior.reshape(-1, len(makes.decode))

    def _wanted(self) -> list[str]:
        """Returns names of the source's maps that the goals are computed from."""
        nodes = self._plan.source.nodes
        return [nodes[goal.of].inputs[0] if goal.layer else goal.of for goal in self._goals]

    def _computed(self, goal: _Goal, known: dict[str, Any], places: np.ndarray) -> np.ndarray:
        """Returns the goal at some positions, float64 (n, channels of the source)."""
        if not goal.layer:
            return sampling.values_at(known[goal.of], places)
        nodes = self._plan.source.nodes
        node = nodes[goal.of]
        kernel, bias = affine(nodes, goal.of)
        return sampling.inputs_at(known[node.inputs[0]], node.layer, places) @ kernel.reshape(-1, len(bias)) + bias

    def _needed(self, name: str) -> list[str]:
        """Returns names of the maps that the regression of an application reads."""
        return [self._segment.nodes[name].inputs[0], *self._others(name)]

    def _others(self, name: str) -> list[str]:
        """Returns names of what is added to the branch of an application."""
        ending = self._endings[self._names.index(name)]
        if ending is None or ending.add is None:
            return []
        branch = {name}
        for each, node in self._segment.nodes.items():
            if not branch.isdisjoint(node.inputs):
                branch.add(each)
        return [each for each in self._segment.nodes[ending.add].inputs if each not in branch]

    def _set_shared(self, groups: list[Moments], prior: np.ndarray) -> None:
        """Sets one kernel for all applications, each of which has its own batch normalization."""
        weights = [1 / max(float(each.variance(1).mean()), 1e-12) for each in groups]
        gram, cross = (  # one after the other: with many channels, each is large
            sum((w * each.covariance(which) for w, each in zip(weights, groups, strict=True)), np.zeros(()))
            for which in (0, 1)
        )
        fitted = ridge(gram, cross, prior)
        layer = self._node.layer
        layer.kernel.assign(fitted.reshape(layer.kernel.shape).astype(layer.kernel.dtype))
        bias = np.zeros(fitted.shape[1])
        if layer.use_bias:
            layer.bias.assign(bias.astype(layer.bias.dtype))
        for name, goal, moments in zip(self._names, self._goals, groups, strict=True):
            norm = self._segment.nodes[str(normalization_after(self._segment.nodes, name))].layer
            variance = np.einsum("io,io->o", fitted, moments.covariance() @ fitted)
            slope = np.einsum("io,io->o", fitted, moments.covariance(1)) / np.maximum(variance, _VARIANCE)
            scale, offset = np.ones(len(slope)), np.zeros(len(slope))
            if goal.scale is not None and goal.offset is not None:
                scale, offset = goal.scale[self._makes.index], goal.offset[self._makes.index]
            values = {
                "gamma": scale * slope * np.sqrt(variance + norm.epsilon),
                "beta": scale * moments.mean(1) + offset,
                "moving_mean": moments.mean() @ fitted,
                "moving_variance": variance,
            }
            for key, value in values.items():
                getattr(norm, key).assign(value.astype(np.float32))


def _activation(layer: keras.Layer) -> bool:
    """Returns whether a linear layer has an activation of its own."""
    return layer.activation not in (None, keras.activations.linear)


def _assign(
    nodes: Mapping[str, Node],
    name: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Sets a linear layer, and the batch normalization after it, to x @ kernel + bias.

    The moving statistics are those of the rows of the regression, so batch normalization computes the same in training.

    Args:
        kernel: float64 (inputs, outputs); of a convolution in groups, (inputs of a group, outputs).
        mean: float64 (outputs,), mean of the outputs without the bias.
        variance: float64 (outputs,), variance of the outputs.
    """
    layer = nodes[name].layer
    follower = normalization_after(nodes, name)
    if follower is not None:
        norm = nodes[follower].layer
        gamma = np.sqrt(np.maximum(variance, _VARIANCE))
        moving = array(norm.moving_variance)
        factor = np.sqrt(moving + norm.epsilon) / gamma
        kernel, center = kernel * factor, mean * factor
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


class _Errors:
    """Squared errors and variances of the outputs of a segment that have a value in the source.

    Attributes:
        names: these outputs.
        wanted: what they correspond to in the source.
    """

    def __init__(self, plan: Plan, segment: Segment) -> None:
        self.names = [name for name in segment.outputs if name in plan.values]
        self.wanted = [plan.values[name] for name in self.names]
        self._encodings = [plan.encodings[name].encode.astype(np.float32) for name in self.names]
        self._squares, self._sizes = [0.0] * len(self.names), [0] * len(self.names)
        self._moments = [Moments() for _ in self.names]

    def add(self, known: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        """Adds the maps of a part, of the source and of the target."""
        for index, (name, value, encode) in enumerate(zip(self.names, self.wanted, self._encodings, strict=True)):
            there, here = (ops.convert_to_numpy(each) for each in (known[value], ours[name]))
            wanted = there.reshape(-1, len(encode)) @ encode
            self._squares[index] += float(np.square(wanted - here.reshape(wanted.shape)).sum(dtype=np.float64))
            self._sizes[index] += wanted.size
            self._moments[index].add(wanted)

    def results(self) -> dict[str, tuple[float, float]]:
        """Returns the mean squared error and the variance of each output, by name."""
        rows = zip(self.names, self._squares, self._sizes, self._moments, strict=True)
        return {name: (square / size, float(each.variance().mean())) for name, square, size, each in rows}
