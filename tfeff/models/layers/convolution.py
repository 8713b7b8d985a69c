"""The unit that all networks are made of: convolution, batch normalisation, activation."""

from dataclasses import dataclass

from tfeff.models.layers.backend import FeatureMap, Layers


@dataclass(frozen=True, kw_only=True)
class ConvolutionUnit:
    """How one network makes its convolution units.

    Padding is "same" throughout, so that stride 2 takes a side r to ceil(r / 2).

    Attributes:
        layers: what the network is drawn with.
        activation: Keras activation, such as "relu", "relu6" or "silu".
        initializer: Keras initializer of the kernels, as an identifier or a config.
        batch_norm: False leaves batch normalisation out and gives the convolutions biases.
        bias: biases beside batch normalisation, which makes them redundant; some published networks have them.
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
    ) -> FeatureMap:
        """Full convolution: (batch, h, w, c) -> (batch, ceil(h / strides), ceil(w / strides), filters).

        Args:
            x: feature map.
            filters: channels of the result.
            kernel_size: side of the kernel.
            name: name of the convolution; its normalisation and activation are `<name>_bn` and `<name>_act`.
            strides: 1 or 2.
            activate: False ends the unit after the normalisation.
            padding: "valid" where the caller has padded.
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
        return self._normalised(x, name, activate)

    def depthwise(self, x: FeatureMap, kernel_size: int, *, name: str, strides: int = 1) -> FeatureMap:
        """Depthwise convolution, one kernel a channel: (batch, h, w, c) -> (batch, ceil(h / s), ceil(w / s), c)."""
        x = self.layers.depthwise_convolution(
            x,
            kernel_size,
            strides=strides,
            bias=self.bias or not self.batch_norm,
            initializer=self.initializer,
            name=name,
        )
        return self._normalised(x, name, activate=True)

    def _normalised(self, x: FeatureMap, name: str, activate: bool) -> FeatureMap:
        if self.batch_norm:
            x = self.layers.batch_normalisation(
                x, momentum=self.momentum, epsilon=self.epsilon, synchronized=self.synchronized, name=f"{name}_bn"
            )
        return self.layers.activation(x, self.activation, name=f"{name}_act") if activate else x
