import numpy as np

from tfeff.reporting.detection_errors import detection_errors_figure

ERRORS = {
    "class": {"count": 12, "gain": 0.1},
    "box": {"count": 123456, "gain": 0.25},
    "both": {"count": 0, "gain": 0.0},
    "missed": {"count": 3, "gain": None},
    "another type": {"count": 1, "gain": float("nan")},
}


def test_bars_are_counts_and_percentage_points(assert_legible):
    figure = detection_errors_figure(ERRORS)
    assert_legible(figure)
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [12, 123456, 0, 3, 1]
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], [10, 25, 0, 0, 0])
    assert [text.get_text() for text in right.texts] == ["10.0", "25.0", "0.0", "–", "–"]
    assert [label.get_text() for label in left.get_yticklabels()][-1] == "another type"


def test_a_report_without_errors_has_a_figure(assert_legible):
    assert_legible(detection_errors_figure({kind: {"count": 0, "gain": None} for kind in ERRORS}))
