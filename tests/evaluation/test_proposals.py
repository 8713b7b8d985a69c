import numpy as np
import pytest

from tfeff.evaluation.proposals import SIZES, THRESHOLDS, coverage

COUNTS = (1, 3, 10, 100)


def boxes(rng, n, side=200.0):
    corners = np.sort(rng.uniform(0, side, (n, 2, 2)), axis=1)
    return np.concatenate([corners[:, 0], corners[:, 1]], axis=1).astype(np.float32)


def overlap(first, second):
    height = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    width = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(bottom - top) * (right - left) for top, left, bottom, right in (first, second)]
    union = sum(areas) - height * width
    return height * width / union


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    proposals = [boxes(rng, n) for n in (50, 0, 7, 200)]
    objects = [boxes(rng, n) for n in (4, 3, 0, 6)]
    labels = [rng.integers(0, 3, len(truth)) for truth in objects]
    best = [
        [max((overlap(box, item) for box in proposed[:count]), default=0.0) for count in COUNTS]
        for proposed, truth in zip(proposals, objects, strict=True)
        for item in truth
    ]
    return coverage(proposals, objects, labels, COUNTS), np.array(best), np.concatenate(labels), objects


def test_best_overlaps_equal_a_brute_force_search(case):
    result, best, *_ = case
    assert result.best == pytest.approx(best, abs=1e-6)


def test_metrics_equal_their_definitions(case):
    result, best, labels, objects = case
    for threshold in (0.5, 0.7):
        assert result.recall(threshold) == pytest.approx((best >= threshold).mean(0))
    assert result.abo == pytest.approx(best.mean(0), abs=1e-6)
    by_class = [best[labels == label].mean(0) for label in sorted(set(labels))]
    assert result.class_abo == pytest.approx(np.array(by_class), abs=1e-6)
    assert result.mabo == pytest.approx(np.mean(by_class, axis=0), abs=1e-6)
    assert result.average_recall == pytest.approx(np.mean([(best >= t).mean(0) for t in THRESHOLDS], axis=0))
    sides = np.concatenate([truth[:, 2:] - truth[:, :2] for truth in objects])
    medium = (sides.prod(1) >= 32**2) & (sides.prod(1) < 96**2)
    assert result.for_size("medium").abo == pytest.approx(best[medium].mean(0), abs=1e-6)
    assert sum(len(result.for_size(size).labels) for size in SIZES) == len(labels)


def test_metrics_are_nan_without_objects():
    result = coverage([np.ones((3, 4))], [np.zeros((0, 4))], [np.zeros(0, int)], COUNTS)
    assert result.best.shape == (0, len(COUNTS))
    assert np.isnan(result.recall(0.5)).all()
    assert np.isnan(result.mabo).all()
