"""Permutations of labels, against a search over all of them."""

import itertools

import numpy as np
import pytest

from tfeff.analysis.diagnosis import predicted_labels


@pytest.mark.parametrize(("right", "learned"), [(20, True), (2, False)])
def test_images_of_one_class_that_are_right_do_not_mean_that_nothing_was_learned(right: int, learned: bool) -> None:
    probabilities = np.eye(2, dtype=np.float32)[[0] * right + [1] * (20 - right)]
    train = predicted_labels.ClassifierPredictions(np.zeros(20, np.int32), probabilities)
    assert predicted_labels.learned(train) == learned


@pytest.mark.parametrize("seed", range(5))
def test_no_permutation_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 4, (2, 40))
    found = predicted_labels.best_permutation(labels, predicted, 4)
    shares = [np.mean(np.array(order)[labels] == predicted) for order in itertools.permutations(range(4))]
    assert found.explained == pytest.approx(max(shares))
    assert np.mean(np.array(found.predicted)[labels] == predicted) == pytest.approx(max(shares))
    assert found.agreement == pytest.approx(np.mean(labels == predicted))


@pytest.mark.parametrize("shift", [-1, 1, 2])
def test_a_shift_is_named(shift: int) -> None:
    labels = np.arange(30) % 5
    found = predicted_labels.best_permutation(labels, (labels + shift) % 5, 5)
    assert (found.agreement, found.explained, found.shift) == (0.0, 1.0, shift)
    finding = predicted_labels.finding("test", found, "abcde")
    assert finding is not None
    assert ("off by one" in finding.what) == (abs(shift) == 1)


@pytest.mark.parametrize("wrong", [0, 9])
def test_correct_or_merely_poor_predictions_are_no_permutation(wrong: int) -> None:
    labels = np.arange(30) % 3
    predicted = np.where(np.arange(30) < wrong, (labels + 1) % 3, labels)
    assert predicted_labels.finding("test", predicted_labels.best_permutation(labels, predicted, 3), "abc") is None


@pytest.mark.parametrize("frequent", [0.8, 0.6])
def test_constant_predictions_are_no_permutation(frequent: float) -> None:
    labels = np.int64([0] * round(50 * frequent) + [1] * round(50 * (1 - frequent)))
    for predicted in (0, 1):
        found = predicted_labels.best_permutation(labels, np.full(50, predicted), 2)
        assert predicted_labels.finding("train", found, "ab") is None
    swapped = predicted_labels.best_permutation(labels, 1 - labels, 2)
    assert predicted_labels.finding("train", swapped, "ab") is not None
