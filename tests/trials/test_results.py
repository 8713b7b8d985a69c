import math

import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.trials.results import Job, TrialObjective, by_block, by_fold, finite


def test_failed_and_missing_trials_have_no_value():
    results = {
        Job("a", 0, 0, 4): 0.5,
        Job("a", 1, 0, 4): None,
        Job("a", 2, 0, 4): math.nan,
        Job("b", 0, 0, 2): 0.75,  # of another length
    }
    blocks = [(fold, 0) for fold in range(4)]
    assert by_block(results, 4, "ab", blocks) == {"a": {(0, 0): 0.5}, "b": {}}
    assert finite({(0, 0): math.inf, (1, 0): None, (2, 0): 0.0}) == {(2, 0): 0.0}


def test_a_fold_is_the_mean_of_its_seeds_that_succeeded():
    results = {Job("a", 0, 0, 4): 0.5, Job("a", 0, 1, 4): 0.75, Job("a", 1, 0, 4): None, Job("a", 1, 1, 4): 0.25}
    blocks = [(fold, seed) for seed in range(2) for fold in range(2)]
    assert by_fold(results, 4, ["a"], blocks) == {"a": {(0, 0): 0.625, (1, 0): 0.25}}


ROW = {"validation_accuracy": 0.75, "validation_loss": 0.9, "step_seconds": 0.02, "epoch": 12, "name": "trial"}


def test_accuracy_alone_ignores_cost():
    assert TrialObjective().value(ROW, macs=1) == TrialObjective().value(ROW, macs=1e9) == 0.75


def test_mnasnets_exponent_trades_twice_the_cost_for_five_percent_accuracy():
    # MnasNet, section 3.2: models of (latency, accuracy) = (l, a) and (2 l, 1.05 a) are equally good.
    objective = TrialObjective(cost_target=4e8, exponent=-0.07)
    small = objective.value({"validation_accuracy": 0.70}, macs=3e8)
    large = objective.value({"validation_accuracy": 0.70 * 1.05}, macs=6e8)
    assert large == pytest.approx(small, rel=1e-3)
    assert objective.value({"validation_accuracy": 0.70}, macs=4e8) == 0.70
    assert small == pytest.approx(0.70 * math.exp(-0.07 * math.log(0.75)))


@pytest.mark.parametrize("metric", ["validation_loss", "step_seconds", "top1_error", "latency"])
@pytest.mark.parametrize("exponent", [0.0, -0.07, -1.0])
def test_a_minimized_metric_is_better_when_it_and_its_cost_are_lower(metric, exponent):
    objective = TrialObjective(metric, cost_target=100.0, exponent=exponent)
    assert objective.minimized
    assert objective.value({metric: 0.5}, 100.0) > objective.value({metric: 0.6}, 100.0)
    cheap, costly = objective.value({metric: 0.5}, 100.0), objective.value({metric: 0.5}, 200.0)
    assert cheap == costly if exponent == 0.0 else cheap > costly


@pytest.mark.parametrize("exponent", [-0.07, -1.0])
def test_an_accuracy_is_better_when_it_is_higher_and_its_cost_lower(exponent):
    objective = TrialObjective(cost_target=100.0, exponent=exponent)
    assert not objective.minimized
    assert objective.value({"validation_accuracy": 0.6}, 100.0) > objective.value({"validation_accuracy": 0.5}, 100.0)
    assert objective.value({"validation_accuracy": 0.6}, 100.0) > objective.value({"validation_accuracy": 0.6}, 101.0)


def test_any_numeric_type_is_a_metric():
    row = {"validation_accuracy": np.float32(0.5), "epoch": 3}
    assert TrialObjective().value(row, 1.0) == 0.5
    assert TrialObjective("epoch").value(row, 1.0) == 3.0
    assert math.isnan(TrialObjective().value({"validation_accuracy": float("nan")}, 1.0))


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(UserError, match=r'"validation_acuracy".*did you mean "validation_accuracy".*validation_loss'):
        TrialObjective("validation_acuracy").value(ROW, 1.0)
    with pytest.raises(UserError, match="known: epoch, step_seconds, validation_accuracy, validation_loss"):
        TrialObjective("zzz").value(ROW, 1.0)
    with pytest.raises(UserError, match='"name"'):
        TrialObjective("name").value(ROW, 1.0)


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
        TrialObjective(**settings)


@pytest.mark.parametrize(
    ("objective", "bounded"),
    [
        (TrialObjective(), True),
        (TrialObjective("validation_mean_ap"), True),
        (TrialObjective("validation_localization_accuracy"), True),
        (TrialObjective("validation_accuracy", cost_target=1e8), True),
        (TrialObjective("validation_accuracy", cost_target=1e8, exponent=-0.07), False),
        (TrialObjective("validation_loss"), False),
        (TrialObjective("validation_error"), False),
        (TrialObjective("validation_score_threshold"), False),
    ],
)
def test_unweighted_accuracies_are_bounded(objective, bounded):
    assert objective.bounded == bounded
    assert 0.0 <= objective.value({objective.metric: 0.9}, macs=5.0) <= 1.0 or not bounded
