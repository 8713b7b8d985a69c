import numpy as np
import pytest
from scipy import special
from sklearn.calibration import calibration_curve

from tfeff.evaluation import calibration, temperature


def brute_force(confidences, correct, bins, weights):
    """Guo et al. 2017, equations 2 to 5, one example at a time."""
    expected, largest = 0.0, 0.0
    for m in range(1, bins + 1):
        inside = [i for i, p in enumerate(confidences) if (m - 1) / bins < p <= m / bins]
        total = sum(weights[i] for i in inside)
        if total:
            accuracy = sum(weights[i] * correct[i] for i in inside) / total
            confidence = sum(weights[i] * confidences[i] for i in inside) / total
            expected += total / sum(weights) * abs(accuracy - confidence)
            largest = max(largest, abs(accuracy - confidence))
    return expected, largest


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bins", [1, 8, 15])
def test_errors_equal_the_equations_of_the_paper(bins, weighted):
    rng = np.random.default_rng(0)
    confidences, correct = rng.uniform(0.3, 1.0, 300), rng.random(300) < 0.7
    weights = rng.uniform(0.0, 2.0, 300) if weighted else np.ones(300)
    result = calibration(confidences, correct, bins, weights if weighted else None)
    expected, largest = brute_force(confidences, correct, bins, weights)
    assert result.expected_error == pytest.approx(expected)
    assert result.maximum_error == pytest.approx(largest)
    assert result.weight.sum() == pytest.approx(weights.sum())


def test_bins_equal_scikit_learn():
    rng = np.random.default_rng(1)
    confidences, correct = rng.random(500), rng.random(500) < 0.5
    result = calibration(confidences, correct, bins=10)
    accuracy, confidence = calibration_curve(correct, confidences, n_bins=10)
    filled = result.weight > 0
    np.testing.assert_allclose(result.accuracy[filled], accuracy)
    np.testing.assert_allclose(result.confidence[filled], confidence)


def test_a_confidence_on_an_edge_falls_into_the_bin_below():
    result = calibration([0.0, 0.25, 0.5, 1.0, 1.0 + 1e-7], [False, False, True, True, True], bins=4)
    assert result.weight.tolist() == [2, 1, 0, 2]
    assert np.isnan(result.accuracy[2])


def test_perfectly_calibrated_predictions_have_no_error():
    confidences, correct = np.repeat([0.5, 0.75, 1.0], 4), [1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1]
    assert calibration(confidences, correct).expected_error == 0.0
    assert calibration(confidences, correct).maximum_error == 0.0


def test_temperature_undoes_a_scale_and_leaves_calibrated_predictions():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    labels = np.array([rng.choice(4, p=row) for row in special.softmax(logits, axis=1)])
    for scale in (0.3, 1.0, 4.0):
        found = temperature(labels, special.softmax(scale * logits, axis=1))
        assert found == pytest.approx(scale, rel=0.03)
        assert temperature(labels, special.softmax(scale * logits / found, axis=1)) == pytest.approx(1, abs=1e-6)
    assert temperature([0, 1], [[0.9, 0.1], [0.2, 0.8]]) == 1.0  # all correct: undetermined
    assert temperature([1, 0], [[0.9, 0.1], [0.2, 0.8]]) == 1.0  # all wrong
