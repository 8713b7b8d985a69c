"""Drawing a network without making it: shapes are followed, and costs added up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import keras

from tfeff.models.cost.activation_memory import Call, Moment, Reads, lifetimes, most, reads
from tfeff.models.cost.complexity import Complexity
from tfeff.models.layers.backend import Layers
from tfeff.models.layers.preprocessing import check_standard_deviations
from tfeff.models.layers.stochastic_depth import StochasticDepth

L = keras.layers

FLOAT_BYTES = 4


class Map:
    """A feature map that is not there: its shape, (height, width, channels) or (channels,), and its number."""

    __slots__ = ("number", "shape")

    def __init__(self, shape: tuple[int, ...], number: int) -> None:
        self.shape = shape
        self.number = number


class Ledger(Layers):
    """Adds up what the layers drawn with it would cost, instead of making them.

    The network is cut into stretches where a single map passes: before a stage and after each of its blocks. A stretch
    numbers its maps from 0, which is the one that it begins with; call i makes map i + 1. A stage's second block stands
    for all that follow it.
    """

    def __init__(self) -> None:
        self._params = self._trainable_params = self._macs = 0
        self._peak_bytes = self._training_peak_bytes = 0
        self._kept_bytes = 0  # by all stretches before the open one
        self._images_bytes = 0  # held throughout training; counted by the first stretch itself
        self._begins_kept = False  # whether the stretch before keeps the map that the open one begins with
        self._last: Map
        self._start_stretch()

    def _start_stretch(self) -> None:
        self._stretch_params = self._stretch_trainable_params = self._stretch_macs = 0
        self._calls: list[tuple[tuple[int, ...], Reads]] = []
        self._sizes: list[int] = []

    def images(self, resolution: int, channels: int) -> Map:
        """The map that the first stretch begins with."""
        self._last = Map((resolution, resolution, channels), 0)
        self._sizes.append(FLOAT_BYTES * resolution * resolution * channels)
        return self._last

    def standardisation(self, x: Map, mean: Sequence[float], std: Sequence[float]) -> Map:
        """Nothing but its output; mean and std are checked as where the layer is made."""
        check_standard_deviations(std)
        return self._call(x.shape, reads(L.Rescaling), x.number)

    def convolution(
        self,
        x: Map,
        filters: int,
        kernel_size: int,
        *,
        name: str,
        initializer: str | dict,
        strides: int = 1,
        padding: str = "same",
        bias: bool = True,
        activation: str | None = None,
    ) -> Map:
        """Kernel and bias; a multiply-add for each position and element of the kernel."""
        height, width, channels = x.shape
        margin = kernel_size - 1 if padding == "valid" else 0
        height, width = -((margin - height) // strides), -((margin - width) // strides)
        kernel = kernel_size * kernel_size * channels * filters
        self._weigh(kernel + filters if bias else kernel)
        self._stretch_macs += height * width * kernel
        return self._call((height, width, filters), reads(L.Conv2D, activation), x.number)

    def depthwise_convolution(
        self, x: Map, kernel_size: int, *, name: str, initializer: str | dict, strides: int = 1, bias: bool = True
    ) -> Map:
        """A kernel a channel, and the bias."""
        height, width, channels = x.shape
        height, width = -(-height // strides), -(-width // strides)
        kernel = kernel_size * kernel_size * channels
        self._weigh(kernel + channels if bias else kernel)
        self._stretch_macs += height * width * kernel
        return self._call((height, width, channels), reads(L.DepthwiseConv2D), x.number)

    def batch_normalisation(self, x: Map, *, name: str, momentum: float, epsilon: float, synchronized: bool) -> Map:
        """Scale and shift, and two moving statistics, which training does not change by gradients."""
        channels = x.shape[-1]
        self._weigh(2 * channels, fixed=2 * channels)
        return self._call(x.shape, reads(L.BatchNormalization), x.number)

    def activation(self, x: Map, function: str, *, name: str) -> Map:
        """Nothing but its output."""
        return self._call(x.shape, reads(L.Activation, function), x.number)

    def add(self, first: Map, second: Map, *, name: str) -> Map:
        """Nothing but its output."""
        return self._call(first.shape, reads(L.Add), first.number, second.number)

    def scale(self, x: Map, gate: Map, *, name: str) -> Map:
        """Nothing but its output."""
        return self._call(x.shape, reads(L.Multiply), x.number, gate.number)

    def zero_padding(self, x: Map, pixels: int, *, name: str) -> Map:
        """Nothing but its output."""
        height, width, channels = x.shape
        return self._call((height + 2 * pixels, width + 2 * pixels, channels), reads(L.ZeroPadding2D), x.number)

    def max_pooling(self, x: Map, size: int, *, name: str, strides: int) -> Map:
        """Nothing but its output."""
        height, width, channels = x.shape
        shape = ((height - size) // strides + 1, (width - size) // strides + 1, channels)
        return self._call(shape, reads(L.MaxPooling2D), x.number)

    def subsampling(self, x: Map, strides: int, *, name: str) -> Map:
        """Nothing but its output."""
        height, width, channels = x.shape
        return self._call((-(-height // strides), -(-width // strides), channels), reads(L.AveragePooling2D), x.number)

    def global_pooling(self, x: Map, *, name: str, keepdims: bool = False) -> Map:
        """Nothing but its output."""
        shape = (1, 1, x.shape[-1]) if keepdims else x.shape[-1:]
        return self._call(shape, reads(L.GlobalAveragePooling2D), x.number)

    def stochastic_depth(self, x: Map, survival_probability: float, *, name: str) -> Map:
        """Nothing but its output."""
        return self._call(x.shape, reads(StochasticDepth), x.number)

    def dropout(self, x: Map, rate: float, *, name: str) -> Map:
        """Nothing but its output."""
        return self._call(x.shape, reads(L.Dropout), x.number)

    def dense(self, x: Map, units: int, *, name: str, activation: str | None) -> Map:
        """Kernel and bias; a multiply-add for each element of the kernel."""
        kernel = x.shape[-1] * units
        self._weigh(kernel + units)
        self._stretch_macs += kernel
        return self._call((units,), reads(L.Dense, activation), x.number)

    def blocks(self, number: int) -> Iterator[int]:
        """The first block and, for all others, the second."""
        self._end_stretch()
        yield 0
        self._end_stretch()
        if number > 1:
            yield 1
            self._end_stretch(times=number - 1)

    def total(self) -> Complexity:
        """Cost of all that was drawn, whose output is the map drawn last."""
        output_bytes = self._sizes[-1]
        self._end_stretch(is_end=True)
        return Complexity(
            params=self._params,
            trainable_params=self._trainable_params,
            macs=self._macs,
            activation_bytes=self._kept_bytes + output_bytes,
            peak_bytes=self._peak_bytes,
            training_peak_bytes=self._training_peak_bytes,
        )

    def _weigh(self, trainable: int, fixed: int = 0) -> None:
        self._stretch_params += trainable + fixed
        self._stretch_trainable_params += trainable

    def _call(self, shape: tuple[int, ...], read: Reads, *inputs: int) -> Map:
        """Note a layer down; its inputs are numbers of maps of the open stretch."""
        self._calls.append((inputs, read))
        self._sizes.append(FLOAT_BYTES * (shape[0] * shape[1] * shape[2] if len(shape) == 3 else shape[0]))
        self._last = Map(shape, len(self._calls))
        return self._last

    def _end_stretch(self, times: int = 1, is_end: bool = False) -> None:
        """Count the open stretch, `times` in a row, and start another where it ends."""
        if not self._calls:
            return
        self._params += times * self._stretch_params
        self._trainable_params += times * self._stretch_trainable_params
        self._macs += times * self._stretch_macs
        sizes, calls = self._sizes, tuple(self._calls)
        while times:
            stretch = _stretch(calls, not self._images_bytes, self._begins_kept, is_end)
            alike = times if self._begins_kept == stretch.ends_kept else 1
            kept = most((stretch.kept,), sizes)
            # Of stretches alike, the last has most kept before it.
            before = self._images_bytes + self._kept_bytes + (alike - 1) * kept
            self._peak_bytes = max(self._peak_bytes, most(stretch.forward, sizes))
            self._training_peak_bytes = max(self._training_peak_bytes, before + most(stretch.training, sizes))
            self._images_bytes = self._images_bytes or sizes[0]
            self._kept_bytes += alike * kept
            self._begins_kept = stretch.ends_kept
            times -= alike
        self._start_stretch()
        self._sizes.append(sizes[-1])
        self._last.number = 0


@dataclass(frozen=True)
class _Stretch:
    """When the maps of a stretch are in memory: moments as in `activation_memory.Lifetimes`.

    Attributes:
        kept: without the map that the stretch ends with, which the next stretch counts.
        ends_kept: whether it keeps that one.
        forward: of a forward pass.
        training: of a forward and a backward pass.
    """

    kept: Moment
    ends_kept: bool
    forward: tuple[Moment, ...]
    training: tuple[Moment, ...]


@lru_cache(maxsize=1024)
def _stretch(
    calls: tuple[tuple[tuple[int, ...], Reads], ...], is_start: bool, begins_kept: bool, is_end: bool
) -> _Stretch:
    """Lifetimes in a stretch, which there are few different forms of.

    Args:
        calls: inputs and what is read, in the order in which they were drawn.
        is_start: the network begins here, with its images.
        begins_kept: the map that it begins with is kept by the stretch before.
        is_end: the network ends here.
    """
    end = len(calls)
    when = lifetimes(
        [Call(inputs, (number,), read) for number, (inputs, read) in _in_running_order(calls)],
        inputs=(0,),
        outputs=(end,),
        kept=(*((0,) if begins_kept else ()), *((end,) if is_end else ())),
        held=(0,) if is_start else (),
    ).without_lesser()
    kept = list(when.kept)
    if ends_kept := end in kept:
        kept.remove(end)
    return _Stretch(tuple(kept), ends_kept, when.forward, when.training)


def _in_running_order(
    calls: Sequence[tuple[tuple[int, ...], Reads]],
) -> list[tuple[int, tuple[tuple[int, ...], Reads]]]:
    """Calls with the number of the map that they make, in the order in which Keras runs them.

    Farthest from the end first; of those equally far, in the order in which they are come upon when all readers of a
    layer's output are visited before the layer, inputs in their order.
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
