"""The classifier head: pooled features to logits."""

import keras

CLASSIFIER = "head_classifier"


def classifier(
    features: keras.KerasTensor, num_classes: int, dropout: float, activation: str | None
) -> keras.KerasTensor:
    """Global average pooling, dropout and one dense layer.

    Args:
        features: (batch, height, width, channels), the backbone's last feature map.
        num_classes: number of outputs.
        dropout: share of the pooled features dropped in training.
        activation: Keras activation on the outputs; None gives logits.

    Returns:
        (batch, num_classes), float32 under any precision policy, so that losses keep their digits.
    """
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(features)
    if dropout > 0:
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name=CLASSIFIER)(x)
