"""The unit that all backbones repeat: convolution, batch normalization, activation."""

from dataclasses import dataclass

from tfeff.models.layers.backend import FeatureMap, Layers


@dataclass(frozen=True, kw_only=True)
class ConvolutionUnit:
    """Settings shared by all convolution units of one network.

    The default padding is "same": with stride 2, a side r becomes ceil(r / 2).

    Attributes:
        layers: the layer backend.
        activation: Keras activation, such as "relu", "relu6" or "silu".
        initializer: Keras initializer of the kernels, as an identifier or a config.
        batch_norm: False omits batch normalization and gives the convolutions biases.
        bias: adds biases before batch normalization too. They are redundant, but some published networks have them.
        momentum: momentum of the moving statistics: new = momentum * old + (1 - momentum) * batch.
        epsilon: added to the variance.
        synchronized: batch statistics over all replicas (TensorFlow backend only).
    """

    layers: Layers
    activation: str
    initializer: str | dict
    momentum: float
    epsilon: float
    batch_norm: bool = True
    bias: bool = False
    synchronized: bool = False

    def __call__(
        self,
        x: FeatureMap,
        filters: int,
        kernel_size: int,
        *,
        name: str,
        strides: int = 1,
        activate: bool = True,
        padding: str = "same",
        zero: bool = False,
    ) -> FeatureMap:
        """Convolution unit: (batch, h, w, c) -> (batch, ceil(h / strides), ceil(w / strides), filters).

        Args:
            x: feature map.
            filters: channels of the result.
            kernel_size: side of the kernel.
            name: name of the convolution. The other layers are called `<name>_bn` and `<name>_act`.
            strides: 1 or 2.
            activate: False omits the activation.
            padding: "same", or "valid" if the caller has padded `x`.
            zero: the scale of the batch normalization starts at 0, and with it the result.
        """
        x = self.layers.convolution(
            x,
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            bias=self.bias or not self.batch_norm,
            initializer=self.initializer,
            name=name,
        )
        return self._normalized(x, name, activate, zero)

    def depthwise(self, x: FeatureMap, kernel_size: int, *, name: str, strides: int = 1) -> FeatureMap:
        """Depthwise convolution unit: (batch, h, w, c) -> (batch, ceil(h / s), ceil(w / s), c)."""
        x = self.layers.depthwise_convolution(
            x,
            kernel_size,
            strides=strides,
            bias=self.bias or not self.batch_norm,
            initializer=self.initializer,
            name=name,
        )
        return self._normalized(x, name, activate=True)

    def _normalized(self, x: FeatureMap, name: str, activate: bool, zero: bool = False) -> FeatureMap:
        if self.batch_norm:
            x = self.layers.batch_normalization(
                x,
                momentum=self.momentum,
                epsilon=self.epsilon,
                synchronized=self.synchronized,
                zero=zero,
                name=f"{name}_bn",
            )
        return self.layers.activation(x, self.activation, name=f"{name}_act") if activate else x
