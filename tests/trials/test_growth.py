"""Forecasts of accuracy with more images and compute."""

import numpy as np
import pytest

from tfeff.trials.growth import Training, fit


def curve(rng, exponent, *, error=0.3, macs_exponent=-0.15, sizes=(250, 500, 1000), validated=200, folds=4, noise=0.05):
    """Trainings under a power law, with binomial counts."""
    rows = []
    for fold in range(folds):
        effect = rng.normal(0, 0.1)
        for images in sizes:
            for macs in (1e8, 2e8):
                odds = error / (1 - error) * (images / 1000) ** exponent * (macs / 2e8) ** macs_exponent
                odds *= np.exp(effect + rng.normal(0, noise))
                wrong = rng.binomial(validated, odds / (1 + odds))
                rows.append(Training(images, macs, fold, wrong / validated, validated))
    return rows


def test_the_exponent_of_much_data_is_found():
    found = fit(curve(np.random.default_rng(0), -0.5, validated=20_000, folds=8, noise=0.01))
    mean, deviation = found.exponents["images"]
    assert mean == pytest.approx(-0.5, abs=0.04)
    assert deviation < 0.1


def test_twice_the_images_follow_the_power_law():
    found = fit(curve(np.random.default_rng(1), -0.5, validated=20_000, folds=8, noise=0.01))
    assert found.forecast(images=2.0).accuracy == pytest.approx(1 / (1 + 3 / 7 * 2**-0.5), abs=0.02)
    assert found.forecast(macs=4.0).accuracy == pytest.approx(1 / (1 + 3 / 7 * 4**-0.15), abs=0.02)
    assert found.forecast(images=1.0).accuracy == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("exponent", [-0.1, -0.35, -0.6])
def test_forecasts_from_half_of_the_images_lie_in_their_intervals(exponent):
    """Simulated: the accuracy with all images, forecast from trainings on at most half of them."""
    rng, inside, total = np.random.default_rng(2), 0, 300
    for _ in range(total):
        rows = curve(rng, exponent, sizes=(125, 250, 500, 1000))
        known = [row for row in rows if row.images <= 500]
        whole = [1 - row.error for row in rows if row.images == 1000 and row.macs == 2e8]
        forecast = fit(known).forecast(images=2.0, confidence=0.8, validated=200 * 4)
        inside += forecast.low <= np.mean(whole) <= forecast.high
    assert 0.72 < inside / total < 0.95


def test_a_gain_starts_at_the_measured_accuracy():
    found = fit(curve(np.random.default_rng(4), -0.35))
    for same in (found.gain(0.83), found.gain(0.83, images=1.0, macs=1.0)):
        assert (same.accuracy, same.gain, same.low, same.high) == (0.83, 0.0, 0.0, 0.0)


def test_a_gain_is_that_of_the_odds():
    found = fit(curve(np.random.default_rng(5), -0.5))
    factor = 2 ** found.exponents["images"][0] * 4 ** found.exponents["macs"][0]
    odds = 0.2 / 0.8 * factor
    gain = found.gain(0.8, images=2.0, macs=4.0)
    assert gain.accuracy == pytest.approx(1 / (1 + odds))
    assert gain.gain == pytest.approx(gain.accuracy - 0.8)
    assert gain.low < gain.gain < gain.high


@pytest.mark.parametrize(("exponent", "error", "validated"), [(-0.1, 0.3, 200), (-0.35, 0.05, 50), (-0.6, 0.3, 200)])
def test_intervals_of_gains_contain_them_although_folds_and_accuracy_vary(exponent, error, validated):
    rng, inside, narrower = np.random.default_rng(6), [], []
    for _ in range(200):
        odds, rows = error / (1 - error) * np.exp(rng.normal(0, 0.5, 4)), []
        for fold, each in enumerate(odds):
            for images in (250, 500, 1000):
                at = each * (images / 1000) ** exponent * np.exp(rng.normal(0, 0.05))
                rows.append(Training(images, 1e8, fold, rng.binomial(validated, at / (1 + at)) / validated, validated))
        found, measured = fit(rows), 1 - np.mean([row.error for row in rows if row.images == 1000])
        gain, level = found.gain(measured, images=2.0), found.forecast(images=2.0)
        twice = odds * 2**exponent
        inside.append(gain.low <= np.mean(odds / (1 + odds) - twice / (1 + twice)) <= gain.high)
        narrower.append(gain.high - gain.low < 0.7 * (level.high - level.low))
    assert np.mean(inside) > 0.92
    assert np.mean(narrower) > 0.95


@pytest.mark.parametrize("measured", [0.0, 1.0])
def test_gains_of_perfect_and_hopeless_accuracies_are_finite(measured):
    found = fit([Training(100 * size, 1e8, 0, 1 - measured, 50) for size in (1, 2, 4)])
    gain = found.gain(measured, images=4.0)
    assert 0.0 <= gain.accuracy <= 1.0
    assert -1.0 < gain.low <= gain.gain <= gain.high < 1.0


def test_without_data_on_images_the_prior_decides_and_is_wide():
    rows = [Training(1000, 1e8, fold, 0.2, 100) for fold in range(5)]
    found = fit(rows)
    assert found.exponents["images"][0] == pytest.approx(-0.35)
    forecast = found.forecast(images=2.0)
    assert forecast.low < 0.8 < forecast.high


def test_many_trainings_that_say_nothing_about_compute_leave_its_prior_as_it_is():
    rng = np.random.default_rng(3)
    rows = [row for row in curve(rng, -0.4, folds=8, noise=0.0) if row.macs == 1e8]
    mean, deviation = fit(rows).exponents["macs"]
    assert (mean, deviation) == (pytest.approx(-0.15), pytest.approx(0.15))


def test_longer_trainings_are_compared_on_the_same_folds():
    """Folds that differ by much do not hide what twice the epochs bring to each of them."""
    rows = []
    for fold, odds in enumerate(np.geomspace(0.05, 0.4, 24)):
        for epochs in (1.0, 2.0):
            reached = odds * epochs**-0.3
            rows.append(Training(1000, 1e8, fold, reached / (1 + reached), 20_000, epochs))
    found = fit(rows)
    assert found.exponents["epochs"][0] == pytest.approx(-0.3, abs=0.06)
    before, after = found.forecast(epochs=0.5), found.forecast()
    assert after.accuracy > before.accuracy


def test_accuracies_stay_in_range():
    perfect = fit([Training(100 * size, 1e8, 0, 0.0, 50) for size in (1, 2, 4)])
    forecast = perfect.forecast(images=4.0)
    assert 0.0 <= forecast.low <= forecast.accuracy <= forecast.high <= 1.0
    hopeless = fit([Training(100 * size, 1e8, 0, 1.0, 50) for size in (1, 2, 4)])
    forecast = hopeless.forecast(images=2.0)
    assert 0.0 <= forecast.low <= forecast.accuracy <= forecast.high <= 1.0


def test_nothing_cannot_be_fitted():
    with pytest.raises(ValueError, match="no training"):
        fit([])
