"""Layer backend that propagates shapes and counts cost instead of building layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import keras

from tfeff.models.cost.activation_memory import Call, LiveMaps, Reads, lifetimes, peak_size, reads
from tfeff.models.cost.complexity import Complexity
from tfeff.models.layers.backend import Layers
from tfeff.models.layers.preprocessing import check_standard_deviations
from tfeff.models.layers.stochastic_depth import StochasticDepth

L = keras.layers

FLOAT_BYTES = 4


class TracedMap:
    """Shape of a feature map, (height, width, channels) or (channels,), and its number."""

    __slots__ = ("number", "shape")

    def __init__(self, shape: tuple[int, ...], number: int) -> None:
        self.shape = shape
        self.number = number


class CostTracer(Layers):
    """Counts the cost of the layers that are applied to its maps.

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
        self._calls: list[tuple[tuple[int, ...], Reads]] = []
        self._sizes: list[int] = []

    def images(self, resolution: int, channels: int) -> TracedMap:
        """The input of the first segment."""
        self._last = TracedMap((resolution, resolution, channels), 0)
        self._sizes.append(FLOAT_BYTES * resolution * resolution * channels)
        return self._last

    def standardization(self, x: TracedMap, mean: Sequence[float], std: Sequence[float]) -> TracedMap:
        """Counts the output and validates std."""
        check_standard_deviations(std)
        return self._call(x.shape, reads(L.Rescaling), x.number)

    def convolution(
        self,
        x: TracedMap,
        filters: int,
        kernel_size: int,
        *,
        name: str,
        initializer: str | dict,
        strides: int = 1,
        padding: str = "same",
        bias: bool = True,
        activation: str | None = None,
    ) -> TracedMap:
        """Counts kernel and bias, and one multiply-add per output position and element of the kernel."""
        height, width, channels = x.shape
        margin = kernel_size - 1 if padding == "valid" else 0
        height, width = -((margin - height) // strides), -((margin - width) // strides)
        kernel = kernel_size * kernel_size * channels * filters
        self._add_params(kernel + filters if bias else kernel)
        self._segment_macs += height * width * kernel
        return self._call((height, width, filters), reads(L.Conv2D, activation), x.number)

    def depthwise_convolution(
        self, x: TracedMap, kernel_size: int, *, name: str, initializer: str | dict, strides: int = 1, bias: bool = True
    ) -> TracedMap:
        """Counts one kernel per channel, and the bias."""
        height, width, channels = x.shape
        height, width = -(-height // strides), -(-width // strides)
        kernel = kernel_size * kernel_size * channels
        self._add_params(kernel + channels if bias else kernel)
        self._segment_macs += height * width * kernel
        return self._call((height, width, channels), reads(L.DepthwiseConv2D), x.number)

    def batch_normalization(
        self, x: TracedMap, *, name: str, momentum: float, epsilon: float, synchronized: bool
    ) -> TracedMap:
        """Counts scale and shift, and the two moving statistics, which are not trainable."""
        channels = x.shape[-1]
        self._add_params(2 * channels, fixed=2 * channels)
        return self._call(x.shape, reads(L.BatchNormalization), x.number)

    def activation(self, x: TracedMap, function: str, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(x.shape, reads(L.Activation, function), x.number)

    def add(self, first: TracedMap, second: TracedMap, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(first.shape, reads(L.Add), first.number, second.number)

    def scale(self, x: TracedMap, gate: TracedMap, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(x.shape, reads(L.Multiply), x.number, gate.number)

    def zero_padding(self, x: TracedMap, pixels: int, *, name: str) -> TracedMap:
        """Counts the output."""
        height, width, channels = x.shape
        return self._call((height + 2 * pixels, width + 2 * pixels, channels), reads(L.ZeroPadding2D), x.number)

    def max_pooling(self, x: TracedMap, size: int, *, name: str, strides: int) -> TracedMap:
        """Counts the output."""
        height, width, channels = x.shape
        shape = ((height - size) // strides + 1, (width - size) // strides + 1, channels)
        return self._call(shape, reads(L.MaxPooling2D), x.number)

    def subsampling(self, x: TracedMap, strides: int, *, name: str) -> TracedMap:
        """Counts the output."""
        height, width, channels = x.shape
        return self._call((-(-height // strides), -(-width // strides), channels), reads(L.AveragePooling2D), x.number)

    def global_pooling(self, x: TracedMap, *, name: str, keepdims: bool = False) -> TracedMap:
        """Counts the output."""
        shape = (1, 1, x.shape[-1]) if keepdims else x.shape[-1:]
        return self._call(shape, reads(L.GlobalAveragePooling2D), x.number)

    def stochastic_depth(self, x: TracedMap, survival_probability: float, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(x.shape, reads(StochasticDepth), x.number)

    def dropout(self, x: TracedMap, rate: float, *, name: str) -> TracedMap:
        """Counts the output."""
        return self._call(x.shape, reads(L.Dropout), x.number)

    def dense(self, x: TracedMap, units: int, *, name: str) -> TracedMap:
        """Counts kernel and bias, and one multiply-add per element of the kernel."""
        kernel = x.shape[-1] * units
        self._add_params(kernel + units)
        self._segment_macs += kernel
        return self._call((units,), reads(L.Dense), x.number)

    def blocks(self, number: int) -> Iterator[int]:
        """The first block, and the second as a stand-in for all others."""
        self._end_segment()
        yield 0
        self._end_segment()
        if number > 1:
            yield 1
            self._end_segment(times=number - 1)

    def total(self) -> Complexity:
        """Total cost. The output of the network is the last map."""
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

    def _call(self, shape: tuple[int, ...], read: Reads, *inputs: int) -> TracedMap:
        """Record a call; `inputs` are numbers of maps of the current segment."""
        self._calls.append((inputs, read))
        self._sizes.append(FLOAT_BYTES * (shape[0] * shape[1] * shape[2] if len(shape) == 3 else shape[0]))
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
            kept = peak_size((segment.kept,), sizes)
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


@dataclass(frozen=True)
class _Segment:
    """Lifetimes of the maps of a segment, as in `activation_memory.Lifetimes`.

    Attributes:
        kept: maps kept for the backward pass, without the output, which the next segment counts.
        ends_kept: whether the output is kept.
        forward: live maps at each step of a forward pass.
        training: live maps at each step of a forward and a backward pass.
    """

    kept: LiveMaps
    ends_kept: bool
    forward: tuple[LiveMaps, ...]
    training: tuple[LiveMaps, ...]


@lru_cache(maxsize=1024)
def _segment(
    calls: tuple[tuple[tuple[int, ...], Reads], ...], is_start: bool, begins_kept: bool, is_end: bool
) -> _Segment:
    """Lifetimes in a segment. Cached, because networks repeat few different segments.

    Args:
        calls: inputs of each call and what its gradient reads, in order of definition.
        is_start: whether this is the first segment of the network.
        begins_kept: whether the previous segment keeps the input.
        is_end: whether this is the last segment of the network.
    """
    end = len(calls)
    maps = lifetimes(
        [Call(inputs, (number,), read) for number, (inputs, read) in _in_execution_order(calls)],
        inputs=(0,),
        outputs=(end,),
        kept=(*((0,) if begins_kept else ()), *((end,) if is_end else ())),
        held=(0,) if is_start else (),
    ).without_subsets()
    kept = list(maps.kept)
    if ends_kept := end in kept:
        kept.remove(end)
    return _Segment(tuple(kept), ends_kept, maps.forward, maps.training)


def _in_execution_order(
    calls: Sequence[tuple[tuple[int, ...], Reads]],
) -> list[tuple[int, tuple[tuple[int, ...], Reads]]]:
    """Calls with the number of their output, in the order in which Keras runs them.

    Keras runs layers by decreasing distance from the output. At equal distance, the order is that of a topological
    sort which starts at the output and visits all readers of a map before the layer that computes it.
    """
    visited: dict[int, None] = {}

    def visit(number: int) -> None:
        for source in calls[number - 1][0]:
            if source and source not in visited:
                visit(source)
        visited[number] = None

    visit(len(calls))
    distances: dict[int, int] = {}
    for number in reversed(visited):
        distance = distances.setdefault(number, 0)
        for source in calls[number - 1][0]:
            distances[source] = max(distance + 1, distances.get(source, 0))
    distances.pop(0)
    return [(number, calls[number - 1]) for number in sorted(distances, key=distances.__getitem__, reverse=True)]
