"""Rows of the table of kinds, compared with the Keras layers that they describe."""

import dataclasses
import math
from typing import Any

import keras
import pytest

from tfeff.models.cost.complexity import count
from tfeff.models.layers.kinds import KINDS, KerasLayers, Kind, described, kind_of

MAP = (9, 7, 4)
"""Odd sides, so that padding and rounding matter."""
REGIONS = (6, 4)
# Kind -> cases: input shapes without the batch, and settings.
CASES: dict[str, list[tuple[list[tuple[int, ...]], dict[str, Any]]]] = {
    "convolution": [
        ([MAP], {"filters": 5, "kernel_size": 3, "padding": "same"}),
        ([MAP], {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}),
        ([MAP], {"filters": 6, "kernel_size": 4, "strides": 4, "padding": "same"}),
        ([MAP], {"filters": 6, "kernel_size": 3, "strides": 2}),
        ([MAP], {"filters": 6, "kernel_size": 3, "padding": "same", "groups": 2}),
    ],
    "depthwise_convolution": [
        ([MAP], {"kernel_size": 7, "padding": "same"}),
        ([MAP], {"kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}),
        ([MAP], {"kernel_size": 3, "strides": 2}),
    ],
    "dense": [([MAP], {"units": 3}), ([(6,)], {"units": 3})],
    "batch_normalization": [([MAP], {"momentum": 0.9, "epsilon": 1e-3})],
    "weighted_fusion": [
        ([MAP] * 3, {"method": "fast", "weights_per": "input"}),
        ([MAP] * 2, {"method": "softmax", "weights_per": "channel"}),
        ([MAP] * 2, {"method": "unbounded", "weights_per": "pixel"}),
    ],
    "layer_normalization": [([MAP], {"epsilon": 1e-6}), ([(6,)], {"epsilon": 1e-6})],
    "layer_scale": [([MAP], {"initial_value": 1e-6}), ([(6,)], {"initial_value": 1e-6})],
    "rescaling": [([MAP], {"scale": 2.0, "offset": 1.0})],
    "activation": [([MAP], {"activation": "gelu"}), ([(6,)], {"activation": "linear"})],
    "add": [([MAP] * 2, {}), ([MAP] * 3, {})],
    "multiply": [([MAP] * 2, {}), ([MAP, (1, 1, 4)], {})],
    "stochastic_depth": [([MAP], {"survival_probability": 0.5})],
    "dropout": [([MAP], {"rate": 0.5}), ([(6,)], {"rate": 0.5})],
    "stop_gradient": [([MAP], {}), ([(6,)], {})],
    "zero_padding": [([MAP], {"padding": 2})],
    "max_pooling": [
        ([MAP], {"pool_size": 3, "strides": 2, "padding": "same"}),
        ([MAP], {"pool_size": 2, "strides": 2}),
        ([MAP], {"pool_size": 1, "strides": 2, "padding": "same"}),
    ],
    "average_pooling": [
        ([MAP], {"pool_size": 3, "strides": 2, "padding": "same"}),
        ([MAP], {"pool_size": 2, "strides": 2}),
    ],
    "global_average_pooling": [([MAP], {}), ([MAP], {"keepdims": True})],
    "global_max_pooling": [([MAP], {}), ([MAP], {"keepdims": True})],
    "nearest_upsampling": [([MAP], {"factor": 2, "size": (17, 14)})],
    "concatenate": [
        ([MAP, (9, 7, 2)], {"axis": 3}),
        ([MAP, (5, 7, 4), (1, 7, 4)], {"axis": 1}),
    ],
    "roi_align": [([(16, 8, 4), (8, 4, 4), REGIONS], {"levels": (2, 3), "size": 5})],
    "roi_max_pooling": [([MAP, REGIONS], {"level": 2, "size": 3})],
    "reshape": [([MAP], {"target_shape": (63, 4)}), ([MAP], {"target_shape": (-1, 2)})],
}


def test_the_cases_are_all_kinds_that_descriptions_use() -> None:
    (unknown,) = [field.default for field in dataclasses.fields(Kind) if field.name == "shape"]
    assert set(CASES) == {name for name, kind in KINDS.items() if kind.shape is not unknown}


@pytest.mark.parametrize(
    ("name", "shapes", "settings"),
    [
        pytest.param(name, *case, id=f"{name}{number}")
        for name, cases in CASES.items()
        for number, case in enumerate(cases)
    ],
)
def test_a_row_equals_the_built_layer(name: str, shapes: list[tuple[int, ...]], settings: dict[str, Any]) -> None:
    kind = described(name)
    images = [keras.Input(shape) for shape in shapes]
    maps = [images[:-1], images[-1]] if name == "roi_align" else images  # the maps of all levels, and the boxes
    output = getattr(KerasLayers(), name)(*maps, **settings, name="layer")
    network = keras.Model(images, output)
    layer = network.get_layer("layer")
    assert isinstance(layer, kind.layer)
    assert kind_of(type(layer)) is kind

    given = list(shapes) if kind.merges else shapes[0]
    assert kind.shape(given, settings) == tuple(output.shape[1:])
    kernel, trainable, fixed = (0, 0, 0) if kind.weights is None else kind.weights(given, settings)
    assert kernel + trainable + fixed == layer.count_params()
    assert kernel + trainable == sum(math.prod(weight.shape) for weight in layer.trainable_variables)
    # The kernel is what each position multiplies by; `count` finds it as an attribute of the layer.
    positions = math.prod((output.shape if kind.macs == "output" else images[0].shape)[1:-1])
    assert positions * kernel == count(network).macs
