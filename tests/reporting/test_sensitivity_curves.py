"""One panel per setting, with both metrics."""

import numpy as np

from tfeff.reporting.sensitivity_curves import sensitivity_figure


def row(form, key, value, first, second):
    differences = {"mAP": [first - 0.5, first - 0.6, first - 0.45], "recall": [0.0, float("nan"), float("nan")]}
    return {"form": form, "key": key, "value": value, "mAP": first, "recall": second, "differences": differences}


def test_every_point_is_drawn_in_the_panel_of_its_setting():
    rows = [row("joint", "share", value, value / 100, 1 - value / 100) for value in (90, 10, 50)]
    rows += [row("classic", "ridge", value, 0.5, 0.6) for value in (1.0, 1000.0)]
    figure = sensitivity_figure(rows, "mAP", "recall")
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert set(panels) == {"joint.share", "classic.ridge"}
    ((line, _, (bars,)),) = panels["joint.share"].containers
    assert line.get_xydata().tolist() == [[10, 0.1], [50, 0.5], [90, 0.9]]
    # The interval of a difference, drawn around the value.
    expected = [[[10, 0.0], [10, 0.15]], [[50, 0.4], [50, 0.55]], [[90, 0.8], [90, 0.95]]]
    np.testing.assert_allclose(bars.get_segments(), expected, atol=1e-12)
    assert (panels["joint.share"].get_xscale(), panels["classic.ridge"].get_xscale()) == ("linear", "log")
    limits = {axes.get_ylim() for axes in panels.values()}
    assert len(limits) == 1


def test_no_rows():
    assert not sensitivity_figure([], "mAP", "recall").axes[0].lines
