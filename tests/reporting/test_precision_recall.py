import numpy as np
import pytest

from tfeff.reporting.precision_recall import precision_recall_figure

NAMES = ["black-footed albatross (juvenile, winter plumage)", "US$ coin", "platelet"]


def curves(classes):
    rng = np.random.default_rng(0)
    return [np.sort(rng.random(101))[::-1].tolist() for _ in range(classes)]


@pytest.mark.parametrize("classes", [1, 3, 15, 16, 80])
def test_the_legend_lists_the_best_and_the_worst_classes(classes, assert_legible):
    names = (NAMES + [f"class {i}" for i in range(80)])[:classes]
    ap = np.random.default_rng(1).random(classes).tolist()
    figure = precision_recall_figure(names, curves(classes), ap, [1234] * classes)
    assert_legible(figure)
    (axes,) = figure.axes
    assert len(axes.lines) == classes + (classes > 1)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(texts) == min(classes, 15 if classes == 15 else 14 if classes > 15 else classes) + (classes > 1)
    assert f"{max(ap):.3f} (1,234)" in texts[0]
    if classes > 1:
        assert texts[-1] == f"mean of {classes} classes, {np.mean(ap):.3f}"
        assert f"{min(ap):.3f} (1,234)" in texts[-2]


def test_classes_without_objects_have_no_curve(assert_legible):
    lines = [curves(1)[0], [None] * 101, [np.nan] * 101]
    figure = precision_recall_figure(NAMES, lines, [0.5, None, np.nan], [3, 0, 0])
    assert_legible(figure)
    assert len(figure.axes[0].lines) == 1
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), lines[0])
    empty = precision_recall_figure(NAMES[:1], [[None] * 101], [None], [0])
    assert_legible(empty)
    assert not empty.axes[0].lines
