"""Cost of a network, computed from its description: layer backends that propagate shapes instead of building layers."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NoReturn, TypeAlias

from tfeff.models.build import build, build_detector
from tfeff.models.cost.activation_memory import Call, changes, lifetimes, peak_of, peak_size
from tfeff.models.cost.complexity import SMALL_KERNEL, Complexity, count
from tfeff.models.layers.kinds import KINDS, NOTHING, Kind, Reads, described
from tfeff.models.network import in_policy
from tfeff.models.rcnn import build_rcnn
from tfeff.networks.backbones.architecture import Architecture
from tfeff.networks.backbones.given import Given
from tfeff.networks.detectors.detector import Detector
from tfeff.networks.detectors.rcnn import RCNN
from tfeff.networks.layers import Layers

FLOAT_BYTES = 4
BATCH_NORMALIZATION = KINDS["batch_normalization"]


def estimate(architecture: Architecture | Detector | RCNN, *, num_classes: int = 1000, channels: int = 3) -> Complexity:
    """Computes the cost of a network without building it, as `complexity.count` of the built network in float32 does.

    Takes less than a millisecond for a backbone, and about ten for a detector. An R-CNN is built, without its initial
    weights; so is a network with a backbone that was given in Python.

    Args:
        architecture: description of the network, from `tfeff.models.architecture` or `tfeff.models.detector`.
        num_classes: outputs of the classifier, or classes of the detector.
        channels: channels of the images: 3 (RGB) or 1 (gray).

    Raises:
        UserError: invalid `num_classes` or `channels`, a `mean` or `std` that does not match the channels, or levels
            that the backbone lacks.
    """
    if isinstance(architecture, RCNN) or isinstance(architecture.backbone, Given):
        with in_policy("float32"):
            return _counted(architecture, num_classes, channels)
    if isinstance(architecture, Detector):
        graph = GraphTracer()
        outputs = architecture.define(graph, num_classes=num_classes, channels=channels).output
        names = sorted(outputs)  # the order in which Keras flattens them
        used = [name for name in names if name not in architecture.training_outputs]
        parts = [graph.total(*(outputs[name] for name in each)) for each in (used, names)]
        return parts[0].trained_as(parts[1])
    tracer = CostTracer()
    architecture.define(tracer, num_classes=num_classes, channels=channels)
    return tracer.total()


def _counted(described: Architecture | Detector | RCNN, num_classes: int, channels: int) -> Complexity:
    """Returns the cost of the built network."""
    backbone = dataclasses.replace(described.backbone, weights=None)
    if isinstance(described, Architecture):
        return count(build(backbone, num_classes=num_classes, channels=channels))
    described = dataclasses.replace(described, backbone=backbone)
    if isinstance(described, RCNN):
        network = build_rcnn(described, num_classes=num_classes, channels=channels)
    else:
        network = build_detector(described, num_classes=num_classes, channels=channels)
    return count(network, regions=network.regions)


class TracedMap:
    """Shape of a feature map, such as (height, width, channels) or (channels,), and its number."""

    __slots__ = ("number", "shape")

    def __init__(self, shape: tuple[int, ...], number: int) -> None:
        self.shape = shape
        self.number = number


TracedCall: TypeAlias = tuple[tuple[int, ...], Reads | None, int]
"""A call of a layer; the i-th call computes map i. The maps that it reads, where 0 is the input of the network or
segment; what its gradient reads, or None for a view of its input; the number of the first call of the layer."""


@dataclass
class _Counts:
    """Sums over layers: the fields of `Complexity` that are."""

    params: int = 0
    trainable_params: int = 0
    macs: int = 0
    kernel_params: int = 0
    folded_params: int = 0
    copied_params: int = 0
    small_copied_params: int = 0
    kernel_calls: int = 0
    kernel_bytes: int = 0

    def add(self, other: "_Counts", times: int = 1) -> None:
        self.params += times * other.params
        self.trainable_params += times * other.trainable_params
        self.macs += times * other.macs
        self.kernel_params += times * other.kernel_params
        self.folded_params += times * other.folded_params
        self.copied_params += times * other.copied_params
        self.small_copied_params += times * other.small_copied_params
        self.kernel_calls += times * other.kernel_calls
        self.kernel_bytes += times * other.kernel_bytes


class CostTracer(Layers):
    """Cost of the layers that are applied to its maps, for a chain of blocks with one output.

    The network is divided into segments where a single map passes from one to the next: before a stage and after each
    of its blocks. Each segment numbers its maps from 0, its input; call i computes map i + 1. The second block of a
    stage is counted once and multiplied by the number of blocks after the first.
    """

    def __init__(self) -> None:
        self._counts = _Counts()
        self._peak_bytes = self._training_peak_bytes = 0
        self._kept_bytes = 0  # by all segments before the current one
        self._images_bytes = 0  # held throughout training; the first segment counts them itself
        self._begins_kept = False  # whether the previous segment keeps the input of the current one
        self._last: TracedMap
        self._start_segment()

    def _start_segment(self) -> None:
        self._segment_counts = _Counts()
        self._calls: list[TracedCall] = []
        self._reused: dict[int, int] = {}  # map -> elements of the kernel that computed it, if not for the first time
        self._sizes: list[int] = []

    def images(self, size: tuple[int, int], channels: int) -> TracedMap:
        """Returns the input of the first segment."""
        self._last = TracedMap((*size, channels), 0)
        self._sizes.append(FLOAT_BYTES * math.prod(size) * channels)
        return self._last

    def regions(self, number: int, *, name: str) -> TracedMap:
        """Counts the boxes like an output."""
        return self._call((number, 4), NOTHING, (), len(self._calls) + 1)

    def given(self, images: Any, *, source: str, levels: Mapping[str, str]) -> NoReturn:
        """Raises NotImplementedError: `estimate` builds networks with such a backbone."""
        raise NotImplementedError("the cost of a given backbone is counted on the built network")

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        """Returns the method that counts a kind of layer.

        It is kept as an attribute, which Python finds first the next time.
        """
        found = described(kind)
        method = self.__dict__[kind] = partial(self._merged if found.merges else self._applied, found)
        return method

    def _applied(self, kind: Kind, x: Any, *, name: str, precise: bool = False, **settings: Any) -> Any:
        """Counts a layer on a map, or on each of several that share it: parameters once, multiply-adds for each."""
        if type(x) is list:
            layer = len(self._calls) + 1
            return [self._output(kind, each, settings, layer, first=each is x[0]) for each in x]
        return self._output(kind, x, settings, len(self._calls) + 1)

    def _output(
        self, kind: Kind, x: TracedMap, settings: Mapping[str, Any], layer: int, first: bool = True
    ) -> TracedMap:
        """Counts a call of a layer; with `first`, also its parameters."""
        before = x.shape
        shape = kind.shape(before, settings)
        reused = 0
        if kind.weights is not None:
            kernel, trainable, fixed = kind.weights(before, settings)
            reused = 0 if first else kernel
            counts = self._segment_counts
            if first:
                counts.params += kernel + trainable + fixed
                counts.kernel_params += kernel
                if kernel:
                    counts.folded_params += kernel + shape[-1]
                elif kind is not BATCH_NORMALIZATION:
                    counts.folded_params += trainable + fixed
                counts.trainable_params += kernel + trainable
            if kind is BATCH_NORMALIZATION:
                copied = self._reused.get(x.number, 0)
                counts.copied_params += copied
                counts.small_copied_params += copied if copied <= SMALL_KERNEL else 0
            if kernel:
                counts.macs += kernel * math.prod((shape if kind.macs == "output" else before)[:-1])
                counts.kernel_calls += 1
                counts.kernel_bytes += FLOAT_BYTES * math.prod(shape)
        reads = kind.reading(settings["activation"]) if "activation" in settings else kind.reads
        result = self._call(shape, reads, (x.number,), layer)
        if reused:
            self._reused[result.number] = reused
        return result

    def _merged(self, kind: Kind, *maps: Any, name: str, precise: bool = False, **settings: Any) -> TracedMap:
        """Counts a layer that merges maps."""
        if type(maps[0]) is list:  # RoIAlign: the maps of all levels, and the boxes
            maps = (*maps[0], *maps[1:])
        shapes = [each.shape for each in maps]
        if kind.weights is not None:
            _, trainable, fixed = kind.weights(shapes, settings)
            self._segment_counts.params += trainable + fixed
            self._segment_counts.trainable_params += trainable
            self._segment_counts.folded_params += trainable + fixed
        numbers = tuple([each.number for each in maps])
        return self._call(kind.shape(shapes, settings), kind.reads, numbers, len(self._calls) + 1)

    def blocks(self, number: int) -> Iterable[int]:
        """Yields the first block, and the second as a stand-in for all others."""
        self._end_segment()
        yield 0
        self._end_segment()
        if number > 1:
            yield 1
            self._end_segment(times=number - 1)

    def total(self, *outputs: TracedMap) -> Complexity:
        """Returns the total cost of a network whose output is the last map."""
        output_bytes = self._sizes[-1]
        self._end_segment(is_end=True)
        return Complexity(
            activation_bytes=self._kept_bytes + output_bytes,
            peak_bytes=self._peak_bytes,
            training_peak_bytes=self._training_peak_bytes,
            **vars(self._counts),
        )

    def _call(self, shape: tuple[int, ...], reads: Reads | None, inputs: tuple[int, ...], layer: int) -> TracedMap:
        """Records a call; `inputs` are numbers of maps of the current segment, `layer` is as in `TracedCall`."""
        calls = self._calls
        calls.append((inputs, reads, layer))
        self._sizes.append(FLOAT_BYTES * math.prod(shape))
        self._last = result = TracedMap(shape, len(calls))
        return result

    def _end_segment(self, times: int = 1, is_end: bool = False) -> None:
        """Counts the current segment, repeated `times`, and starts the next one at its output."""
        if not self._calls:
            return
        self._counts.add(self._segment_counts, times)
        sizes, calls = self._sizes, tuple(self._calls)
        while times:
            segment = _segment(calls, not self._images_bytes, self._begins_kept, is_end)
            identical = times if self._begins_kept == segment.ends_kept else 1
            kept = sum([sizes[number] for number in segment.kept])
            # Of identical segments, the last one has the most bytes kept before it.
            before = self._images_bytes + self._kept_bytes + (identical - 1) * kept
            self._peak_bytes = max(self._peak_bytes, peak_of(segment.forward, sizes))
            self._training_peak_bytes = max(self._training_peak_bytes, before + peak_of(segment.training, sizes))
            self._images_bytes = self._images_bytes or sizes[0]
            self._kept_bytes += identical * kept
            self._begins_kept = segment.ends_kept
            times -= identical
        self._start_segment()
        self._sizes.append(sizes[-1])
        self._last.number = 0


class GraphTracer(CostTracer):
    """Cost of a network of any structure, such as a detector. Layers that no output needs do not count.

    Nothing is counted once for several blocks, because a pyramid keeps maps across blocks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._costs: list[_Counts] = []  # of each call

    def blocks(self, number: int) -> Iterable[int]:
        """Returns all indices."""
        return range(number)

    def total(self, *outputs: TracedMap) -> Complexity:
        """Returns the total cost of a network with these outputs."""
        numbers = tuple(output.number for output in outputs)
        calls, sizes = _in_execution_order(self._calls, numbers), self._sizes
        counts = _Counts()
        for call in calls:
            for number in call.outputs:
                counts.add(self._costs[number - 1])
        maps = lifetimes(calls, inputs=(0,), outputs=numbers, kept=numbers, held=(0,))
        return Complexity(
            activation_bytes=sum(sizes[number] for number in maps.kept),
            peak_bytes=peak_size(maps.forward, sizes),
            training_peak_bytes=peak_size(maps.training, sizes),
            **vars(counts),
        )

    def _call(self, shape: tuple[int, ...], reads: Reads | None, inputs: tuple[int, ...], layer: int) -> TracedMap:
        self._costs.append(self._segment_counts)
        self._segment_counts = _Counts()
        return super()._call(shape, reads, inputs, layer)


