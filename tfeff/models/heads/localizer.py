"""The localization head: the class and the box of one object.

Sermanet et al., "OverFeat" (arXiv:1312.6229, section 4.1), with one box regressor for all classes: classifier and
regressor share the backbone. Global pooling discards location, so the box regressor reads a spatial grid.
"""

from collections.abc import Sequence

import keras

from tfeff.models.heads import classifier
from tfeff.models.layers.backend import KerasLayers
from tfeff.models.network import Network

LOGITS, BOX = "logits", "box"
"""Names of the outputs."""


def localizer(
    backbone: Network, *, num_classes: int, dropout: float = 0.0, grid: int = 4, hidden: Sequence[int] = (128,)
) -> Network:
    """Add a classifier and a box regressor to a backbone.

    Args:
        backbone: a network of `build` with `include_top=False`.
        num_classes: outputs of the classifier.
        dropout: dropout rate at the input of both heads.
        grid: the box regressor reads the last feature map, pooled to at most grid x grid cells.
        hidden: units of the dense layers between the grid and the box.

    Returns:
        A network from images to {"logits": (batch, num_classes), "box": (batch, 4)}, float32 under any precision
        policy. Boxes are yxyx relative to the image size, in [0, 1]; those of an untrained network may have bottom <
        top. The classifier has the layers of `build`, so a classifier's weights can be loaded.
    """
    features = backbone.outputs[0]
    logits = classifier.classifier(KerasLayers(), features, num_classes, dropout)
    x = features
    cells = min(grid, x.shape[1]), min(grid, x.shape[2])
    if cells != tuple(x.shape[1:3]):
        x = keras.layers.AdaptiveAveragePooling2D(cells, name="box_pool")(x)
    x = keras.layers.Flatten(name="box_flatten")(x)
    if dropout > 0:
        x = keras.layers.Dropout(dropout, name="box_dropout")(x)
    for number, units in enumerate(hidden, 1):
        x = keras.layers.Dense(units, activation="relu", name=f"box_hidden{number}")(x)
    box = keras.layers.Dense(4, activation="sigmoid", dtype=keras.config.floatx(), name="box_regressor")(x)
    network = Network(backbone.inputs[0], {LOGITS: logits, BOX: box}, name=f"{backbone.name}_localizer")
    network.levels = dict(backbone.levels)
    return network
