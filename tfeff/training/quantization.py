"""Training as the network will run in 8-bit integers (quantization-aware training).

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(arXiv:1712.05877), section 3. The forward pass rounds weights and feature maps where LiteRT's integers do; the gradient
passes through the rounding. What LiteRT does:

- Batch normalization is part of the kernel before it. Kernels are symmetric, with a scale per output channel.
- Feature maps have one scale and one zero point each. Their range, the lowest and the highest value that calibration
  sees, includes zero. ReLU and ReLU6 belong to the operator before them; other activations round their input, too.
- Pooling and reshaping keep the scale. The inputs of a concatenation have that of its output.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from tfeff.errors import UserError
from tfeff.models.graph import graph_of, walk
from tfeff.models.layers.neck import NearestUpsampling, StopGradient, WeightedFusion
from tfeff.models.layers.residual import StochasticDepth
from tfeff.models.layers.similarity import CosineSimilarity

L = keras.layers
Activation: TypeAlias = Callable[[tf.Tensor], tf.Tensor]

MOMENTUM = 0.95
"""Momentum of the ranges: they grow at once, as those of calibration do, and shrink slowly."""
# Some weights are the ends of their own range, which must not lose their gradient by rounding.
_MARGIN = 1.0 + 1e-6
# LiteRT's fixed ranges.
_PROBABILITY, _TANH = (0.0, 255 / 256), (-1.0, 127 / 128)
_VIEWS = (L.Reshape, L.Flatten, L.Identity, L.ActivityRegularization)
_SELECTING = (L.ZeroPadding2D, L.MaxPooling2D, L.GlobalMaxPooling2D, L.UpSampling2D, L.Cropping2D, L.Permute)
_TRAINING = (L.Dropout, L.SpatialDropout2D, StochasticDepth, StopGradient)  # the identity at inference


def fake_quantized(maps: tf.Tensor, low: Any, high: Any) -> tf.Tensor:
    """Values rounded to one of 256 in a range that includes zero, which is one of them.

    The gradient is 1 inside the range and 0 outside.
    """
    return tf.quantization.fake_quant_with_min_max_vars(maps, low, high)


def fake_quantized_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """Returns a kernel [..., channels], each channel rounded to multiples of 1/127 of its largest absolute value.

    The gradient is 1.
    """
    rows = tf.reshape(kernel, (-1, kernel.shape[-1]))
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(rows), axis=0)) * _MARGIN
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(rows, -largest, largest, narrow_range=True)
    return tf.reshape(rounded, kernel.shape)


class Quantized:
    """A functional network that rounds as its int8 export does. Everything else is that of the network.

    Batch normalization uses its moving statistics, and does not change them.

    Args:
        network: the network, in float32.

    Attributes:
        ranges: variable [n, 2], the lowest and highest value of each feature map. Training passes update it.

    Raises:
        UserError: the network has layers whose integer arithmetic is not simulated.
    """

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        counted: list[int] = []

        def count(images: tf.Tensor) -> Any:
            run = _Pass(None, observing=True)
            outputs = run(network, images, training=False)
            counted.append(len(run.observed))
            return outputs

        tf.function(count, autograph=False).get_concrete_function(tf.TensorSpec((1, *network.inputs[0].shape[1:])))
        self.ranges = tf.Variable(tf.zeros((counted[0], 2)), trainable=False, name="ranges")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, images: tf.Tensor, training: bool = False) -> Any:
        """Returns the network's outputs, each rounded."""
        run = _Pass(self.ranges.read_value(), observing=training)
        outputs = run(self._network, images, training=training)
        if training:
            self.ranges.assign(tf.stack(run.observed))
        return outputs


class _Map:
    """A feature map on its way through the network, computed when it is read.

    Args:
        value: computes it with an activation in the same operator, and does not round it.
        kernel: the layer whose output it is, and its input, as long as batch normalization can become part of it.

    Attributes:
        range: [2], of a rounded map; else None.
    """

    shape = None  # `walk` looks for it

    def __init__(
        self, value: Callable[[Activation], tf.Tensor], kernel: tuple[keras.Layer, tf.Tensor] | None = None
    ) -> None:
        self._compute, self.kernel, self.range = value, kernel, None
        self._value: tf.Tensor | None = None

    @classmethod
    def of(cls, value: tf.Tensor, range: Any = None) -> "_Map":
        """Returns the map of a value, which is rounded if its range is given."""
        self = cls(lambda activation: activation(value))
        self._value, self.range = value, range
        return self

    @property
    def value(self) -> tf.Tensor:
        """The values, rounded if there is a range."""
        if self._value is None:
            self._value, self.kernel = self._compute(lambda value: value), None
        return self._value

    def activated(self, activation: Activation) -> "_Map":
        """Returns the map after ReLU or ReLU6, which need no range of their own."""
        if self._value is not None:
            return _Map.of(activation(self._value), self.range)
        return _Map(lambda then: self._compute(lambda value: then(activation(value))))

    def round(self, ends: tf.Tensor) -> None:
        """Rounds it for all that read it."""
        self._value, self.range = fake_quantized(self.value, ends[0], ends[1]), ends


