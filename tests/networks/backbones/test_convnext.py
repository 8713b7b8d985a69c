"""ConvNeXt: published counts, the outputs of keras.applications, scaling and stochastic depth."""

import re

import keras
import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.layers.residual import StochasticDepth

PUBLISHED = {  # millions of parameters and billions of multiply-adds at 224 x 224: tables 1 and 12 of the paper
    "convnext-tiny": (29, 4.5),
    "convnext-small": (50, 8.7),
    "convnext-base": (89, 15.4),
    "convnext-large": (198, 34.4),
    "convnext-xlarge": (350, 60.9),
}
PARAMETERS = {  # of facebookresearch/ConvNeXt, models/convnext.py, with 1,000 classes
    "convnext-tiny": 28_589_128,
    "convnext-small": 50_223_688,
    "convnext-base": 88_591_464,
    "convnext-large": 197_767_336,
    "convnext-xlarge": 350_196_968,
}
APPLICATIONS = {
    "convnext-tiny": "ConvNeXtTiny",
    "convnext-small": "ConvNeXtSmall",
    "convnext-base": "ConvNeXtBase",
}
SMALL = {"resolution": 32, "width_coefficient": 0.1, "num_classes": 3}


def test_published_counts() -> None:
    assert set(models.names("convnext")) == set(PUBLISHED) == set(PARAMETERS)
    for name, (millions, billions) in PUBLISHED.items():
        cost = models.estimate(models.architecture(name))
        assert cost.params == cost.trainable_params == PARAMETERS[name]
        assert (round(cost.params / 1e6), round(cost.macs / 1e9, 1)) == (millions, billions)


def theirs_name(layer: str, prefix: str) -> str | None:
    """Name of one of our layers in keras.applications, which counts stages and blocks from 0."""
    ends = {
        "stem_conv": "stem_conv",
        "stem_norm": "stem_layernorm",
        "head_norm": "head_layernorm",
        "head_classifier": "head_dense",
    }
    units = {
        "depthwise_conv": "depthwise_conv",
        "norm": "layernorm",
        "expand": "pointwise_conv_1",
        "project": "pointwise_conv_2",
        "layer_scale": "layer_scale",
    }
    if layer in ends:
        return f"{prefix}_{ends[layer]}"
    parts = re.fullmatch(r"stage(\d)_block(\d+)_(\w+)", layer)
    assert parts is not None
    stage, block = int(parts[1]) - 1, int(parts[2]) - 1
    if parts[3].startswith("downsample"):
        return f"{prefix}_downsampling_{'conv' if parts[3].endswith('conv') else 'layernorm'}_{stage - 1}"
    return f"{prefix}_stage_{stage}_block_{block}_{units[parts[3]]}"


@pytest.mark.parametrize("name", ["convnext-tiny", thorough("convnext-small"), thorough("convnext-base")])
def test_outputs_equal_keras_applications(name: str) -> None:
    """With the same random weights, in single precision.

    Convolutions of stride 4 and 2 have no padding there, so the outputs agree for multiples of 32.
    """
    theirs = getattr(keras.applications, APPLICATIONS[name])(
        weights=None, input_shape=(64, 64, 3), include_top=True, classifier_activation=None, classes=10
    )
    ours = models.build(name, resolution=64, num_classes=10)
    assert ours.count_params() == theirs.count_params()
    rng, used = np.random.default_rng(0), set()
    layers = {layer.name: layer for layer in theirs._flatten_layers()}
    for layer in ours.layers:
        if not layer.weights:
            continue
        source = layers[theirs_name(layer.name, theirs.name)]
        used.add(source.name)
        for weight, other in zip(layer.weights, source.weights, strict=True):
            assert other.name == weight.name or layer.name.endswith("layer_scale")  # theirs has no name
            if weight.name in ("gamma", "beta", "bias"):  # their initial values would hide a mistake
                other.assign(rng.uniform(*((0.5, 0.9) if weight.name == "gamma" else (-0.3, 0.3)), other.shape))
            value = np.asarray(other)
            grouped = weight.name == "kernel" and layer.name.endswith("depthwise_conv")  # (7, 7, 1, channels)
            weight.assign(value.transpose(0, 1, 3, 2) if grouped else value)
    assert used == {
        layer.name for layer in layers.values() if layer.trainable_weights and not isinstance(layer, keras.Model)
    }
    images = rng.integers(0, 256, (2, 64, 64, 3)).astype("float32")
    expected = np.asarray(theirs(images))
    assert np.abs(expected[0] - expected[1]).max() > 1e-2  # outputs depend on the image
    np.testing.assert_allclose(ours(images), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("depth_coefficient", [0.3, 1.0])
def test_survival_probability_decreases_linearly_from_one(depth_coefficient: float) -> None:
    """As in the published implementation: `torch.linspace(0, drop_path_rate, sum(depths))`."""
    network = models.build("convnext-tiny", depth_coefficient=depth_coefficient, survival_probability=0.6, **SMALL)
    got = [layer.survival_probability for layer in network.layers if isinstance(layer, StochasticDepth)]
    assert len(got) == sum(models.architecture("convnext-tiny", depth_coefficient=depth_coefficient).blocks)
    np.testing.assert_allclose(got, 1 - np.linspace(0, 0.4, len(got)), rtol=1e-12)
    always = models.build("convnext-tiny", survival_probability=1.0, **SMALL)
    assert not [layer for layer in always.layers if isinstance(layer, StochasticDepth)]


def test_every_block_starts_close_to_its_shortcut() -> None:
    network = models.build("convnext-tiny", **SMALL)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    first, last = (network.get_layer(f"stage3_block{block}_add").output for block in (1, 9))
    start, end = (np.asarray(each) for each in keras.Model(network.input, [first, last])(images))
    assert 0 < np.abs(end - start).max() < 1e-4 * np.abs(start).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width 0"),
        ({"stage_blocks": (3, 3, 9)}, "each of the 4 stages"),
        ({"stage_blocks": (3, 3, 0, 3)}, "at least 1"),
        ({"survival_probability": 0.0}, "survival_probability 0.0"),
        ({"layer_scale": 0.0}, "layer_scale 0.0"),
    ],
)
def test_wrong_options_raise_errors(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build("convnext-tiny", **options)
