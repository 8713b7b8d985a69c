"""The classifier head: global pooling and a dense layer."""

from tfeff.models.layers.backend import FeatureMap, Layers

CLASSIFIER = "head_classifier"
POOL = "head_pool"


def classifier(layers: Layers, features: FeatureMap, num_classes: int, dropout: float) -> FeatureMap:
    """Global average pooling, dropout and one dense layer.

    Args:
        layers: the layer backend.
        features: (batch, height, width, channels), the last feature map of the backbone.
        num_classes: number of classes.
        dropout: dropout rate of the pooled features.

    Returns:
        Logits (batch, num_classes), float32 under any precision policy.
    """
    x = layers.global_pooling(features, name=POOL)
    if dropout > 0:
        x = layers.dropout(x, dropout, name="head_dropout")
    return layers.dense(x, num_classes, name=CLASSIFIER)
