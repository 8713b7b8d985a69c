"""How far an average reaches back."""

import math

import pytest

from tfeff import config
from tfeff.errors import UserError
from tfeff.training import build


@pytest.mark.parametrize("batch_size", [8, 64])
def test_an_average_over_images_has_the_same_weights_whatever_the_batch(batch_size: int) -> None:
    training = config.Training(batch_size=batch_size, ema_images=5_000.0)
    averages, decay = build.averaging(config.Experiment(training=training))
    assert averages
    assert decay is not None
    assert decay ** (5_000 / batch_size) == pytest.approx(1 / math.e)


def test_one_average_at_most() -> None:
    assert build.averaging(config.Experiment()) == (False, None)
    assert build.averaging(config.Experiment(training=config.Training(swa_epochs=2))) == (True, None)
    assert build.averaging(config.Experiment(training=config.Training(ema_decay=0.9))) == (True, 0.9)
    with pytest.raises(UserError, match=r"training\.ema_images"):
        config.Training(ema_images=100.0, ema_decay=0.9)
