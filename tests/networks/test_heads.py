"""The dense head: order of its predictions, and its initial values."""

import keras
import numpy as np

from tfeff.models.layers.kinds import KerasLayers
from tfeff.networks.blocks import ConvolutionUnit
from tfeff.networks.heads import dense_head

SIZES = {"P3": (3, 4), "P4": (2, 1)}
BOXES, VALUES = 2, 3
UNIT = ConvolutionUnit(
    layers=KerasLayers(), activation="relu", initializer="glorot_uniform", momentum=0.99, epsilon=1e-3
)


def test_rows_are_ordered_by_level_row_column_and_box() -> None:
    maps = {level: keras.Input((*size, 5)) for level, size in SIZES.items()}
    output = dense_head(
        UNIT, maps, name="head", repeats=1, separable=False, boxes=BOXES, values=VALUES, bias_value=-2.5
    )
    assert output.shape == (None, (3 * 4 + 2 * 1) * BOXES, VALUES)
    network = keras.Model(list(maps.values()), output)
    predict = network.get_layer("head_predict")
    np.testing.assert_array_equal(predict.bias, -2.5)
    probe = keras.Model(network.inputs, [node.outputs[0] for node in predict._inbound_nodes])
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(2, *size, 5)).astype("float32") for size in SIZES.values()]
    expected = [
        raw[:, row, column, box * VALUES : (box + 1) * VALUES]
        for raw in map(np.asarray, probe(images))
        for row in range(raw.shape[1])
        for column in range(raw.shape[2])
        for box in range(BOXES)
    ]
    np.testing.assert_allclose(network(images), np.stack(expected, axis=1), rtol=1e-5)


def test_without_repeats_only_the_last_convolution_remains() -> None:
    maps = {"P3": keras.Input((2, 2, 4))}
    output = dense_head(UNIT, maps, name="head", repeats=0, separable=True, boxes=1, values=2)
    network = keras.Model(maps["P3"], output)
    assert network.count_params() == 9 * 4 + 4 * 2 + 2
