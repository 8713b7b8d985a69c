"""Layer backends that propagate shapes and count cost instead of building layers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import keras

from tfeff.models.cost.activation_memory import Call, Interval, Reads, lifetimes, peak_size, reads
from tfeff.models.cost.complexity import Complexity
from tfeff.models.layers.backend import Layers
from tfeff.models.layers.fusion import WeightedFusion
from tfeff.models.layers.nearest_upsampling import NearestUpsampling
from tfeff.models.layers.preprocessing import check_standard_deviations
from tfeff.models.layers.roi_align import RoIAlign
from tfeff.models.layers.roi_pool import RoIMaxPool
from tfeff.models.layers.stochastic_depth import StochasticDepth

L = keras.layers

FLOAT_BYTES = 4


class TracedMap:
    """Shape of a feature map, such as (height, width, channels) or (channels,), and its number."""

    __slots__ = ("number", "shape")

    def __init__(self, shape: tuple[int, ...], number: int) -> None:
        self.shape = shape
        self.number = number


class TracedCall(NamedTuple):
    """A call of a layer. The i-th call computes map i.

    Attributes:
        inputs: maps that the layer reads; 0 is the input of the network or segment.
        reads: maps that its gradient reads; None for a view of its input.
        layer: number of the first call of the layer.
    """

    inputs: tuple[int, ...]
    reads: Reads | None
    layer: int


class CostTracer(Layers):
    """Counts the cost of the layers that are applied to its maps, for a chain of blocks with one output.

    The network is divided into segments where a single map passes from one to the next: before a stage and after each
    of its blocks. Each segment numbers its maps from 0, its input; call i computes map i + 1. The second block of a
    stage is counted once and multiplied by the number of blocks after the first.
    """

    def __init__(self) -> None:
        self._params = self._trainable_params = self._macs = 0
        self._peak_bytes = self._training_peak_bytes = 0
        self._kept_bytes = 0  # by all segments before the current one
        self._images_bytes = 0  # held throughout training; the first segment counts them itself
        self._begins_kept = False  # whether the previous segment keeps the input of the current one
        self._last: TracedMap
        self._start_segment()

    def _start_segment(self) -> None:
        self._segment_params = self._segment_trainable_params = self._segment_macs = 0
        self._calls: list[TracedCall] = []
        self._sizes: list[int] = []

    def images(self, size: tuple[int, int], channels: int) -> TracedMap:
        """The input of the first segment."""
        self._last = TracedMap((*size, channels), 0)
        self._sizes.append(FLOAT_BYTES * math.prod(size) * channels)
        return self._last

    def standardization(self, x: TracedMap, mean: Sequence[float], std: Sequence[float]) -> TracedMap:
        """Counts the output and validates std."""
        check_standard_deviations(std)
        return self._call(x.shape, reads(L.Rescaling), x.number)

    def convolution(
        self,
        x: Any,
        filters: int,
        kernel_size: int,
        *,
        name: str,
        initializer: str | dict,
        strides: int = 1,
        padding: str = "same",
        bias: bool = True,
        bias_value: float = 0.0,
        activation: str | None = None,
    ) -> Any:
        """Counts kernel and bias, and one multiply-add per output position and element of the kernel."""
        margin = kernel_size - 1 if padding == "valid" else 0
        inputs = (x[0] if isinstance(x, list) else x).shape[-1]
        kernel = kernel_size * kernel_size * inputs * filters
        self._add_params(kernel + filters if bias else kernel)
        return self._convolved(x, filters, kernel, strides, margin, reads(L.Conv2D, activation))

    def depthwise_convolution(
        self, x: Any, kernel_size: int, *, name: str, initializer: str | dict, strides: int = 1, bias: bool = True
    ) -> Any:
        """Counts one kernel per channel, and the bias."""
        channels = (x[0] if isinstance(x, list) else x).shape[-1]
        kernel = kernel_size * kernel_size * channels
        self._add_params(kernel + channels if bias else kernel)
        return self._convolved(x, channels, kernel, strides, 0, reads(L.DepthwiseConv2D))

    def batch_normalization(
        self, x: TracedMap, *, name: str, momentum: float, epsilon: float, synchronized: bool, zero: bool = False
    ) -> TracedMap:
        """Counts scale and shift, and the two moving statistics, which are not trainable."""
        channels = x.shape[-1]
        self._add_params(2 * channels, fixed=2 * channels)
        return self._call(x.shape, reads(L.BatchNormalization), x.number)

    def activation(self, x: TracedMap, function: str, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(x.shape, reads(L.Activation, function), x.number)

    def add(self, *maps: TracedMap, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(maps[0].shape, reads(L.Add), *(feature_map.number for feature_map in maps))

    def weighted_fusion(self, *maps: TracedMap, method: str, per_channel: bool, name: str) -> TracedMap:
        """Counts the weights and the output."""
        self._add_params(len(maps) * (maps[0].shape[-1] if per_channel else 1))
        return self._call(maps[0].shape, reads(WeightedFusion), *(feature_map.number for feature_map in maps))

    def scale(self, x: TracedMap, gate: TracedMap, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(x.shape, reads(L.Multiply), x.number, gate.number)

    def zero_padding(self, x: TracedMap, pixels: int, *, name: str) -> TracedMap:
        """Counts the output."""
        height, width, channels = x.shape
        return self._call((height + 2 * pixels, width + 2 * pixels, channels), reads(L.ZeroPadding2D), x.number)

    def max_pooling(self, x: TracedMap, size: int, *, name: str, strides: int, padding: str = "valid") -> TracedMap:
        """Counts the output."""
        height, width, channels = x.shape
        margin = size - 1 if padding == "valid" else 0
        shape = (-((margin - height) // strides), -((margin - width) // strides), channels)
        return self._call(shape, reads(L.MaxPooling2D), x.number)

    def subsampling(self, x: TracedMap, strides: int, *, name: str) -> TracedMap:
        """Counts the output."""
        height, width, channels = x.shape
        return self._call((-(-height // strides), -(-width // strides), channels), reads(L.AveragePooling2D), x.number)

    def global_pooling(self, x: TracedMap, *, name: str, keepdims: bool = False) -> TracedMap:
        """Counts the output."""
        shape = (1, 1, x.shape[-1]) if keepdims else x.shape[-1:]
        return self._call(shape, reads(L.GlobalAveragePooling2D), x.number)

    def global_max_pooling(self, x: TracedMap, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call((1, 1, x.shape[-1]), reads(L.GlobalMaxPooling2D), x.number)

    def upsampling(self, x: TracedMap, factor: int, size: tuple[int, int], *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call((*size, x.shape[-1]), reads(NearestUpsampling), x.number)

    def stochastic_depth(self, x: TracedMap, survival_probability: float, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(x.shape, reads(StochasticDepth), x.number)

    def dropout(self, x: TracedMap, rate: float, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(x.shape, reads(L.Dropout), x.number)

    def dense(
        self,
        x: TracedMap,
        units: int,
        *,
        name: str,
        activation: str | None = None,
        initializer: str | dict = "glorot_uniform",
        precise: bool = True,
    ) -> TracedMap:
        """Counts kernel and bias, and one multiply-add per row and element of the kernel."""
        kernel = x.shape[-1] * units
        self._add_params(kernel + units)
        self._segment_macs += math.prod(x.shape[:-1]) * kernel
        return self._call((*x.shape[:-1], units), reads(L.Dense, activation), x.number)

    def regions(self, number: int, *, name: str) -> TracedMap:
        """Counts the boxes like an output."""
        return self._call((number, 4), Reads(False, False))

    def roi_align(
        self,
        maps: Sequence[TracedMap],
        boxes: TracedMap,
        *,
        levels: Sequence[int],
        size: int,
        sampling: int,
        aligned: bool,
        name: str,
    ) -> TracedMap:
        """Counts the output."""
        shape = (boxes.shape[0], size, size, maps[0].shape[-1])
        return self._call(shape, reads(RoIAlign), *(each.number for each in maps), boxes.number)

    def roi_max_pooling(self, x: TracedMap, boxes: TracedMap, *, level: int, size: int, name: str) -> TracedMap:
        """Counts the output."""
        shape = (boxes.shape[0], size, size, x.shape[-1])
        return self._call(shape, reads(RoIMaxPool), x.number, boxes.number)

    def flattened(self, x: TracedMap, *, name: str) -> TracedMap:
        """Counts nothing: a view."""
        return self._call((x.shape[0], math.prod(x.shape[1:])), None, x.number)

    def predictions(self, maps: Sequence[TracedMap], values: int, *, name: str) -> TracedMap:
        """Counts the concatenation of views."""
        rows = [
            self._call((math.prod(feature_map.shape) // values, values), None, feature_map.number)
            for feature_map in maps
        ]
        shape = (sum(row.shape[0] for row in rows), values)
        return self._call(shape, reads(L.Concatenate), *(row.number for row in rows))

    def blocks(self, number: int) -> Iterable[int]:
        """The first block, and the second as a stand-in for all others."""
        self._end_segment()
        yield 0
        self._end_segment()
        if number > 1:
            yield 1
            self._end_segment(times=number - 1)

    def total(self, *outputs: TracedMap) -> Complexity:
        """Total cost of a network whose output is the last map."""
        output_bytes = self._sizes[-1]
        self._end_segment(is_end=True)
        return Complexity(
            params=self._params,
            trainable_params=self._trainable_params,
            macs=self._macs,
            activation_bytes=self._kept_bytes + output_bytes,
            peak_bytes=self._peak_bytes,
            training_peak_bytes=self._training_peak_bytes,
        )

    def _add_params(self, trainable: int, fixed: int = 0) -> None:
        self._segment_params += trainable + fixed
        self._segment_trainable_params += trainable

    def _convolved(self, x: Any, filters: int, kernel: int, strides: int, margin: int, read: Reads) -> Any:
        """Applies a convolution to a map or, as one layer, to each of a list.

        Args:
            x: the map or maps.
            filters: channels of the result.
            kernel: multiply-adds per output position.
            strides: of the convolution.
            margin: pixels that a side loses before the stride applies.
            read: what the gradient reads.
        """
        layer, results = len(self._calls) + 1, []
        for feature_map in x if isinstance(x, list) else [x]:
            height, width, _ = feature_map.shape
            height, width = -((margin - height) // strides), -((margin - width) // strides)
            self._segment_macs += height * width * kernel
            results.append(self._call((height, width, filters), read, feature_map.number, layer=layer))
        return results if isinstance(x, list) else results[0]

    def _call(self, shape: tuple[int, ...], read: Reads | None, *inputs: int, layer: int | None = None) -> TracedMap:
        """Record a call; `inputs` are numbers of maps of the current segment."""
        self._calls.append(TracedCall(inputs, read, layer or len(self._calls) + 1))
        self._sizes.append(FLOAT_BYTES * math.prod(shape))
        self._last = TracedMap(shape, len(self._calls))
        return self._last

    def _end_segment(self, times: int = 1, is_end: bool = False) -> None:
        """Count the current segment, repeated `times`, and start the next one at its output."""
        if not self._calls:
            return
        self._params += times * self._segment_params
        self._trainable_params += times * self._segment_trainable_params
        self._macs += times * self._segment_macs
        sizes, calls = self._sizes, tuple(self._calls)
        while times:
            segment = _segment(calls, not self._images_bytes, self._begins_kept, is_end)
            identical = times if self._begins_kept == segment.ends_kept else 1
            kept = sum([sizes[number] for number in segment.kept])
            # Of identical segments, the last one has the most bytes kept before it.
            before = self._images_bytes + self._kept_bytes + (identical - 1) * kept
            self._peak_bytes = max(self._peak_bytes, peak_size(segment.forward, sizes))
            self._training_peak_bytes = max(self._training_peak_bytes, before + peak_size(segment.training, sizes))
            self._images_bytes = self._images_bytes or sizes[0]
            self._kept_bytes += identical * kept
            self._begins_kept = segment.ends_kept
            times -= identical
        self._start_segment()
        self._sizes.append(sizes[-1])
        self._last.number = 0


class GraphTracer(CostTracer):
    """Counts the cost of a network of any structure, such as a detector. Layers that no output needs do not count.

    Nothing is counted once for several blocks, because a pyramid keeps maps across blocks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._costs: list[tuple[int, int, int]] = []  # parameters, trainable parameters, multiply-adds of each call

    def blocks(self, number: int) -> Iterable[int]:
        """All indices."""
        return range(number)

    def total(self, *outputs: TracedMap) -> Complexity:
        """Total cost of a network with these outputs."""
        numbers = tuple(output.number for output in outputs)
        calls, sizes = _in_execution_order(self._calls, numbers), self._sizes
        costs = [self._costs[number - 1] for call in calls for number in call.outputs]
        maps = lifetimes(calls, inputs=(0,), outputs=numbers, kept=numbers, held=(0,))
        return Complexity(
            params=sum(params for params, _, _ in costs),
            trainable_params=sum(trainable for _, trainable, _ in costs),
            macs=sum(macs for _, _, macs in costs),
            activation_bytes=sum(sizes[number] for number in maps.kept),
            peak_bytes=peak_size(maps.forward, sizes),
            training_peak_bytes=peak_size(maps.training, sizes),
        )

    def _call(self, shape: tuple[int, ...], read: Reads | None, *inputs: int, layer: int | None = None) -> TracedMap:
        self._costs.append((self._segment_params, self._segment_trainable_params, self._segment_macs))
        self._segment_params = self._segment_trainable_params = self._segment_macs = 0
        return super()._call(shape, read, *inputs, layer=layer)


