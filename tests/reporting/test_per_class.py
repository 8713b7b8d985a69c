import numpy as np
import pytest

from tfeff.reporting.per_class import per_class_figure


def figure(classes):
    precision, recall, f1 = np.random.default_rng(0).random((3, classes))
    names = [f"a class with number {i} and quite a long name" for i in range(classes)]
    return per_class_figure(names, precision, recall, f1, np.arange(classes) * 1000)


@pytest.mark.parametrize("classes", [1, 2, 10, 100])
def test_names_and_numbers_do_not_overlap(classes, assert_legible):
    assert_legible(figure(classes))


def test_classes_are_sorted_by_f1_with_undefined_values_last():
    drawn = per_class_figure("abc", [0.5, None, 0.25], [0.1, np.nan, 0.2], [0.3, None, 0.2], [10, 0, 1.5])
    axes = drawn.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "b"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    precision, recall = axes.containers
    np.testing.assert_equal([bar.get_width() for bar in precision], [0.25, 0.5, np.nan])
    np.testing.assert_equal([bar.get_width() for bar in recall], [0.2, 0.1, np.nan])
    (support,) = axes.child_axes
    assert [label.get_text() for label in support.get_yticklabels()] == ["1.5", "10", "0"]


def test_at_most_100_classes_with_the_lowest_f1_are_shown():
    names = [str(i) for i in range(250)]
    falling = np.linspace(1, 0, 250)
    drawn = per_class_figure(names, falling, falling, falling, np.ones(250))
    shown = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert shown == [str(i) for i in range(249, 149, -1)]
    assert "100 of 250" in drawn.get_suptitle()
