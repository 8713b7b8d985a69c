"""Dense heads: predictions at every position of every pyramid level.

Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002), section 4: the levels share the convolutions. As
in EfficientDet (arXiv:1911.09070), section 4.2, each level has its own batch normalization, because the statistics of
the levels differ.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tfeff.models.layers.backend import FeatureMap, Layers
from tfeff.models.layers.separable import convolution_3x3

CLASS_HEAD, BOX_HEAD = "class_head", "box_head"
"""Names of the heads of a detector with a class head and a box head."""
PRIOR_BIAS = -math.log(99)
"""Initial bias of logits that are rarely positive: each starts with a probability of 0.01, so that the many background
positions do not dominate the first steps (arXiv:1708.02002, section 4.1)."""


@dataclass(frozen=True, kw_only=True)
class DenseHead:
    """3x3 convolutions with batch normalization and activation, then a 3x3 convolution to the predictions.

    Attributes:
        name: prefix of the layer names.
        repeats: number of convolutions before the last.
        separable: depthwise-separable convolutions instead of plain ones.
        activation: Keras activation.
        bn_momentum: momentum of batch normalization's moving statistics.
        bn_epsilon: epsilon of batch normalization.
        synchronized: batch statistics over all replicas (TensorFlow backend only).
    """

    name: str
    repeats: int
    separable: bool
    activation: str
    bn_momentum: float
    bn_epsilon: float
    synchronized: bool

    def __call__(
        self, layers: Layers, maps: Mapping[str, FeatureMap], *, boxes: int, values: int, bias_value: float = 0.0
    ) -> FeatureMap:
        """Define the head.

        Args:
            layers: the layer backend.
            maps: feature maps by level, (batch, h, w, channels), all with the same channels.
            boxes: boxes (anchors) per position.
            values: predictions per box.
            bias_value: initial value of the biases of the predictions.

        Returns:
            (batch, n, values), float32. Boxes are ordered by level, row, column, and box of a position.
        """
        # Kernels as in the reference implementation: small where they are plain, so that initial predictions are.
        initializer: dict = {"class_name": "VarianceScaling", "config": {}}
        if not self.separable:
            initializer = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}
        features = list(maps.values())
        channels = features[0].shape[-1]
        for repeat in range(1, self.repeats + 1):
            name = f"{self.name}_conv{repeat}"
            features = convolution_3x3(
                layers, features, channels, separable=self.separable, initializer=initializer, name=name
            )
            features = [
                self._activated(layers, x, f"{name}_{level.lower()}") for level, x in zip(maps, features, strict=True)
            ]
        predictions = convolution_3x3(
            layers,
            features,
            boxes * values,
            separable=self.separable,
            initializer=initializer,
            bias_value=bias_value,
            name=f"{self.name}_predict",
        )
        return layers.predictions(predictions, values, name=self.name)

    def _activated(self, layers: Layers, x: FeatureMap, name: str) -> FeatureMap:
        x = layers.batch_normalization(
            x,
            momentum=self.bn_momentum,
            epsilon=self.bn_epsilon,
            synchronized=self.synchronized,
            name=f"{name}_bn",
        )
        return layers.activation(x, self.activation, name=f"{name}_act")
