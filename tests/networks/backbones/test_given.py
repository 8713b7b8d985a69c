"""The description of an own backbone as a section of configs."""

import pytest

from tfeff import config
from tfeff.config import Experiment
from tfeff.errors import UserError
from tfeff.networks.backbones.given import Given

VALUES = {"model.name": "given", "model.graph": "mine-1", "model.initial": "2", "model.levels": ("P2=a", "P3=b=c")}


def test_a_config_with_an_own_backbone_is_restored():
    settings = config.override(Experiment(), VALUES)
    assert isinstance(settings.model, Given)
    assert config.from_json(config.to_json(settings), Experiment) == settings
    assert settings.model.levels == ("P2=a", "P3=b=c")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.weights", "imagenet", "only networks of the package have published weights"),
        ("model.levels", ("P3",), "must be like P3=LAYER"),
        ("model.width_coefficient", 2.0, 'no key "width_coefficient"'),
        ("model.bn_momentum", 0.9, 'no key "bn_momentum"'),
        ("model.resolution", 4, "at least 8"),
    ],
)
def test_what_an_own_backbone_does_not_have_is_refused(key, value, message):
    with pytest.raises(UserError, match=message):
        config.override(Experiment(), {**VALUES, key: value})


def test_an_own_backbone_is_not_scaled():
    settings = config.override(Experiment(), VALUES)
    with pytest.raises(UserError, match=r"tfeff\.search cannot scale it"):
        settings.model.scaled(depth=1.0, width=1.0, resolution=32)
    with pytest.raises(UserError, match=r"model\.name: a network of the package"):
        config.Search(experiment=settings)


def test_transfer_accepts_the_weights_of_an_own_backbone():
    config.override(Experiment(), {**VALUES, "optimizer.transfer": "auto"})
    with pytest.raises(UserError, match=r"optimizer\.transfer requires model\.weights"):
        config.override(Experiment(), {**VALUES, "model.pretrained": False, "optimizer.transfer": "auto"})