@dataclass(frozen=True)
class _Segment:
    """Lifetimes of the maps of a segment, as in `activation_memory.Lifetimes`.

    Attributes:
        kept: maps kept for the backward pass, without the output, which the next segment counts.
        ends_kept: whether the output is kept.
        forward: during a forward pass.
        training: during a forward and a backward pass.
    """

    kept: tuple[int, ...]
    ends_kept: bool
    forward: tuple[Interval, ...]
    training: tuple[Interval, ...]


@lru_cache(maxsize=1024)
def _segment(calls: tuple[TracedCall, ...], is_start: bool, begins_kept: bool, is_end: bool) -> _Segment:
    """Lifetimes in a segment. Cached, because networks repeat few different segments.

    Args:
        calls: in order of definition.
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
    kept = list(maps.kept)
    if ends_kept := end in kept:
        kept.remove(end)
    return _Segment(tuple(kept), ends_kept, maps.forward, maps.training)


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
            unvisited = (source for source in calls[path[-1] - 1].inputs if source and source not in visited)
            source = next(unvisited, None)
            if source is None:
                visited[path.pop()] = None
            else:
                path.append(source)
    distances: dict[int, int] = {}
    farthest: dict[int, int] = {}
    for number in reversed(visited):
        call = calls[number - 1]
        distance = max(distances.get(number, 0), farthest.get(call.layer, 0))
        distances[number] = farthest[call.layer] = distance
        for source in call.inputs:
            distances[source] = max(distance + 1, distances.get(source, 0))
    distances.pop(0)
    ordered, viewed = [], dict[int, int]()
    for number in sorted(distances, key=distances.__getitem__, reverse=True):
        inputs, read, _ = calls[number - 1]
        sources = tuple([viewed.get(source, source) for source in inputs])
        if read is None:
            viewed[number] = sources[0]
        else:
            ordered.append(Call(sources, (number,), read))
    return ordered
