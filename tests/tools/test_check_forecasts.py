"""Forecasts beside what is reached."""

import numpy as np
import pytest

from tfeff.errors import UserError


@pytest.fixture
def check(import_tool):
    return import_tool("check_forecasts")


def test_a_power_law_is_forecast(check):
    accuracies = {
        images: [1 - odds / (1 + odds) for odds in np.array([0.5, 0.4, 0.6]) * (images / 100) ** -0.35]
        for images in (100, 200, 400)
    }
    row = check.compared("small", accuracies, 1000, folds=3)
    assert row["with 400 images"] == pytest.approx(np.mean(accuracies[400]))
    assert row["forecast"] == pytest.approx(row["with 400 images"], abs=0.01)
    assert row["from"] < row["forecast"] < row["up to"]
    assert row["inside"]


def test_a_sudden_fall_is_outside(check):
    row = check.compared("small", {100: [0.8] * 3, 200: [0.85] * 3, 400: [0.3] * 3}, 1000, folds=3)
    assert not row["inside"]


def test_a_failed_training_is_named(check):
    values = {("small", 0.25): {(0, 0): 0.9, (1, 0): 0.9}, ("small", 1.0): {(0, 0): 0.9}}
    check.require_complete(values, [(0, 0)])
    with pytest.raises(UserError, match="small, 1 of the images, fold 1: its training failed"):
        check.require_complete(values, [(0, 0), (1, 0)])
