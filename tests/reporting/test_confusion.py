import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff.reporting.confusion import confusion_figure

LONG = ["black-footed albatross (juvenile, winter plumage)", "US$ coin & $5 note", "a", "très long nom d'une classe"]


def matrix(classes):
    return np.random.default_rng(0).integers(0, 90, (classes, classes)) + np.eye(classes, dtype=int) * 1000


@pytest.mark.parametrize("classes", [1, 2, 10, thorough(30), 100, thorough(250)])
def test_names_and_numbers_do_not_overlap(classes, assert_legible):
    assert_legible(confusion_figure(matrix(classes), [LONG[i % 4] for i in range(classes)]))


def test_colors_are_shares_of_the_true_class_and_numbers_are_counts():
    counts = np.array([[6, 2, 0], [0, 0, 0], [1, 1, 2]])
    axes = confusion_figure(counts, ["a", "b", "c"]).axes[0]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[[0, 2]], [[0.75, 0.25, 0], [0.25, 0.25, 0.5]])
    assert shares.mask[1].all()
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "6", (1, 0): "2", (0, 2): "1", (1, 2): "1", (2, 2): "2"}


@pytest.mark.parametrize(("classes", "numbered", "named"), [(30, True, 30), (31, False, 31), (101, False, 51)])
def test_numbers_and_names_that_do_not_fit_are_left_out(classes, numbered, named):
    axes = confusion_figure(matrix(classes), [str(i) for i in range(classes)]).axes[0]
    assert bool(axes.texts) == numbered
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [str(i) for i in range(0, classes, -(-classes // named))]


def test_weights_have_four_significant_digits():
    axes = confusion_figure([[0.25, 1234567.0], [0.0, 2.0]], ["a", "b"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.25", "1.235e+06", "2"]
