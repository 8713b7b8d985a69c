"""The backbone contract: a network names its feature maps by pyramid level, and level n has stride 2^n."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfeff")
class Network(keras.Model):
    """A functional Keras model over square images that knows its resolution and its feature pyramid.

    Input: (batch, resolution, resolution, channels), raw pixels in [0, 255]. Made by `tfeff.models.build`.
    Saving to `.keras` and loading keep the contract.

    Attributes:
        levels: level name ("P1".."P5") to the name of the layer whose output is that level. Level n is the last
            feature map of stride 2^n; a network has the levels that its strides reach.
    """

    levels: dict[str, str]

    @property
    def resolution(self) -> int:
        """Side of the square input image, in pixels."""
        return self.inputs[0].shape[1]

    @property
    def pyramid(self) -> dict[str, keras.KerasTensor]:
        """Level name to symbolic feature map (batch, ceil(resolution / 2^n), ceil(resolution / 2^n), channels)."""
        return {level: self.get_layer(layer).output for level, layer in self.levels.items()}

    def get_config(self) -> dict[str, Any]:
        """The functional graph and the levels."""
        return {**super().get_config(), "levels": dict(self.levels)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Network":
        """Rebuild the network that `get_config` describes."""
        config = dict(config)
        levels = config.pop("levels")
        network = super().from_config(config, custom_objects=custom_objects)
        network.levels = levels
        return network
