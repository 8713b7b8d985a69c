"""The linear probe against ridge regression by its normal equations, with a penalty found by leaving images out."""

import numpy as np
import pytest

from tfeff.data.folds import k_folds
from tfeff.recipes.linear_probe import PENALTIES, linear_probe


def drawn() -> tuple[list[np.ndarray], np.ndarray]:
    """Two levels of noisy features of different scales, and labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(15) % 3
    means = rng.normal(size=(3, 7))
    features = means[labels] + rng.normal(size=(15, 7))
    return [features[:, :4] * 100 + 3, features[:, 4:]], labels


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and unpenalized intercepts."""
    centered = x - x.mean(axis=0)
    weights = np.linalg.solve(centered.T @ centered + penalty * np.eye(x.shape[1]), centered.T @ (y - y.mean(axis=0)))
    return weights, y.mean(axis=0) - x.mean(axis=0) @ weights


def test_it_is_ridge_regression_with_the_penalty_of_the_lowest_leave_one_out_error() -> None:
    levels, labels = drawn()
    parts = k_folds(labels, 3, seed=0)
    indicators = np.eye(3)[labels]
    expected = np.zeros((15, 3))
    for part in parts:
        train = part.train
        x = np.concatenate(
            [(each - each[train].mean(0)) / each[train].std(0) / np.sqrt(each.shape[1]) for each in levels], axis=1
        )
        losses = []
        for penalty in PENALTIES:
            left_out = []
            for index in train:
                weights, intercept = ridge(x[train[train != index]], indicators[train[train != index]], penalty)
                left_out.append(((x[index] @ weights + intercept - indicators[index]) ** 2).sum())
            losses.append(sum(left_out))
        weights, intercept = ridge(x[train], indicators[train], PENALTIES[int(np.argmin(losses))])
        expected[part.validation] = x[part.validation] @ weights + intercept
    found = linear_probe(levels, labels, parts)
    np.testing.assert_allclose(found.errors, ((expected.clip(0, 1) - indicators) ** 2).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(found.correct, expected.argmax(axis=1) == labels)


def test_scales_of_features_order_of_images_and_names_of_classes_do_not_matter() -> None:
    levels, labels = drawn()
    parts = k_folds(labels, 3, seed=0)
    plain = linear_probe(levels, labels, parts)
    changed = linear_probe([levels[0] * [1, 10, 0.1, 7] - 5, levels[1]], 10 - 3 * labels, parts)
    np.testing.assert_allclose(changed.errors, plain.errors, rtol=1e-6)
    np.testing.assert_array_equal(changed.correct, plain.correct)


@pytest.mark.parametrize("classes", [2, 5])
def test_error_and_accuracy_between_perfect_and_chance(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(100) % classes
    parts = k_folds(labels, 5, seed=0)
    perfect = linear_probe([np.eye(classes)[labels], np.ones((100, 1))], labels, parts)
    assert perfect.correct.all()
    assert perfect.errors.max() < 1e-3
    chance = linear_probe([rng.normal(size=(100, 50))], labels, parts)
    # A constant prediction of equal shares has the error 1 - 1/classes.
    assert chance.errors.mean() == pytest.approx(1 - 1 / classes, abs=0.05)


def test_one_unusual_image_does_not_outweigh_the_others() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2
    rare = rng.uniform(0, 1e-3, size=(100, 1))
    rare[0] = 1e3  # a feature that is almost 0 in all images but one
    found = linear_probe([np.eye(2)[labels], rare], labels, k_folds(labels, 5, seed=0))
    assert found.errors.max() <= 2.0
    assert found.errors.mean() < 0.03
