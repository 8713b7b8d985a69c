"""The forecast of a search counts every image that its trials train on."""

import dataclasses
from types import SimpleNamespace

import pytest

from tfeff import config
from tfeff.scaling import search
from tfeff.scaling.study import prepare
from tfeff.trials.forecast import VALIDATION_SHARE

GIVEN = config.Search(
    experiment=config.Experiment(
        model=config.Model(name="resnet", width=4, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1),
        training=config.Training(epochs=7, batch_size=50, validation_epochs=7),
    ),
    coefficients=(1.2, 1.1, 1.15),
    folds=config.Folds(count=2, examples=200, validation_fraction=0.25, validation_split="test"),
    trials=config.Trials(batch_size="fixed", learning_rate="held_out"),
    members=config.Members(phis=(2.0,), methods=("width", "compound")),
)


def test_trainings_that_find_learning_rates_are_counted(monkeypatch):
    timing = {"start": 0.0, "image": 1e-3}
    monkeypatch.setattr(search, "collect", lambda executor, calls: dict.fromkeys(calls, timing))
    fixed = dataclasses.replace(GIVEN, trials=config.Trials(batch_size="fixed", learning_rate="fixed"))
    seconds = [search.forecast(prepare(each), SimpleNamespace(slots=1)).members for each in (fixed, GIVEN)]
    networks, rates, epochs = 3, 3, 3  # the baseline and two members; a third of seven epochs, rounded up
    added = networks * rates * (epochs * 150 + 50 * VALIDATION_SHARE) * 1e-3
    assert seconds[1] - seconds[0] == pytest.approx(added)
    validated = prepare(GIVEN).examples[1]
    assert seconds[0] == pytest.approx(networks * 2 * (7 * 200 + validated * VALIDATION_SHARE) * 1e-3)
