"""Hard-negative mining against machines that see every negative at once."""

from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from tfeff.rcnn import svm as module
from tfeff.rcnn.svm import Mining, machines


def machine(
    features: np.ndarray, positive: np.ndarray, negative: np.ndarray, **settings: Any
) -> tuple[np.ndarray, float]:
    """That of a single class."""
    overlaps = np.ones((len(features), 1), np.float32)
    overlaps[negative] = 0.0
    weights, biases = machines(features, [positive], overlaps, negative_overlap=0.3, **settings)
    return weights[:, 0], float(biases[0])


def problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positives = rng.normal(0.6, 1.0, (150, 12))
    negatives = rng.normal(-0.2, 1.0, (6000, 12))
    features = np.concatenate([positives, negatives]).astype(np.float32)
    return features, np.arange(150), np.arange(150, len(features))


def objective(
    features: np.ndarray, positive: np.ndarray, weights: np.ndarray, bias: float, penalty: float, weight: float
) -> float:
    """LinearSVC's: half the squared norm (its bias included) and C times the squared hinge loss."""
    signs = -np.ones(len(features))
    signs[positive] = 1
    costs = np.where(signs > 0, weight, 1.0) * penalty
    hinge = np.maximum(0, 1 - signs * (features @ weights + bias))
    return float(0.5 * (weights @ weights + bias**2) + (costs * hinge**2).sum())


def test_with_every_negative_from_the_start_it_is_scikit_learns() -> None:
    features, positive, negative = problem(0)
    weights, bias = machine(
        features,
        positive,
        negative,
        penalty=0.01,
        positive_weight=2.0,
        mining=Mining(first=len(negative), rounds=1),
        seed=0,
    )
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    theirs = LinearSVC(C=0.01, class_weight={1: 2.0}, dual=False).fit(features, labels)
    np.testing.assert_allclose(weights, theirs.coef_[0], atol=1e-3)
    np.testing.assert_allclose(bias, theirs.intercept_[0], atol=1e-3)


def test_mining_finds_the_machine_of_all_negatives() -> None:
    # A squared hinge has no pull beyond its margin, so that easy negatives do not matter.
    for seed in range(3):
        features, positive, negative = problem(seed)
        settings = {"penalty": 0.01, "positive_weight": 2.0, "seed": seed}
        few = machine(features, positive, negative, mining=Mining(first=300, rounds=20, hardest=2000), **settings)
        every = machine(features, positive, negative, mining=Mining(first=len(negative), rounds=1), **settings)
        costs = [objective(features, positive, *found, 0.01, 2.0) for found in (few, every)]
        assert costs[0] <= costs[1] * 1.001


def test_the_same_seed_gives_the_same_machine() -> None:
    features, positive, negative = problem(1)
    found = [
        machine(features, positive, negative, penalty=0.1, positive_weight=1.0, mining=Mining(first=200), seed=3)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(found[0][0], found[1][0])


@pytest.mark.parametrize("chunk", [100, 4096])
def test_classes_learn_beside_each_other_what_they_learn_alone(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, positive, negative = problem(2)
    classes = [(positive, negative), (positive[:50], negative[:3000]), (negative[:80], np.r_[positive, negative[80:]])]
    settings: Any = {"penalty": 0.01, "positive_weight": 2.0, "mining": Mining(first=300, rounds=8), "seed": 1}
    overlaps = np.full((len(features), 3), np.nan, np.float32)
    for number, (_, others) in enumerate(classes):
        overlaps[others, number] = 0.0
    weights, biases = machines(features, [own for own, _ in classes], overlaps, negative_overlap=0.3, **settings)
    for number, rows in enumerate(classes):
        monkeypatch.setattr(module, "CHUNK", chunk)
        alone = machine(features, *rows, **settings)
        np.testing.assert_allclose(weights[:, number], alone[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(biases[number], alone[1], rtol=1e-4, atol=1e-5)
