import math

import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.trials.objective import Objective

ROW = {"validation_accuracy": 0.75, "validation_loss": 0.9, "step_seconds": 0.02, "epoch": 12, "name": "trial"}


def test_accuracy_alone_ignores_cost():
    assert Objective().value(ROW, macs=1) == Objective().value(ROW, macs=1e9) == 0.75


def test_mnasnets_exponent_trades_twice_the_cost_for_five_percent_accuracy():
    # MnasNet, section 3.2: models of (latency, accuracy) = (l, a) and (2 l, 1.05 a) are equally good.
    objective = Objective(cost_target=4e8, exponent=-0.07)
    small = objective.value({"validation_accuracy": 0.70}, macs=3e8)
    large = objective.value({"validation_accuracy": 0.70 * 1.05}, macs=6e8)
    assert large == pytest.approx(small, rel=1e-3)
    assert objective.value({"validation_accuracy": 0.70}, macs=4e8) == 0.70
    assert small == pytest.approx(0.70 * math.exp(-0.07 * math.log(0.75)))


@pytest.mark.parametrize("metric", ["validation_loss", "step_seconds", "top1_error", "latency"])
@pytest.mark.parametrize("exponent", [0.0, -0.07, -1.0])
def test_a_minimized_metric_is_better_when_it_and_its_cost_are_lower(metric, exponent):
    objective = Objective(metric, cost_target=100.0, exponent=exponent)
    assert objective.minimized
    assert objective.value({metric: 0.5}, 100.0) > objective.value({metric: 0.6}, 100.0)
    cheap, costly = objective.value({metric: 0.5}, 100.0), objective.value({metric: 0.5}, 200.0)
    assert cheap == costly if exponent == 0.0 else cheap > costly


@pytest.mark.parametrize("exponent", [-0.07, -1.0])
def test_an_accuracy_is_better_when_it_is_higher_and_its_cost_lower(exponent):
    objective = Objective(cost_target=100.0, exponent=exponent)
    assert not objective.minimized
    assert objective.value({"validation_accuracy": 0.6}, 100.0) > objective.value({"validation_accuracy": 0.5}, 100.0)
    assert objective.value({"validation_accuracy": 0.6}, 100.0) > objective.value({"validation_accuracy": 0.6}, 101.0)


def test_any_numeric_type_is_a_metric():
    row = {"validation_accuracy": np.float32(0.5), "epoch": 3}
    assert Objective().value(row, 1.0) == 0.5
    assert Objective("epoch").value(row, 1.0) == 3.0
    assert math.isnan(Objective().value({"validation_accuracy": float("nan")}, 1.0))


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(UserError, match=r'"validation_acuracy".*did you mean "validation_accuracy".*validation_loss'):
        Objective("validation_acuracy").value(ROW, 1.0)
    with pytest.raises(UserError, match="known: epoch, step_seconds, validation_accuracy, validation_loss"):
        Objective("zzz").value(ROW, 1.0)
    with pytest.raises(UserError, match='"name"'):
        Objective("name").value(ROW, 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exponent": 0.07, "cost_target": 1.0}, "reward cost"),
        ({"exponent": float("nan"), "cost_target": 1.0}, "exponent"),
        ({"exponent": -0.07}, "cost_target is not set"),
        ({"exponent": -0.07, "cost_target": 0.0}, "positive number"),
        ({"cost_target": -1.0}, "positive number"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Objective(**settings)
