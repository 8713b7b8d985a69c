"""The heads: the classifier; dense heads, which predict at every position of every pyramid level; and the region
proposal network of Faster R-CNN.

Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002), section 4: the levels share the convolutions. As
in EfficientDet (arXiv:1911.09070), section 4.2, each level has its own batch normalization, because the statistics of
the levels differ.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial

from tfeff.networks.blocks import ConvolutionUnit, convolution_3x3
from tfeff.networks.layers import FeatureMap, Layers

CLASSIFIER = "head_classifier"
EMBEDDING, PROXIES = "head_embedding", "head_proxies"
POOL = "head_pool"


def classifier(layers: Layers, features: FeatureMap, num_classes: int, dropout: float) -> FeatureMap:
    """Applies global average pooling, dropout and one dense layer.

    Args:
        features: (batch, height, width, channels), the last feature map of the backbone.
        num_classes: number of classes.
        dropout: dropout rate of the pooled features.

    Returns:
        Logits (batch, num_classes), float32 under any precision policy.
    """
    return layers.dense(_pooled(layers, features, dropout), units=num_classes, precise=True, name=CLASSIFIER)


def embedding(layers: Layers, features: FeatureMap, dimension: int, dropout: float) -> FeatureMap:
    """Applies global average pooling, dropout and one dense layer; the vector is not normalized yet.

    Args:
        features: (batch, height, width, channels), the last feature map of the backbone.
        dimension: numbers in the vector.
        dropout: dropout rate of the pooled features.

    Returns:
        (batch, dimension), float32 under any precision policy.
    """
    return layers.dense(_pooled(layers, features, dropout), units=dimension, precise=True, name=EMBEDDING)


def _pooled(layers: Layers, features: FeatureMap, dropout: float) -> FeatureMap:
    x = layers.global_average_pooling(features, name=POOL)
    return layers.dropout(x, rate=dropout, name="head_dropout") if dropout > 0 else x


CLASS_HEAD, BOX_HEAD = "class_head", "box_head"
"""Names of the heads of a detector with a class head and a box head."""
ONE_TO_MANY = "one_to_many_"
"""Begins the names of layers and outputs of heads that only training uses, in which several positions learn an object.
The rest is the name in the heads that predict."""
PRIOR_BIAS = -math.log(99)
"""Initial bias of logits that are rarely positive: each starts with a probability of 0.01, so that the many background
positions do not dominate the first steps (arXiv:1708.02002, section 4.1)."""


def dense_head(
    unit: ConvolutionUnit,
    maps: Mapping[str, FeatureMap],
    *,
    name: str,
    repeats: int,
    separable: bool,
    boxes: int,
    values: int,
    bias_value: float = 0.0,
) -> FeatureMap:
    """Applies 3x3 convolutions with batch normalization and activation, then a 3x3 convolution to the predictions.

    Args:
        unit: batch normalization and activation.
        maps: feature maps by level, (batch, h, w, channels), all with the same channels.
        name: prefix of the layer names.
        repeats: number of convolutions before the last.
        separable: depthwise-separable convolutions instead of plain ones.
        boxes: boxes (anchors) per position.
        values: predictions per box.
        bias_value: initial value of the biases of the predictions.

    Returns:
        (batch, n, values), float32. Boxes are ordered by level, row, column, and box of a position.
    """
    # Kernels as in the reference implementation: small where they are plain, so that initial predictions are.
    initializer: dict = {"class_name": "VarianceScaling", "config": {}}
    if not separable:
        initializer = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}
    convolution = partial(convolution_3x3, unit.layers, separable=separable, initializer=initializer)
    features = list(maps.values())
    channels = features[0].shape[-1]
    for repeat in range(1, repeats + 1):
        prefix = f"{name}_conv{repeat}"
        features = convolution(features, channels, name=prefix)
        features = [unit.normalized(x, f"{prefix}_{level.lower()}") for level, x in zip(maps, features, strict=True)]
    predictions = convolution(features, boxes * values, bias_value=bias_value, name=f"{name}_predict")
    return rows(unit.layers, predictions, values, name=name)


def rows(layers: Layers, maps: Sequence[FeatureMap], values: int, *, name: str) -> FeatureMap:
    """Returns predictions of all levels, each (batch, h, w, k * values), as one (batch, sum of h * w * k, values).

    float32 under any precision policy, so that losses are computed in it; the values have the precision of the
    convolution that predicts them.
    """
    levels = [
        layers.reshape(feature_map, target_shape=(-1, values), precise=True, name=f"{name}_rows{number}")
        for number, feature_map in enumerate(maps, 1)
    ]
    return layers.concatenate(*levels, axis=1, precise=True, name=name)


OBJECTNESS, PROPOSAL_CODES = "objectness", "proposal_codes"
"""Names of the outputs of a region proposal network."""
RPN_INITIALIZER = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}


def proposals(
    layers: Layers, maps: Mapping[str, FeatureMap], anchors: int, *, repeats: int = 1
) -> dict[str, FeatureMap]:
    """Returns the head of a region proposal network: 3x3 convolutions with ReLU, then two 1x1 convolutions.

    Ren et al., "Faster R-CNN" (arXiv:1506.01497), section 3.1. All convolutions are shared by the levels.

    Args:
        maps: feature maps by level, (batch, h, w, channels), all with the same channels.
        anchors: anchors per position.
        repeats: number of 3x3 convolutions.

    Returns:
        "objectness", (batch, n, 1), logits; "proposal_codes", (batch, n, 4). Both float32, ordered by level, row,
        column, and anchor of a position.
    """
    features = list(maps.values())
    channels = features[0].shape[-1]
    for repeat in range(1, repeats + 1):
        features = layers.convolution(
            features,
            filters=channels,
            kernel_size=3,
            padding="same",
            activation="relu",
            kernel_initializer=RPN_INITIALIZER,
            name=f"rpn_conv{repeat}",
        )
    predictions = {
        output: layers.convolution(
            features,
            filters=values * anchors,
            kernel_size=1,
            padding="same",
            kernel_initializer=RPN_INITIALIZER,
            name=name,
        )
        for output, values, name in ((OBJECTNESS, 1, "rpn_objectness"), (PROPOSAL_CODES, 4, "rpn_codes"))
    }
    return {
        output: rows(layers, predictions[output], values, name=output)
        for output, values in ((OBJECTNESS, 1), (PROPOSAL_CODES, 4))
    }
