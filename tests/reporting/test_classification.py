import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff.reporting.classification import (
    confusion_figure,
    per_class_figure,
    reliability_figure,
)

LONG = ["black-footed albatross (juvenile, winter plumage)", "US$ coin & $5 note", "a", "très long nom d'une classe"]


def pairs(counts):
    true, predicted = np.nonzero(counts)
    return {"true": true, "predicted": predicted, "count": counts[true, predicted]}


def matrix(classes):
    counts = np.random.default_rng(0).integers(0, 90, (classes, classes)) + np.eye(classes, dtype=int) * 1000
    return pairs(counts)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 2, 10, thorough(30), 100, thorough(250)])
def test_names_and_numbers_do_not_overlap(classes, assert_legible):
    assert_legible(confusion_figure(matrix(classes), [LONG[i % 4] for i in range(classes)]))


def test_colors_are_shares_of_the_true_class_and_numbers_are_counts():
    counts = np.array([[6, 2, 0], [0, 0, 0], [1, 1, 2]])
    axes = confusion_figure(pairs(counts), ["a", "b", "c"]).axes[0]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[[0, 2]], [[0.75, 0.25, 0], [0.25, 0.25, 0.5]])
    assert shares.mask[1].all()
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "6", (1, 0): "2", (0, 2): "1", (1, 2): "1", (2, 2): "2"}


@pytest.mark.parametrize(("classes", "numbered"), [(30, True), (31, False), (100, False)])
def test_numbers_that_do_not_fit_are_left_out(classes, numbered):
    axes = confusion_figure(matrix(classes), [str(i) for i in range(classes)]).axes[0]
    assert bool(axes.texts) == numbered
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(i) for i in range(classes)]
    assert axes.get_title() == "Confusion matrix"


def test_of_many_classes_those_with_the_most_frequent_errors_are_drawn():
    # 30,000 classes with 10 correct predictions each. The even ones below 98 have 10 to 58 errors with the next one.
    classes, wrong = 30_000, np.arange(0, 98, 2)
    everyone = np.arange(classes)
    found = {
        "true": [*everyone, *wrong, 20_000, 20_002],
        "predicted": [*everyone, *(wrong + 1), 20_001, 20_001],
        "count": [*np.full(classes, 10), *(10 + wrong // 2), 5, 4],
    }
    drawn = confusion_figure(found, [str(i) for i in everyone]).axes[0]
    names = [str(i) for i in [*range(98), 20_000, 20_001]]
    assert [label.get_text() for label in drawn.get_yticklabels()] == names
    assert [label.get_text() for label in drawn.get_xticklabels()] == names
    errors = (10 + wrong // 2).sum()
    assert f"the 100 of 30,000 classes that are confused most often; they have {errors + 5:,} of {errors + 9:,}" in (
        drawn.get_title()
    )
    shares = drawn.images[0].get_array()
    assert shares.shape == (100, 100)
    assert shares[96, 97] == 58 / 68
    assert shares[98, 99] == pytest.approx(5 / 15)
    assert shares[97, 97] == 1
    assert np.count_nonzero(shares) == 100 + len(wrong) + 1


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "drawn"), [(100, 100), (101, 100), (150, 100)])
def test_the_background_does_not_count_as_a_class(classes, drawn, assert_legible):
    """The classes that are drawn are those with the most examples; all but the first are confused with background."""
    everyone = np.arange(classes)
    found = {
        "true": [*everyone, *everyone[1:]],
        "predicted": [*everyone, *[classes] * (classes - 1)],
        "count": [*(everyone + 1), *everyone[1:]],
    }
    figure = confusion_figure(found, [str(i) for i in everyone], background=True)
    assert_legible(figure)
    axes = figure.axes[0]
    names = [*(str(i) for i in range(classes - drawn, classes)), "background"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert (f"the 100 of {classes} classes" in axes.get_title()) == (classes > drawn)


def test_of_many_classes_without_errors_those_with_the_most_examples_are_drawn():
    found = {"true": np.arange(150), "predicted": np.arange(150), "count": np.arange(1, 151)}
    axes = confusion_figure(found, [str(i) for i in range(150)]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(i) for i in range(50, 150)]
    assert "0 of 0 errors" in axes.get_title()


def figure(classes):
    precision, recall, f1 = np.random.default_rng(0).random((3, classes))
    names = [f"a class with number {i} and quite a long name" for i in range(classes)]
    return per_class_figure(names, precision, recall, f1, np.arange(classes) * 1000)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 2, 10, 100])
def test_names_and_numbers_do_not_overlap_per_class(classes, assert_legible):
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


EDGES = [0.0, 0.25, 0.5, 0.75, 1.0]


def figure_reliability():
    return reliability_figure(EDGES, [0, 10, 20, 70_000], [None, 0.4, 0.6, 0.9], [None, 0.5, 0.6, 0.7], 0.123)


def test_texts_do_not_overlap(assert_legible):
    assert_legible(figure_reliability())


def test_bars_show_the_accuracy_and_gaps_extend_to_the_confidence():
    top, bottom = figure_reliability().axes
    accuracy, over, under = top.containers
    np.testing.assert_equal([bar.get_height() for bar in accuracy], [np.nan, 0.5, 0.6, 0.7])
    for bar, low, high in zip(over[1:], [0.5, 0.6, 0.7], [0.5, 0.6, 0.9], strict=True):
        assert (bar.get_y(), bar.get_y() + bar.get_height()) == pytest.approx((low, high))
    for bar, high, low in zip(under[1:], [0.5, 0.6, 0.7], [0.4, 0.6, 0.7], strict=True):
        assert (bar.get_y(), bar.get_y() + bar.get_height()) == pytest.approx((high, low))
    assert [bar.get_height() for bar in bottom.containers[0]] == [0, 10, 20, 70_000]
    assert [bar.get_center()[0] for bar in bottom.containers[0]] == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert "12.30 %" in top.get_title()
