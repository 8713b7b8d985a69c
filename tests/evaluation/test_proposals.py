import numpy as np
import pytest

from tfeff.evaluation.proposals import SIZES, THRESHOLDS, coverage

COUNTS = (1, 3, 10, 100)


def boxes(rng, n, side=200.0):
    corners = np.sort(rng.uniform(0, side, (n, 2, 2)), axis=1)
    return np.concatenate([corners[:, 0], corners[:, 1]], axis=1).astype(np.float32)


def overlap(one, other):
    height = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    width = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - height * width
    return height * width / union


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    proposals = [boxes(rng, n) for n in (50, 0, 7, 200)]
    objects = [boxes(rng, n) for n in (4, 3, 0, 6)]
    labels = [rng.integers(0, 3, len(of)) for of in objects]
    best = [
        [max((overlap(box, item) for box in of[:count]), default=0.0) for count in COUNTS]
        for of, wanted in zip(proposals, objects, strict=True)
        for item in wanted
    ]
    return coverage(proposals, objects, labels, COUNTS), np.array(best), np.concatenate(labels), objects


def test_best_overlaps_equal_brute_force(case):
    found, best, *_ = case
    assert found.best == pytest.approx(best, abs=1e-6)


def test_measures_follow_their_definitions(case):
    found, best, labels, objects = case
    for threshold in (0.5, 0.7):
        assert found.recall(threshold) == pytest.approx((best >= threshold).mean(0))
    assert found.abo == pytest.approx(best.mean(0), abs=1e-6)
    assert found.mabo == pytest.approx(np.mean([best[labels == c].mean(0) for c in set(labels)], axis=0), abs=1e-6)
    assert found.average_recall == pytest.approx(np.mean([(best >= t).mean(0) for t in THRESHOLDS], axis=0))
    sides = np.concatenate([of[:, 2:] - of[:, :2] for of in objects])
    medium = (sides.prod(1) >= 32**2) & (sides.prod(1) < 96**2)
    assert found.of_size("medium").abo == pytest.approx(best[medium].mean(0), abs=1e-6)
    assert sum(len(found.of_size(size).labels) for size in SIZES) == len(labels)


def test_without_objects_nothing_is_claimed():
    found = coverage([np.ones((3, 4))], [np.zeros((0, 4))], [np.zeros(0, int)], COUNTS)
    assert found.best.shape == (0, len(COUNTS))
    assert np.isnan(found.recall(0.5)).all()
    assert np.isnan(found.mabo).all()
