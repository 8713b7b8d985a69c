"""SVMs trained with hard-negative mining against SVMs trained on all negatives."""

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from tfeff.rcnn import svm as module
from tfeff.rcnn.svm import Mining, linear_svms


def fit_svm(
    features: np.ndarray, positive: np.ndarray, negative: np.ndarray, **settings: Any
) -> tuple[np.ndarray, float]:
    """Returns the SVM of a single class."""
    overlaps = np.ones((len(features), 1), np.float32)
    overlaps[negative] = 0.0
    weights, biases = linear_svms(features, [positive], overlaps, negative_overlap=0.3, **settings)
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
    """Returns the objective of LinearSVC: half the squared norm (with the bias) plus C times the squared hinge loss."""
    signs = -np.ones(len(features))
    signs[positive] = 1
    costs = np.where(signs > 0, weight, 1.0) * penalty
    hinge = np.maximum(0, 1 - signs * (features @ weights + bias))
    return float(0.5 * (weights @ weights + bias**2) + (costs * hinge**2).sum())


def test_with_all_negatives_it_matches_scikit_learn() -> None:
    features, positive, negative = problem(0)
    weights, bias = fit_svm(
        features,
        positive,
        negative,
        penalty=0.01,
        positive_weight=2.0,
        mining=Mining(initial=len(negative), rounds=1),
        seed=0,
    )
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    reference = LinearSVC(C=0.01, class_weight={1: 2.0}, dual=False).fit(features, labels)
    np.testing.assert_allclose(weights, reference.coef_[0], atol=1e-3)
    np.testing.assert_allclose(bias, reference.intercept_[0], atol=1e-3)


@pytest.mark.parametrize("hardest", [100, 2000])
def test_mining_reaches_the_objective_of_all_negatives(hardest: int) -> None:
    # The squared hinge loss is 0 beyond the margin, so easy negatives do not matter.
    for seed in range(3):
        features, positive, negative = problem(seed)
        settings = {"penalty": 0.01, "positive_weight": 2.0, "seed": seed}
        mining = Mining(initial=300, rounds=60, hardest=hardest)
        mined = fit_svm(features, positive, negative, mining=mining, **settings)
        complete = fit_svm(features, positive, negative, mining=Mining(initial=len(negative), rounds=1), **settings)
        costs = [objective(features, positive, *svm, 0.01, 2.0) for svm in (mined, complete)]
        assert costs[0] <= costs[1] * 1.001


def test_the_same_seed_gives_the_same_svm() -> None:
    features, positive, negative = problem(1)
    svms = [
        fit_svm(features, positive, negative, penalty=0.1, positive_weight=1.0, mining=Mining(initial=200), seed=3)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(svms[0][0], svms[1][0])


@pytest.mark.parametrize("chunk", [100, 4096])
def test_classes_trained_in_parallel_match_classes_trained_alone(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, positive, negative = problem(2)
    classes = [(positive, negative), (positive[:50], negative[:3000]), (negative[:80], np.r_[positive, negative[80:]])]
    settings: Any = {"penalty": 0.01, "positive_weight": 2.0, "mining": Mining(initial=300, rounds=8), "seed": 1}
    overlaps = np.full((len(features), 3), np.nan, np.float32)
    for number, (_, others) in enumerate(classes):
        overlaps[others, number] = 0.0
    weights, biases = linear_svms(features, [own for own, _ in classes], overlaps, negative_overlap=0.3, **settings)
    for number, rows in enumerate(classes):
        monkeypatch.setattr(module, "CHUNK", chunk)
        alone = fit_svm(features, *rows, **settings)
        np.testing.assert_allclose(weights[:, number], alone[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(biases[number], alone[1], rtol=1e-4, atol=1e-5)


def test_an_overlap_equal_to_the_limit_is_not_negative() -> None:
    features, positive, negative = problem(3)
    overlaps = np.ones((len(features), 1), np.float32)
    overlaps[negative] = 0.25
    overlaps[negative[::2]] = 0.5
    settings: Any = {"penalty": 0.01, "positive_weight": 2.0, "seed": 0}
    for mining in (Mining(initial=len(negative), rounds=1), Mining(initial=300, rounds=8)):
        weights, biases = linear_svms(features, [positive], overlaps, negative_overlap=0.5, mining=mining, **settings)
        expected = fit_svm(features, positive, negative[1::2], mining=mining, **settings)
        np.testing.assert_allclose(weights[:, 0], expected[0], rtol=1e-6)
        np.testing.assert_allclose(biases[0], expected[1], rtol=1e-6)


@pytest.mark.parametrize("chunk", [1000, 10_000])
def test_rounds_drop_easy_negatives_until_no_hard_one_is_left(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    features, positive, negative = problem(4)
    mining, sets = Mining(initial=300, rounds=100, hardest=200), list[np.ndarray]()

    class Recorded(LinearSVC):
        def fit(self, x: np.ndarray, y: np.ndarray) -> LinearSVC:
            sets.append(x[y == 0])
            return super().fit(x, y)

    monkeypatch.setattr(module, "LinearSVC", Recorded)
    weights, bias = fit_svm(features, positive, negative, penalty=0.01, positive_weight=2.0, mining=mining, seed=5)
    sizes = [len(each) for each in sets]
    assert sizes[0] == 300
    assert all(later - earlier <= mining.hardest for earlier, later in itertools.pairwise(sizes))
    assert len(sizes) < mining.rounds
    # Margins are float32 there, so a region at a limit may count or not.
    hard = negative[features[negative] @ weights + bias > mining.margin + 1e-3]
    used = {row.tobytes() for row in sets[-1]}
    assert all(features[row].tobytes() in used for row in hard)
    assert not used.issuperset(row.tobytes() for row in sets[0])  # easy ones were dropped
