import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff.reporting.class_distribution import class_distribution_figure


@pytest.mark.parametrize("classes", [2, 30, thorough(120)])
def test_texts_do_not_overlap(classes, assert_legible):
    rng = np.random.default_rng(0)
    names = [f"class {i} with a rather long name ${i}" for i in range(classes)]
    counts = {"test": rng.integers(0, 2000, classes), "training": rng.integers(0, 90_000, classes)}
    assert_legible(class_distribution_figure(names, counts))


def test_bars_are_shares_in_the_order_of_the_first_set():
    (axes, *_) = class_distribution_figure("abc", {"test": [1, 6, 3], "training": [0, 0, 0]}).axes
    first, second = ([bar.get_width() for bar in bars] for bars in axes.containers)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a"]
    assert first == pytest.approx([0.6, 0.3, 0.1])
    assert second == [0, 0, 0]
