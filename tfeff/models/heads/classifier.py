"""The classifier head: pooled features to logits."""

from tfeff.models.layers.backend import FeatureMap, Layers

CLASSIFIER = "head_classifier"
POOL = "head_pool"


def classifier(
    layers: Layers, features: FeatureMap, num_classes: int, dropout: float, activation: str | None
) -> FeatureMap:
    """Global average pooling, dropout and one dense layer.

    Args:
        layers: what the network is drawn with.
        features: (batch, height, width, channels), the backbone's last feature map.
        num_classes: number of outputs.
        dropout: share of the pooled features dropped in training.
        activation: Keras activation on the outputs; None gives logits.

    Returns:
        (batch, num_classes), float32 under any precision policy.
    """
    x = layers.global_pooling(features, name=POOL)
    if dropout > 0:
        x = layers.dropout(x, dropout, name="head_dropout")
    return layers.dense(x, num_classes, activation=activation, name=CLASSIFIER)
