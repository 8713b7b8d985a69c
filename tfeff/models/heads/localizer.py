"""The head that localises one object: a class from pooled features, a box from where in the map they lie.

As in Sermanet et al., "OverFeat" (arXiv:1312.6229, section 4.1), with one regressor for all classes: classifier and
regressor share the backbone, and the regressor reads the map before it is pooled over all positions.
"""

from collections.abc import Sequence

import keras

from tfeff.models.heads import classifier
from tfeff.models.layers.backend import KerasLayers
from tfeff.models.network import Network

LOGITS, BOX = "logits", "box"
"""Names of a localiser's outputs."""


def localizer(
    backbone: Network, *, num_classes: int, dropout: float = 0.0, grid: int = 4, hidden: Sequence[int] = (128,)
) -> Network:
    """Puts classifier and box regressor onto a backbone.

    Args:
        backbone: made by `build` with `include_top=False`.
        num_classes: outputs of the classifier.
        dropout: share of both heads' inputs dropped in training.
        grid: cells each way to which the last feature map is averaged for the box, where it has more.
        hidden: units of the dense layers between that grid and the box.

    Returns:
        From the backbone's images to {"logits": (batch, num_classes), "box": (batch, 4)}, float32 under any precision
        policy; boxes are yxyx in shares of the image's sides, in [0, 1]. The classifier's layers are those of `build`,
        so that a classifier's weights fit. An untrained network's box may have its bottom above its top.
    """
    features = backbone.outputs[0]
    logits = classifier.classifier(KerasLayers(), features, num_classes, dropout, None)
    x = features
    cells = min(grid, x.shape[1]), min(grid, x.shape[2])
    if cells != tuple(x.shape[1:3]):
        x = keras.layers.AdaptiveAveragePooling2D(cells, name="box_pool")(x)
    x = keras.layers.Flatten(name="box_flatten")(x)
    if dropout > 0:
        x = keras.layers.Dropout(dropout, name="box_dropout")(x)
    for number, units in enumerate(hidden, 1):
        x = keras.layers.Dense(units, activation="relu", name=f"box_hidden{number}")(x)
    box = keras.layers.Dense(4, activation="sigmoid", dtype="float32", name="box_regressor")(x)
    network = Network(backbone.inputs[0], {LOGITS: logits, BOX: box}, name=f"{backbone.name}_localizer")
    network.levels = dict(backbone.levels)
    return network