@dataclass(frozen=True)
class _Segment:
    """Lifetimes of the maps of a segment: `activation_memory.changes` of those in `activation_memory.Lifetimes`.

    Attributes:
        kept: maps kept for the backward pass, without the output, which the next segment counts.
        ends_kept: whether the output is kept.
        forward: during a forward pass.
        training: during a forward and a backward pass.
    """

    kept: tuple[int, ...]
    ends_kept: bool
    forward: tuple[int, ...]
    training: tuple[int, ...]


@lru_cache(maxsize=1024)
def _segment(calls: tuple[TracedCall, ...], is_start: bool, begins_kept: bool, is_end: bool) -> _Segment:
    """Returns the lifetimes in a segment. They are cached, because networks repeat few different segments.

    Args:
        calls: the calls, in order of definition.
        is_start: whether this is the first segment of the network.
        begins_kept: whether the previous segment keeps the input.
        is_end: whether this is the last segment of the network.
    """
    end = len(calls)
    maps = lifetimes(
        _in_execution_order(calls, (end,)),
        inputs=(0,),
        outputs=(end,),
        kept=(*((0,) if begins_kept else ()), *((end,) if is_end else ())),
        held=(0,) if is_start else (),
    )
    kept, reads = list(maps.kept), calls[-1][1]
    if ends_kept := kept.count(end) > (reads.inside if reads else 0):  # maps inside the last layer have its number, too
        kept.remove(end)
    return _Segment(tuple(kept), ends_kept, changes(maps.forward), changes(maps.training))


