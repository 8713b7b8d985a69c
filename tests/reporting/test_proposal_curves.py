import numpy as np

from tfeff.reporting.proposal_curves import boxes_figure, proposals_figure

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


def test_boxes_are_on_pixel_edges():
    figure = boxes_figure(np.zeros((50, 80, 3), np.uint8), [[10, 20, 30, 60]], objects_yxyx=[[0, 0, 50, 80]], title="x")
    (box, whole) = (line.get_xydata() for line in figure.axes[0].lines)
    assert box.min(0).tolist() == [19.5, 9.5]
    assert box.max(0).tolist() == [59.5, 29.5]
    assert whole.max(0).tolist() == [79.5, 49.5]
    assert boxes_figure(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4))).axes[0].lines[:] == []
