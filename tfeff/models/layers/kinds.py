"""The table of the kinds of layers: how each is built and what it costs.

Whatever builds or counts layers looks them up here: the Keras backend (`KerasLayers`), the cost of a description
(`models.cost.tracer`) and that of a built network (`models.cost.complexity`). A new kind is a row of `KINDS`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import keras

from tfeff.errors import UserError, nearest
from tfeff.models import presets
from tfeff.models.layers.activation import Activation
from tfeff.models.layers.bias import Dense
from tfeff.models.layers.convolution import DepthwiseConvolution, GroupedConvolution
from tfeff.models.layers.neck import NearestUpsampling, StopGradient, WeightedFusion
from tfeff.models.layers.normalization import BatchNormalization, Rescaling, Standardize
from tfeff.models.layers.regions import RoIAlign, RoIMaxPool
from tfeff.models.layers.residual import LayerScale, StochasticDepth
from tfeff.models.layers.similarity import CosineSimilarity
from tfeff.networks.layers import FeatureMap, Layers

L = keras.layers


class Reads(NamedTuple):
    """Maps that the gradient of a layer reads.

    Attributes:
        input: whether it reads the inputs.
        output: whether it reads the outputs.
        inside: number of maps inside the layer that it reads, each of the size of the output: the input of the layer's
            activation, and the factors of products that TensorFlow computes one by one.
        working: number of maps of the size of the output that are in memory only while the layer runs, and again while
            its gradient does.
    """

    input: bool
    output: bool
    inside: int = 0
    working: int = 0


NOTHING, INPUT, OUTPUT, BOTH = Reads(False, False), Reads(True, False), Reads(False, True), Reads(True, True)
# Activations whose gradient is a function of their output. The gradients of all others read their input.
_ACTIVATIONS_READING_OUTPUT = {"relu", "relu6", "sigmoid", "softmax", "tanh"}
_INSIDE_ACTIVATIONS = {
    "gelu": 4,  # x / 2, -x, -x / sqrt(2), erfc(-x / sqrt(2))
    "hard_silu": 2,  # relu6(x + 3), relu6(x + 3) / 6
}


Shape: TypeAlias = tuple[int, ...]
"""Shape of a map without the batch, such as (height, width, channels)."""
Settings: TypeAlias = Mapping[str, Any]
"""Arguments of a layer's class, without `name` and `dtype`."""


def _fusion_weights(shape: Shape) -> dict[str, int]:
    """Returns the number of fusion weights of a map."""
    return {"input": 1, "channel": shape[-1], "pixel": math.prod(shape)}


def _undescribed(_: Any, __: Settings) -> Shape:
    raise NotImplementedError("models/layers/kinds.py lacks the shape of this kind's output")


@dataclass(frozen=True, eq=False)
class Kind:
    """A row of the table.

    `shape` and `weights` are functions of the input's shape, or a list of shapes if the kind merges maps, and of the
    settings of the layer. Kinds that only occur in networks built elsewhere lack them.

    Attributes:
        layer: class of the layer. Subclasses without a row of their own are of the same kind.
        reads: what the gradient reads, apart from that of an activation inside the layer. None if the output is a view,
            which shares the memory of the input.
        macs: positions at which each element of the kernels is multiplied: "output" or "input"; "none" for weights that
            are no kernels. None if the kind has no weights, or if the multiply-adds are unknown.
        shape: shape of the output.
        weights: number of elements of the kernel, of all other trainable weights, and of those that are not trainable.
        create: creates the layer, if that takes more than calling its class.
        kernels: attributes of a built layer.
        merges: whether it takes several maps.
    """

    layer: type[keras.Operation]
    reads: Reads | None
    macs: str | None = None
    shape: Callable[[Any, Settings], Shape] = _undescribed
    weights: Callable[[Any, Settings], tuple[int, int, int]] | None = None
    create: Callable[..., keras.Layer] | None = None
    kernels: tuple[str, ...] = ("kernel",)
    merges: bool = False

    @cache  # noqa: B019 (rows live as long as the program)
    def reading(self, activation: str | None) -> Reads | None:
        """Returns what the gradient of a layer with this activation reads; None for a view."""
        if activation is None or self.reads is None:
            return self.reads
        if activation == "linear":
            return None if self.layer is L.Activation else self.reads
        if activation in _ACTIVATIONS_READING_OUTPUT:
            return self.reads._replace(output=True)
        inside = _INSIDE_ACTIVATIONS.get(activation, 0)
        if self.layer is L.Activation:
            # Of SiLU, both; see `layers.Activation`.
            return self.reads._replace(input=True, output=activation == "silu", inside=inside)
        return self.reads._replace(inside=1 + inside)


def _same(x: Shape, _: Settings) -> Shape:
    return x


def _first(shapes: Sequence[Shape], _: Settings) -> Shape:
    return shapes[0]


