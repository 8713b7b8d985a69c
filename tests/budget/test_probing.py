"""What a probe may discard."""

import numpy as np

from tfeff.budget.probing import Probe, clearly_worse


def probe(right: int, total: int) -> Probe:
    return Probe(tuple(index < right for index in range(total)))


def test_only_what_is_certainly_worse_is_discarded():
    probes = {"best": probe(95, 100), "close": probe(90, 100), "bad": probe(60, 100)}
    found = clearly_worse(probes)
    assert set(found) == {"bad"}
    difference, half = found["bad"]
    assert difference == np.float64(0.35)
    errors = np.array([1.0] * 35 + [0.0] * 65)
    np.testing.assert_allclose(half, 1.96 * errors.std(ddof=1) / 10)


def test_few_images_discard_nothing():
    assert clearly_worse({"best": probe(5, 5), "other": probe(3, 5)}) == {}
    assert clearly_worse({}) == {}


def test_images_are_compared_in_pairs():
    """Half of the images are right for both; 20 more for the better one, and the other is right for none of these."""
    better = Probe(tuple([True] * 70 + [False] * 30))
    worse = Probe(tuple([True] * 50 + [False] * 50))
    assert set(clearly_worse({"better": better, "worse": worse})) == {"worse"}
