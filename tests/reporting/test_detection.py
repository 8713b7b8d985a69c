import numpy as np
import pytest

from tfeff.reporting.detection import detection_errors_figure, iou_figure, precision_recall_figure, proposals_figure

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


ERRORS = {
    "class": {"count": 12, "gain": 0.1},
    "box": {"count": 123456, "gain": 0.25},
    "both": {"count": 0, "gain": 0.0},
    "missed": {"count": 3, "gain": None},
    "duplicate": {"count": 1, "gain": float("nan")},
}


def test_bars_are_counts_and_percentage_points(assert_legible):
    figure = detection_errors_figure(ERRORS)
    assert_legible(figure)
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [12, 123456, 0, 3, 1]
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], [10, 25, 0, 0, 0])
    assert [text.get_text() for text in right.texts] == ["10.0", "25.0", "0.0", "–", "–"]
    assert [label.get_text() for label in left.get_yticklabels()][-2:] == ["missed object", "duplicate"]


def test_a_report_without_errors_has_a_figure(assert_legible):
    assert_legible(detection_errors_figure({kind: {"count": 0, "gain": None} for kind in ERRORS}))


def test_bars_are_counts_and_change_color_at_the_threshold():
    counts = list(range(20))
    figure = iou_figure(counts, 0.61, 0.5)
    (axes,) = figure.axes
    heights = {round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height() for bar in axes.patches}
    assert [heights[round(0.025 + 0.05 * index, 3)] for index in range(20)] == counts
    colors = [bar.get_facecolor() for bar in sorted(axes.patches, key=lambda bar: bar.get_x())]
    assert len(set(colors[:10])) == len(set(colors[10:])) == 1
    assert colors[9] != colors[10]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]  # below, where no bar can be
    assert f"0.5 and above: {100 * sum(counts[10:]) / sum(counts):.1f} %" in labels


def test_a_figure_without_images_is_empty():
    assert iou_figure([0] * 20, 0.0, 0.5).axes


COUNTS, THRESHOLDS = (1, 10, 100), (0.5, 0.75, 0.95)


def test_every_method_has_a_curve_in_every_panel_and_a_legend_entry():
    rising = {"recall@.5": [0.1, 0.4, 0.9], "recall@.7": [0.0, 0.2, 0.5], "ABO": [0.1, 0.3, 0.6]}
    curves = {name: rising | {"by overlap": [0.9, 0.5, 0.1]} for name in ("ours", "a method with $igns", "x")}
    figure = proposals_figure(curves, COUNTS, thresholds=THRESHOLDS, at=100)
    assert [len(axes.lines) for axes in figure.axes] == [3] * 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours", r"a method with \$igns", "x"]
    for axes in figure.axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()
    for axes, key in zip(figure.axes, ("recall@.5", "recall@.7", "ABO"), strict=False):
        assert axes.lines[0].get_ydata().tolist() == rising[key]


def test_undefined_curves_have_a_figure():
    undefined = dict.fromkeys(("recall@.5", "recall@.7", "ABO", "by overlap"), np.full(3, np.nan))
    figure = proposals_figure({"ours": undefined}, COUNTS, thresholds=THRESHOLDS, at=100)
    figure.canvas.draw()