class _Pass:
    """One pass through the network.

    Args:
        ranges: float32 [maps, 2], lowest and highest value of each feature map in the order of execution; None: use
            those of this pass.
        observing: whether maps extend the ranges.
    """

    def __init__(self, ranges: tf.Tensor | None, observing: bool) -> None:
        self._ranges, self._observing = ranges, observing
        self.observed: list[tf.Tensor] = []
        self._taken = 0

    def __call__(self, network: keras.Model, images: tf.Tensor, training: bool) -> Any:
        outputs = walk(graph_of(network), [_Map.of(tf.cast(images, tf.float32))], self._apply, training)
        return keras.tree.map_structure(lambda output: self._rounded(output).value, outputs)

    def _range(self, *values: tf.Tensor) -> tf.Tensor:
        """Returns the range of the next map, which includes all these values."""
        known = None if self._ranges is None else self._ranges[self._taken]
        self._taken += 1
        if not self._observing:
            return known
        values = tuple(map(tf.stop_gradient, values))
        lowest, highest = map(tf.reduce_min, values), map(tf.reduce_max, values)
        seen = tf.stack([reduce(tf.minimum, lowest, 0.0), reduce(tf.maximum, highest, 0.0)])
        if known is not None:
            mean = MOMENTUM * known + (1.0 - MOMENTUM) * seen
            seen = tf.stack([tf.minimum(seen[0], mean[0]), tf.maximum(seen[1], mean[1])])
        self.observed.append(seen)
        return seen

    def _rounded(self, maps: _Map, *included: tf.Tensor) -> _Map:
        """Returns the map, rounded in its own range if it is not yet."""
        if maps.range is None:
            maps.round(self._range(maps.value, *included))
        return maps

    def _fixed(self, value: tf.Tensor, ends: tuple[float, float]) -> _Map:
        return _Map.of(fake_quantized(value, *ends), tf.constant(ends))

    def _constant(self, value: Any) -> tf.Tensor:
        """Returns a constant, which has one scale as a map has."""
        value = tf.convert_to_tensor(value, tf.float32)
        low, high = tf.minimum(tf.reduce_min(value), 0.0), tf.maximum(tf.reduce_max(value), 0.0)
        return fake_quantized(value, tf.stop_gradient(low) * _MARGIN, tf.stop_gradient(high) * _MARGIN)

    def _affine(self, maps: _Map, scale: Any, offset: Any) -> _Map:
        """Returns a product and a sum with constants."""
        product = _Map.of(self._rounded(maps).value * self._constant(scale))
        return self._sum(product, _Map.of(self._constant(offset), range=()))

    def _apply(self, layer: keras.Operation, *args: Any, **kwargs: Any) -> _Map:
        maps = args[0]
        if isinstance(layer, (L.DepthwiseConv2D, L.Conv2D, L.Dense)):
            x = self._rounded(maps).value
            output = _Map(lambda activation: activation(_linear(layer, x)), kernel=(layer, x))
            return self._activated(output, layer.activation)
        if isinstance(layer, L.BatchNormalization):
            if maps.kernel is not None:
                kernel, x = maps.kernel
                return _Map(lambda activation: activation(_linear(kernel, x, layer)))
            scale, offset = _normalization(layer)
            return self._affine(maps, scale, offset)
        if isinstance(layer, L.Rescaling):
            return self._affine(maps, layer.scale, layer.offset)
        if isinstance(layer, (L.Activation, L.ReLU)):
            return self._activated(maps, _activation(layer))
        if isinstance(layer, _VIEWS):
            return _Map.of(layer(maps.value), maps.range)
        if isinstance(layer, (*_SELECTING, NearestUpsampling)):
            return _Map.of(layer(self._rounded(maps).value), maps.range)
        if isinstance(layer, _TRAINING):
            return _Map.of(layer(self._rounded(maps).value, **kwargs), maps.range)
        if isinstance(layer, L.AveragePooling2D):
            pooled = layer(self._rounded(maps).value)
            return _Map.of(fake_quantized(pooled, maps.range[0], maps.range[1]), maps.range)
        if isinstance(layer, L.GlobalAveragePooling2D):
            return _Map.of(layer(self._rounded(maps).value))
        if isinstance(layer, CosineSimilarity):  # not part of the export
            return _Map.of(layer(self._rounded(maps).value), range=())
        if isinstance(layer, L.Concatenate):
            return _Map.of(layer([each.value for each in maps]))
        if isinstance(layer, (L.Add, L.Multiply, L.Subtract)):
            return reduce(self._sum if isinstance(layer, L.Add) else partial(self._merged, layer), maps)
        if isinstance(layer, WeightedFusion):
            factors = tf.unstack(tf.convert_to_tensor(layer.factors()))
            pairs = zip(maps, factors, strict=True)
            return reduce(self._sum, [_Map.of(self._rounded(each).value * self._constant(f)) for each, f in pairs])
        raise UserError(
            f"config: training.quantization: {layer.name} ({type(layer).__name__}): its 8-bit arithmetic is not "
            "simulated; use a network without it, or set training.quantization to null"
        )

    def _merged(self, layer: keras.Layer, first: _Map, second: _Map) -> _Map:
        pair = [self._rounded(first).value, self._rounded(second).value]
        return _Map(lambda activation: activation(layer(pair)))

    def _sum(self, first: _Map, second: _Map) -> _Map:
        """Returns the sum of two maps.

        In calibration, it overwrites one of them, whose range then includes that of the sum.
        """

        def value(activation: Activation) -> tf.Tensor:
            result = activation(first.value + second.value)
            for each in (first, second):
                if each.range is None and each.value.shape == result.shape:
                    self._rounded(each, result)
                    break
            return activation(self._rounded(first).value + self._rounded(second).value)

        return _Map(value)

    def _activated(self, maps: _Map, activation: Activation) -> _Map:
        name = getattr(activation, "__name__", type(activation).__name__)
        if name == "linear":
            return maps
        if name in ("relu", "relu6"):
            return maps.activated(activation)
        if name == "hard_sigmoid":
            return _Map.of(self._rounded(maps.activated(lambda value: tf.nn.relu6(value + 3.0))).value / 6.0)
        x = self._rounded(maps).value
        if name in ("sigmoid", "softmax"):
            return self._fixed(activation(x), _PROBABILITY)
        if name == "tanh":
            return self._fixed(activation(x), _TANH)
        if name == "silu":
            return _Map.of(x * self._fixed(tf.sigmoid(x), _PROBABILITY).value)
        if name in ("hard_silu", "gelu", "leaky_relu"):
            return _Map.of(activation(x))
        raise UserError(
            f"config: training.quantization: the 8-bit arithmetic of the activation {name} is not simulated; use a "
            "network without it, or set training.quantization to null"
        )


