"""One panel per setting with two metrics each."""

from tfeff.reporting.sensitivity_curves import sensitivity_figure


def row(form, key, value, mean_ap, recall):
    return {"form": form, "key": key, "value": value, "mAP": mean_ap, "recall": recall}


def test_every_value_is_drawn_in_its_panel():
    rows = [row("joint", "share", value, value / 100, 1 - value / 100) for value in (90, 10, 50)]
    rows += [row("classic", "ridge", value, 0.5, 0.6) for value in (1.0, 1000.0)]
    figure = sensitivity_figure(rows, "mAP", "recall")
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert set(panels) == {"joint.share", "classic.ridge"}
    (line,) = panels["joint.share"].lines
    assert line.get_xydata().tolist() == [[10, 0.1], [50, 0.5], [90, 0.9]]
    assert (panels["joint.share"].get_xscale(), panels["classic.ridge"].get_xscale()) == ("linear", "log")
    limits = {axes.get_ylim() for axes in panels.values()}
    assert len(limits) == 1


def test_no_rows():
    assert not sensitivity_figure([], "mAP", "recall").axes[0].lines
