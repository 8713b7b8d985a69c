import numpy as np
import pytest

from tfeff import config, selection, training
from tfeff.errors import UserError
from tfeff.training import checks


def digits(**data):
    model = config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8)
    return config.Experiment(model=model, data=config.Data(**{"source": "embedded:digits", "channels": 1} | data))


def test_dataset_normalization_reaches_the_network():
    settings = digits(normalization="dataset")
    dataset = selection.choose(
        selection.request(settings), selection.read(selection.request(settings), lambda *_: None)
    )
    images = next(dataset.train.chunks(len(dataset.train))).astype(np.float64)
    assert dataset.mean == pytest.approx([images.mean()], rel=1e-5)
    assert dataset.std == pytest.approx([images.std()], rel=1e-5)
    network = training.Plan.of(settings).learned(dataset.record()).build_network()
    rescaling = next(layer for layer in network.layers if type(layer).__name__ == "Rescaling")
    standardised = np.asarray(rescaling(images))
    assert standardised.mean() == pytest.approx(0, abs=1e-4)
    assert standardised.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("key", ["frozen=stm*", "learning_rate_factors=stm*=0.1"])
def test_patterns_are_checked_before_images_are_read(key):
    settings = config.override(digits(), [f"optimizer.{key}"])
    with pytest.raises(UserError, match=r"optimizer.*'stm\*' matches no variable.*did you mean \"stem\*\""):
        checks.check(training.Plan.of(settings), 1, new_run=True)
