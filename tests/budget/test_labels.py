"""Wrong labels are found, and their cost, among features of handwritten digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfeff.budget.labels import Labels, compared
from tfeff.errors import UserError

IMAGES = 600


def digits(share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features and labels, of which some of the first half are drawn at random, and which these are."""
    data, rng = load_digits(), np.random.default_rng(seed)
    chosen = rng.permutation(len(data.target))[: 2 * IMAGES]
    labels = data.target[chosen].copy()
    wrong = (rng.random(2 * IMAGES) < share) & (np.arange(2 * IMAGES) < IMAGES)
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, wrong.sum())) % 10
    return data.data[chosen], labels, wrong


def test_correct_labels_cost_nothing() -> None:
    features, labels, _ = digits(0.0, 0)
    found = compared(features, labels, IMAGES)
    assert found.images == IMAGES
    assert found.suspects < 0.03 * IMAGES
    assert found.low < 0 < found.high


@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_are_counted_and_cost_accuracy(seed: int) -> None:
    features, labels, wrong = digits(0.4, seed)
    found = compared(features, labels, IMAGES)
    assert 0.7 * wrong.sum() < found.suspects < 1.4 * wrong.sum()
    assert found.low < found.gain < found.high
    assert found.high > 0.01
    assert found.gain > -0.005


def test_other_classes_do_not_matter() -> None:
    features, labels, _ = digits(0.2, 0)
    assert compared(features, 7 * labels + 3, IMAGES) == compared(features, labels, IMAGES)


def test_a_class_without_training_images_is_always_wrong() -> None:
    features, labels, _ = digits(0.0, 0)
    kept = (np.arange(2 * IMAGES) >= IMAGES) | (labels != 9)
    found = compared(features[kept], labels[kept], int(kept[:IMAGES].sum()))
    assert isinstance(found, Labels)


def test_too_few_images() -> None:
    features, labels, _ = digits(0.0, 0)
    with pytest.raises(UserError):
        compared(features[: IMAGES + 3], labels[: IMAGES + 3], 3)
