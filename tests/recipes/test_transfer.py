"""The rule on features whose information is known."""

import math

import numpy as np
import pytest

from tfeff.data.folds import k_folds
from tfeff.recipes import transfer
from tfeff.recipes.transfer import PENALTIES, linear_probe


@pytest.mark.parametrize("features", [1, 2, 5, 20, 64])
def test_few_images_are_those_whose_labels_can_mostly_be_fitted(features: int) -> None:
    """Cover's count: n points in general position have 2 sum(C(n - 1, k), k <= d) separable labelings of 2^n."""
    for count in range(1, 5 * features + 5):
        separable = 2 * sum(math.comb(count - 1, k) for k in range(features + 1))
        assert transfer.few(count, features) == (2 * separable >= 2**count)


def levels(labels: np.ndarray, signals: dict[str, float], seed: int = 0, width: int = 20) -> dict[str, np.ndarray]:
    """Noise, to which a level's signal adds the class, in directions of its own."""
    rng = np.random.default_rng(seed)
    indicators = np.eye(labels.max() + 1)[labels]
    return {
        name: rng.normal(size=(len(labels), width)) + signal * indicators @ rng.normal(size=(labels.max() + 1, width))
        for name, signal in signals.items()
    }


LABELS = np.arange(150) % 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("signals", "chosen"),
    [
        ({"P1": 0, "P2": 0, "last": 1}, "last"),
        ({"P1": 0, "P2": 1, "last": 0}, "P2"),
        ({"P1": 1, "P2": 0, "last": 0}, "P1"),
        ({"P1": 0, "P2": 1, "last": 0.3}, "P2"),
    ],
)
def test_training_starts_after_the_last_level_that_has_the_classes(
    signals: dict[str, float], chosen: str, seed: int
) -> None:
    starts = transfer.probe(levels(LABELS, signals, seed), LABELS)
    assert [start.level for start in starts] == list(signals)
    assert transfer.last_frozen(starts).level == chosen
    assert min(start.excess for start in starts) == 0
    best = min(starts, key=lambda start: start.error)
    assert best.suffices
    for start in starts:
        assert start.excess == pytest.approx(start.error - best.error)


def test_earlier_features_that_repeat_the_last_ones_do_not_unfreeze_them() -> None:
    last = levels(LABELS, {"last": 0.5})["last"]
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]
    assert transfer.last_frozen(transfer.probe({"P1": last @ rotation, "last": last}, LABELS)).level == "last"


def test_without_evidence_the_classifier_alone_is_trained() -> None:
    chosen = [
        transfer.last_frozen(
            transfer.probe(levels(LABELS[:60], {"P1": 0, "P2": 0, "last": 0}, seed), LABELS[:60])
        ).level
        for seed in range(10)
    ]
    assert chosen.count("last") >= 8


def test_more_images_show_smaller_gains() -> None:
    signals, few, many = {"P1": 0.4, "last": 0.6}, np.arange(30) % 3, np.arange(600) % 3
    assert transfer.last_frozen(transfer.probe(levels(many, signals), many)).level == "P1"
    assert transfer.last_frozen(transfer.probe(levels(few, signals), few)).level == "last"


def test_images_of_a_group_stay_together() -> None:
    """Early features that recognize the photograph, not the class, classify other crops of it, but no others."""
    groups = np.repeat(np.arange(40), 5)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)[groups]
    photograph = rng.normal(size=(40, 60))[groups] + 0.01 * rng.normal(size=(200, 60))
    features = {"P1": photograph, "last": levels(labels, {"last": 0.2})["last"]}
    assert transfer.last_frozen(transfer.probe(features, labels)).level == "P1"
    assert transfer.last_frozen(transfer.probe(features, labels, groups)).level == "last"


def test_groups_of_very_different_sizes_are_probed() -> None:
    """A fold can then be empty."""
    groups = np.repeat(np.arange(10), [500] + [1] * 9)
    labels = np.random.default_rng(0).integers(0, 2, 509)
    starts = transfer.probe(levels(labels, {"P1": 1, "last": 1}), labels, groups)
    assert [start.level for start in starts] == ["P1", "last"]


def test_a_class_with_a_single_image_is_probed_with_the_others() -> None:
    labels = np.append(LABELS, 3)
    features = levels(labels, {"P1": 0, "last": 1})
    assert transfer.last_frozen(transfer.probe(features, labels)).level == "last"


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(9), 2)])
def test_too_few_images_are_not_probed(groups: np.ndarray | None) -> None:
    labels = np.arange(9 if groups is None else 18) % 2
    assert transfer.probe(levels(labels, {"P1": 1, "last": 0}), labels, groups) == ()


def drawn() -> tuple[list[np.ndarray], np.ndarray]:
    """Returns two levels of noisy features of different scales, and labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(15) % 3
    means = rng.normal(size=(3, 7))
    features = means[labels] + rng.normal(size=(15, 7))
    return [features[:, :4] * 100 + 3, features[:, 4:]], labels


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights and unpenalized intercepts."""
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
