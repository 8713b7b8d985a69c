"""ConvNeXt: published counts, scaling and stochastic depth."""

import math

import keras
import numpy as np
import pytest

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
SMALL = {"resolution": 32, "width_coefficient": 0.1, "num_classes": 3}


def test_published_counts() -> None:
    assert set(models.names("convnext")) == set(PUBLISHED) == set(PARAMETERS)
    for name, (millions, billions) in PUBLISHED.items():
        cost = models.estimate(models.architecture(name))
        assert cost.params == cost.trainable_params == PARAMETERS[name]
        assert (round(cost.params / 1e6), round(cost.macs / 1e9, 1)) == (millions, billions)


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
        ({"layer_scale": math.inf}, "layer_scale inf"),
    ],
)
def test_wrong_options_raise_errors(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build("convnext-tiny", **options)