def _windowed(x: Shape, size: int, s: Settings) -> tuple[int, int]:
    """Returns the height and width after a convolution or pooling: ceil(side / strides) with padding "same"."""
    strides, margin = s.get("strides", 1), 0 if s.get("padding") == "same" else size - 1
    return -((margin - x[0]) // strides), -((margin - x[1]) // strides)


def _globally_pooled(x: Shape, s: Settings) -> Shape:
    return (1, 1, x[2]) if s.get("keepdims") else x[2:]


def _reshaped(x: Shape, s: Settings) -> Shape:
    known = math.prod([side for side in s["target_shape"] if side != -1])
    return tuple([math.prod(x) // known if side == -1 else side for side in s["target_shape"]])


def _concatenated(shapes: Sequence[Shape], s: Settings) -> Shape:
    axis = s["axis"] - 1  # without the batch
    return *shapes[0][:axis], sum([shape[axis] for shape in shapes]), *shapes[0][axis + 1 :]


def _regions(shapes: Sequence[Shape], s: Settings) -> Shape:
    """Returns the output shape for the shapes of the maps and, last, the boxes."""
    return shapes[-1][0], s["size"], s["size"], shapes[0][-1]


def _convolution(groups: int = 1, **settings: Any) -> keras.Layer:
    return L.Conv2D(**settings) if groups == 1 else GroupedConvolution(groups=groups, **settings)


def _batch_normalization(synchronized: bool = False, **settings: Any) -> keras.Layer:
    """Raises UserError: `synchronized` without TensorFlow."""
    if synchronized and keras.backend.backend() != "tensorflow":
        raise UserError("synchronized: batch statistics over all replicas require the TensorFlow backend of Keras")
    return BatchNormalization(synchronized=synchronized, **settings)


KINDS: dict[str, Kind] = {
    # Layers with kernels.
    "convolution": Kind(
        L.Conv2D,
        INPUT,
        "output",
        lambda x, s: (*_windowed(x, s["kernel_size"], s), s["filters"]),
        lambda x, s: (
            s["kernel_size"] ** 2 * x[2] // s.get("groups", 1) * s["filters"],
            s["filters"] if s.get("use_bias", True) else 0,
            0,
        ),
        _convolution,
    ),
    "depthwise_convolution": Kind(
        L.DepthwiseConv2D,
        INPUT,
        "output",
        lambda x, s: (*_windowed(x, s["kernel_size"], s), x[2]),
        lambda x, s: (s["kernel_size"] ** 2 * x[2], x[2] if s.get("use_bias", True) else 0, 0),
        DepthwiseConvolution,
    ),
    "dense": Kind(
        L.Dense,
        INPUT,
        "output",
        lambda x, s: (*x[:-1], s["units"]),
        lambda x, s: (x[-1] * s["units"], s["units"], 0),
        Dense,
    ),
    "cosine_similarity": Kind(CosineSimilarity, BOTH, "output"),
    "convolution_1d": Kind(L.Conv1D, INPUT, "output"),
    "convolution_3d": Kind(L.Conv3D, INPUT, "output"),
    "depthwise_convolution_1d": Kind(L.DepthwiseConv1D, INPUT, "output"),
    "separable_convolution_1d": Kind(
        L.SeparableConv1D, INPUT, "output", kernels=("depthwise_kernel", "pointwise_kernel")
    ),
    "separable_convolution": Kind(L.SeparableConv2D, INPUT, "output", kernels=("depthwise_kernel", "pointwise_kernel")),
    "transposed_convolution_1d": Kind(L.Conv1DTranspose, INPUT, "input"),
    "transposed_convolution": Kind(L.Conv2DTranspose, INPUT, "input"),
    "transposed_convolution_3d": Kind(L.Conv3DTranspose, INPUT, "input"),
    "einsum": Kind(L.EinsumDense, INPUT),
    # Layers with other weights.
    "batch_normalization": Kind(
        L.BatchNormalization,
        INPUT,
        "none",
        _same,
        lambda x, _: (0, 2 * x[-1], 2 * x[-1]),  # scale and shift, moving statistics
        _batch_normalization,
    ),
    "weighted_fusion": Kind(
        WeightedFusion,
        INPUT,
        "none",
        _first,
        lambda shapes, s: (0, len(shapes) * _fusion_weights(shapes[0])[s["weights_per"]], 0),
        merges=True,
    ),
    "layer_normalization": Kind(
        L.LayerNormalization,
        Reads(True, False, inside=1),  # scale / standard deviation
        "none",
        _same,
        lambda x, _: (0, 2 * x[-1], 0),
    ),
    "layer_scale": Kind(LayerScale, INPUT, "none", _same, lambda x, _: (0, x[-1], 0)),
    "group_normalization": Kind(L.GroupNormalization, INPUT, "none"),
    "normalization": Kind(L.Normalization, INPUT, "none"),
    "parametric_relu": Kind(L.PReLU, INPUT, "none"),
    "standardize": Kind(Standardize, NOTHING, "none"),
    "embedding": Kind(L.Embedding, INPUT, "none"),
    # Elementwise layers.
    "rescaling": Kind(L.Rescaling, NOTHING, shape=_same, create=Rescaling),
    "activation": Kind(L.Activation, NOTHING, shape=_same, create=Activation),
    "add": Kind(L.Add, NOTHING, shape=_first, merges=True),
    "multiply": Kind(L.Multiply, INPUT, shape=_first, merges=True),
    "stochastic_depth": Kind(StochasticDepth, NOTHING, shape=_same),
    "dropout": Kind(L.Dropout, NOTHING, shape=_same),
    "average": Kind(L.Average, NOTHING),
    "subtract": Kind(L.Subtract, NOTHING),
    "spatial_dropout": Kind(L.SpatialDropout2D, NOTHING),
    "leaky_relu": Kind(L.LeakyReLU, INPUT),
    "relu": Kind(L.ReLU, OUTPUT),
    "softmax": Kind(L.Softmax, OUTPUT),
    # Layers that move, repeat or combine pixels.
    "zero_padding": Kind(
        L.ZeroPadding2D, NOTHING, shape=lambda x, s: (x[0] + 2 * s["padding"], x[1] + 2 * s["padding"], x[2])
    ),
    "max_pooling": Kind(L.MaxPooling2D, BOTH, shape=lambda x, s: (*_windowed(x, s["pool_size"], s), x[2])),
    "average_pooling": Kind(L.AveragePooling2D, NOTHING, shape=lambda x, s: (*_windowed(x, s["pool_size"], s), x[2])),
    "global_average_pooling": Kind(L.GlobalAveragePooling2D, NOTHING, shape=_globally_pooled),
    "global_max_pooling": Kind(L.GlobalMaxPooling2D, BOTH, shape=_globally_pooled),
    "adaptive_average_pooling": Kind(L.AdaptiveAveragePooling2D, NOTHING),
    "nearest_upsampling": Kind(NearestUpsampling, NOTHING, shape=lambda x, s: (*s["size"], x[2])),
    "upsampling": Kind(L.UpSampling2D, NOTHING),
    "resizing": Kind(L.Resizing, NOTHING),
    "cropping": Kind(L.Cropping2D, NOTHING),
    "permute": Kind(L.Permute, NOTHING),
    "concatenate": Kind(L.Concatenate, NOTHING, shape=_concatenated, merges=True),
    # It reads the boxes, which are small, and gathers 4 x 4 pixels for each bin, with the usual two samples per side.
    # The copy of their gradient in float32, in mixed precision, is not counted.
    "roi_align": Kind(RoIAlign, NOTHING._replace(working=16), shape=_regions, merges=True),
    "roi_max_pooling": Kind(RoIMaxPool, BOTH, shape=_regions, merges=True),
    # Views.
    "reshape": Kind(L.Reshape, None, shape=_reshaped),
    "flatten": Kind(L.Flatten, None),
    "identity": Kind(L.Identity, None),
    "stop_gradient": Kind(StopGradient, None, shape=_same),
    "activity_regularization": Kind(L.ActivityRegularization, None),
}
_ROWS = {kind.layer: kind for kind in KINDS.values()}
UNKNOWN = Kind(keras.Operation, BOTH)
"""The kind of all other layers: their gradients are assumed to read input and output."""


@cache
def kind_of(layer: type[keras.Operation]) -> Kind:
    """Returns the kind of a class of layers, or `UNKNOWN`."""
    return next((_ROWS[base] for base in layer.__mro__ if base in _ROWS), UNKNOWN)


def described(name: str) -> Kind:
    """Returns the kind that descriptions use by this name.

    Raises:
        AttributeError: there is none.
    """
    if name not in KINDS:
        raise AttributeError(f'no kind of layer "{name}"; {nearest(name, KINDS)}')
    return KINDS[name]


class KerasLayers(Layers):
    """The backend that builds Keras layers."""

    def images(self, size: tuple[int, int], channels: int) -> FeatureMap:
        """Returns an `Input`, float32."""
        return keras.Input((*size, channels), name="images")

    def regions(self, number: int, *, name: str) -> FeatureMap:
        """Returns an `Input`, float32, for any number."""
        return keras.Input((None, 4), dtype=keras.config.floatx(), name=name)

    def given(
        self, images: FeatureMap, *, source: str, levels: Mapping[str, str]
    ) -> tuple[FeatureMap, dict[str, FeatureMap]]:
        """Returns copies of the layers."""
        return presets.find(source).define(images, levels)

    def blocks(self, number: int) -> Iterable[int]:
        """Returns all indices."""
        return range(number)

    def __getattr__(self, kind: str) -> Callable[..., FeatureMap]:
        """Creates a layer and applies it."""
        return partial(_applied, described(kind))


def _applied(kind: Kind, *inputs: FeatureMap, name: str, precise: bool = False, **settings: Any) -> FeatureMap:
    """Creates a layer and applies it to its inputs; see `Layers`."""
    if precise:
        settings["dtype"] = keras.config.floatx()
    layer = (kind.create or kind.layer)(**settings, name=name)
    if kind.merges:
        return layer(list(inputs))
    (x,) = inputs
    return [layer(feature_map) for feature_map in x] if isinstance(x, list) else layer(x)
