import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from tfeff.evaluation.verification import Pairs, equal_error_threshold, pairs_of, verification


def random_pairs(count=400, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.3
    similarity = np.clip(rng.normal(0.3 * same, 0.3), -1, 1).astype(np.float32)
    if decimals is not None:
        similarity = similarity.round(decimals)
    first = rng.integers(0, 40, count)
    return Pairs(first, first + 1, similarity, same)


def test_pairs_are_all_pairs_with_their_similarity_and_class():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = pairs_of(vectors, labels)
    expected = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    assert list(zip(pairs.first, pairs.second, strict=True)) == expected
    for pair, (i, j) in enumerate(expected):
        assert pairs.similarity[pair] == pytest.approx(vectors[i] @ vectors[j], abs=1e-6)
        assert pairs.same[pair] == (labels[i] == labels[j])


@pytest.mark.parametrize("decimals", [None, 1])
def test_area_is_that_of_scikit_learn_also_with_ties(decimals):
    pairs = random_pairs(decimals=decimals)
    found = verification(pairs)
    assert found.auc == pytest.approx(roc_auc_score(pairs.same, pairs.similarity))
    assert (found.same, found.different) == (pairs.same.sum(), (~pairs.same).sum())
    low, high = found.auc_interval
    assert low < found.auc < high
    assert 0.02 < high - low < 0.3


def test_the_curve_is_that_of_scikit_learn():
    pairs = random_pairs(150)
    found = verification(pairs)
    false, true, _ = roc_curve(pairs.same, pairs.similarity, drop_intermediate=False)
    np.testing.assert_allclose(found.false_accept_rate[::-1], false)
    np.testing.assert_allclose(found.true_accept_rate[::-1], true)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_more_equal_rates(seed):
    pairs = random_pairs(60, seed)
    threshold, rate = equal_error_threshold(pairs)
    accept, reject = pairs.rates(threshold)
    assert rate == pytest.approx((accept + reject) / 2)
    for other in np.linspace(-1, 1, 2001):
        others = (np.mean(pairs.similarity[~pairs.same] >= other), np.mean(pairs.similarity[pairs.same] < other))
        assert abs(others[0] - others[1]) >= abs(accept - reject) - 1e-12


def test_separable_and_hopeless_pairs():
    same = np.array([True, True, False, False])
    apart = Pairs(np.arange(4), np.arange(1, 5), np.array([0.9, 0.8, 0.1, -0.2], np.float32), same)
    found = verification(apart)
    assert (found.auc, found.equal_error_rate) == (1, 0)
    assert found.threshold == pytest.approx(0.45)
    assert apart.rates(found.threshold) == (0, 0)
    equal = Pairs(np.arange(4), np.arange(1, 5), np.full(4, 0.5, np.float32), same)
    assert verification(equal).auc == 0.5
    assert verification(equal).equal_error_rate == 0.5


def test_histograms_count_each_pair():
    pairs = random_pairs()
    found = verification(pairs)
    assert found.same_counts.sum() == pairs.same.sum()
    assert found.different_counts.sum() == (~pairs.same).sum()
    below = found.edges[:-1] < 0
    assert found.same_counts[below].sum() == (pairs.similarity[pairs.same] < 0).sum()


def test_undefined_without_pairs_of_one_kind():
    found = verification(pairs_of(np.eye(3), [0, 1, 2]))
    assert (found.images, found.same, found.different) == (3, 0, 3)
    assert np.isnan([found.auc, found.equal_error_rate, found.threshold, *found.auc_interval]).all()
    assert np.isnan(pairs_of(np.eye(3), [0, 1, 2]).rates(0.5)[1])


@pytest.mark.slow
def test_intervals_cover_the_area_of_further_images():
    """Of 40 samples of images with the same distribution, about 95 % have an interval that covers the area of many."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(8, 16))

    def drawn(count):
        labels = rng.integers(0, 8, count)
        vectors = centers[labels] + 1.5 * rng.normal(size=(count, 16))
        return verification(pairs_of(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels))

    truth = drawn(1000).auc
    intervals = [drawn(60).auc_interval for _ in range(40)]
    covered = sum(low <= truth <= high for low, high in intervals)
    assert covered >= 34


@pytest.mark.parametrize("repeated", [2, 30, 1300])
def test_pairs_of_one_class_are_among_those_of_many_images(repeated):
    """Most classes have a single image: evenly spaced ones would form no pair of one class."""
    labels = np.concatenate([np.arange(1, 2000), np.zeros(repeated, np.int64)])
    labels = np.random.default_rng(0).permutation(labels)
    vectors = np.random.default_rng(1).normal(size=(len(labels), 3))
    pairs = pairs_of(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels, limit=100)
    images = np.union1d(pairs.first, pairs.second)
    assert len(images) == 100
    paired = min(repeated, 75)
    assert pairs.same.sum() == paired * (paired - 1) / 2
    assert not pairs.same.all()
    assert np.isfinite(equal_error_threshold(pairs)).all()


def test_intervals_do_not_depend_on_the_scale_of_similarities():
    """Those of some networks lie in 0.99..1."""
    pairs = random_pairs(3000)
    narrow = Pairs(pairs.first, pairs.second, 1 - (1 - pairs.similarity.astype(np.float64)) * 1e-4, pairs.same)
    wide, found = verification(pairs), verification(narrow)
    assert found.auc == pytest.approx(wide.auc, abs=1e-6)
    assert found.auc_interval == pytest.approx(wide.auc_interval, abs=1e-6)
    assert found.equal_error_rate_interval == pytest.approx(wide.equal_error_rate_interval, abs=1e-6)
    assert 0.01 < found.auc_interval[1] - found.auc_interval[0] < 0.2


@pytest.mark.parametrize("kind", ["same", "different"])
@pytest.mark.parametrize("apart", [True, False])
def test_intervals_of_few_pairs_of_a_kind_contain_the_measured_values(kind, apart):
    """Of half a million pairs, 60 are of the other kind."""
    rng = np.random.default_rng(0)
    first, second = np.triu_indices(1000, 1)
    few = np.zeros(len(first), bool)
    few[rng.choice(len(first), 60, replace=False)] = True
    same = few if kind == "same" else ~few
    similarity = np.where(same, 0.5 if apart else 0.3, 0.0) + rng.uniform(0.0, 0.4, len(first))
    found = verification(Pairs(first, second, similarity.astype(np.float32), same))
    low, high = found.auc_interval
    assert low <= found.auc <= high
    low, high = found.equal_error_rate_interval
    assert low <= found.equal_error_rate <= high
    assert (found.auc == 1) == apart


def test_binned_resamples_equal_those_of_all_similarities(monkeypatch):
    """Of 300 images with few pairs of one class."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 280
    vectors = rng.normal(size=(280, 8))[labels] + 0.3 * rng.normal(size=(300, 8))
    pairs = pairs_of(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels)
    binned = verification(pairs)
    monkeypatch.setattr("tfeff.evaluation.verification._BINS", len(pairs.similarity) + 1)
    exact = verification(pairs)
    assert binned.auc_interval == pytest.approx(exact.auc_interval, abs=1e-12)
    assert binned.equal_error_rate_interval == pytest.approx(exact.equal_error_rate_interval, abs=5e-4)


def test_a_single_image_has_no_pairs():
    found = verification(pairs_of(np.ones((1, 1)), [0]))
    assert (found.images, found.same, found.different) == (0, 0, 0)
    assert np.isnan([found.auc, *found.auc_interval]).all()