def _in_execution_order(calls: Sequence[TracedCall], outputs: Iterable[int]) -> list[Call]:
    """Calls that the outputs need, in the order in which Keras runs them. Views are replaced by what they view.

    Keras runs layers by decreasing distance from the outputs, where all calls of a layer have the distance of the
    farthest. At equal distance, the order is that of a topological sort which starts at the outputs and visits all
    readers of a map before the layer that computes it.
    """
    visited: dict[int, None] = {}
    for output in outputs:
        path = [output]
        while path:
            unvisited = (source for source in calls[path[-1] - 1][0] if source and source not in visited)
            source = next(unvisited, None)
            if source is None:
                visited[path.pop()] = None
            else:
                path.append(source)
    distances: dict[int, int] = {}
    farthest: dict[int, int] = {}
    for number in reversed(visited):
        inputs, _, layer = calls[number - 1]
        distance = max(distances.get(number, 0), farthest.get(layer, 0))
        distances[number] = farthest[layer] = distance
        for source in inputs:
            distances[source] = max(distance + 1, distances.get(source, 0))
    distances.pop(0)
    ordered, viewed = [], dict[int, int]()
    for number in sorted(distances, key=distances.__getitem__, reverse=True):
        inputs, reads, _ = calls[number - 1]
        sources = tuple([viewed.get(source, source) for source in inputs])
        if reads is None:
            viewed[number] = sources[0]
        else:
            ordered.append(Call(sources, (number,), reads))
    return ordered
