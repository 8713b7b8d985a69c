"""R-CNN's network: from regions, cut from images, to scores and box codes (`boxes.coding`).

n: regions, D: features, C: classes without background. All outputs are in `keras.config.floatx()` under any precision
policy.
"""

from dataclasses import dataclass

import keras

from tfeff.errors import UserError
from tfeff.models.layers.bias import Dense
from tfeff.models.layers.kinds import KerasLayers
from tfeff.models.layers.normalization import Standardize
from tfeff.models.layers.regions import Cells
from tfeff.models.network import Network, levels_of
from tfeff.networks.backbones.architecture import require_levels
from tfeff.networks.detectors.rcnn import RCNN
from tfeff.networks.heads import CLASSIFIER

FEATURES = "region_features"
"""Name of the layer that outputs the features, float32 [n, D]."""


@dataclass(frozen=True, eq=False)
class Parts:
    """An R-CNN as two networks that share its weights.

    Attributes:
        features: regions [n, side, side, channels] -> features float32 [n, D].
        head: features -> the outputs of the network.
    """

    features: keras.Model
    head: keras.Model

    @classmethod
    def of(cls, network: keras.Model) -> "Parts":
        """Returns the parts of a network that `build_rcnn` has built."""
        features = network.get_layer(FEATURES).output
        return cls(keras.Model(network.inputs, features), keras.Model(features, network.outputs))


def build_rcnn(described: RCNN, *, num_classes: int, channels: int = 3) -> Network:
    """Builds an R-CNN. Its input is raw pixels of regions; its two outputs are scores and box codes.

    Args:
        described: the network.
        num_classes: C, without background.
        channels: 3 (RGB) or 1 (gray).

    Raises:
        UserError: the backbone has no pyramid level, or one with fewer cells than the grid.
    """
    windows = described.head == "sliding_window"
    graph = described.backbone.define(KerasLayers(), num_classes=num_classes + 1, channels=channels)
    if windows:  # Some families have layers between the pyramid and the classifier. Its input is a map of one cell.
        classified = keras.Model(graph.images, graph.output).get_layer(CLASSIFIER).input
        last = keras.layers.Reshape((1, 1, -1), name="classified")(classified)
    else:
        require_levels("config: model: the backbone", graph.levels)
        last = list(graph.levels.values())[-1]
    grid = 1 if windows else described.grid
    if grid > last.shape[1]:
        raise UserError(
            f"config: task.network.grid: {grid} x {grid} cells are more than the backbone's last feature map has "
            f"({last.shape[1]} x {last.shape[2]})"
        )
    features = Cells(grid, dtype="float32", name=FEATURES)(last)
    backbone = keras.Model(graph.images, features)
    for layer in backbone.layers:
        layer.trainable = False
    if described.head == "joint":
        outputs = joint_head(features, num_classes, described)
    elif described.head == "classic":
        outputs = linear_head(features, num_classes)
    else:  # a sliding window
        outputs = classifier_head(features, num_classes)
    network = Network(graph.images, outputs, name="rcnn")
    network.description = described
    network.levels = levels_of(network, graph)
    return network


def joint_head(features: keras.KerasTensor, classes: int, described: RCNN) -> list[keras.KerasTensor]:
    """Returns a softmax classifier with background and box regressors, on the dense layers `described.hidden`.

    Returns:
        logits [n, C + 1], background last; codes [n, C or 1, 4] with FAST_RCNN_WEIGHTS.
    """
    dropout = described.dropout

    def dense(units: int, **options: object) -> Dense:
        regularizer = keras.regularizers.L1(described.l1) if described.l1 else None
        return Dense(units, kernel_regularizer=regularizer, **options)

    def dropped(x: keras.KerasTensor, number: int) -> keras.KerasTensor:
        return keras.layers.Dropout(dropout, name=f"dropout_{number}")(x) if dropout else x

    precise = keras.config.floatx()
    x = Standardize(dtype=precise, name="standardize")(features)
    for number, units in enumerate(described.hidden):
        x = dense(units, activation="relu", name=f"hidden_{number}")(dropped(x, number))
    x = dropped(x, len(described.hidden))
    boxes = classes if described.class_boxes else 1
    logits = dense(classes + 1, dtype=precise, name="logits")(x)
    codes = dense(4 * boxes, dtype=precise, name="codes")(x)
    return [logits, keras.layers.Reshape((boxes, 4), dtype=precise, name="boxes")(codes)]


def linear_head(features: keras.KerasTensor, classes: int) -> list[keras.KerasTensor]:
    """Returns one linear SVM and one ridge regression per class.

    Returns:
        scores [n, C], the sigmoid of the SVM margins, so 0.5 is the decision boundary; codes [n, C, 4] with weights 1.
    """
    precise = keras.config.floatx()
    scores = keras.layers.Dense(classes, "sigmoid", dtype=precise, name="machines")(features)
    codes = keras.layers.Dense(4 * classes, dtype=precise, name="regressors")(features)
    return [scores, keras.layers.Reshape((classes, 4), dtype=precise, name="boxes")(codes)]


def classifier_head(features: keras.KerasTensor, classes: int) -> list[keras.KerasTensor]:
    """Returns the backbone's own classifier, whose last class is background. It does not change the boxes.

    Returns:
        scores [n, C], probabilities; codes [n, 1, 4], all 0.
    """
    precise = keras.config.floatx()
    probabilities = keras.layers.Dense(classes + 1, "softmax", dtype=precise, name=CLASSIFIER)(features)
    zeros = keras.ops.zeros_like(keras.ops.repeat(features[:, :1], 4, axis=1))
    return [probabilities[:, :-1], keras.layers.Reshape((1, 4), dtype=precise, name="boxes")(zeros)]