def _activation(layer: keras.Layer) -> Activation:
    """Returns the activation function of a layer.

    Raises:
        UserError: of a kind that LiteRT has no operator for.
    """
    if isinstance(layer, L.Activation):
        return layer.activation
    if layer.max_value not in (None, 6) or layer.negative_slope or layer.threshold:
        raise UserError(f"config: training.quantization: {layer.name}: only ReLU and ReLU6 are simulated")
    return keras.activations.relu if layer.max_value is None else keras.activations.relu6


def _normalization(layer: keras.layers.BatchNormalization) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the scale and offset of batch normalization with its moving statistics, [channels]."""
    scale = tf.math.rsqrt(layer.moving_variance.value + layer.epsilon)
    if layer.scale:
        scale *= layer.gamma.value
    offset = -layer.moving_mean.value * scale
    return scale, offset + layer.beta.value if layer.center else offset


def _linear(
    layer: keras.Layer, x: tf.Tensor, normalization: keras.layers.BatchNormalization | None = None
) -> tf.Tensor:
    """Applies a convolution or dense layer without activation.

    Its rounded kernel includes the normalization.
    """
    depthwise = isinstance(layer, L.DepthwiseConv2D)
    kernel = tf.convert_to_tensor(layer.kernel)
    shape = kernel.shape
    if depthwise:  # [h, w, channels, multiplier]
        kernel = tf.reshape(kernel, (*shape[:2], shape[2] * shape[3]))
    bias = tf.convert_to_tensor(layer.bias) if layer.use_bias else None
    if normalization is not None:
        scale, offset = _normalization(normalization)
        kernel *= scale
        bias = offset if bias is None else bias * scale + offset
    kernel = tf.reshape(fake_quantized_kernel(kernel), shape)
    if isinstance(layer, L.Dense):
        outputs = ops.matmul(x, kernel)
    elif depthwise:
        outputs = ops.depthwise_conv(
            x,
            kernel,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )
    else:
        outputs = layer.convolution_op(x, kernel)
    return outputs if bias is None else outputs + bias
