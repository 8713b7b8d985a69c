"""Networks by cost and accuracy: trained ones and those that were only probed have a front each."""

import numpy as np
import pytest

from tfeff.reporting.budget import budget_figure
from tfeff.reporting.figure import GRAY

TRAINED = [
    {"name": "large", "cost": 400.0, "mean": 0.95, "low": 0.93, "high": 0.97, "screened": 0.90, "kind": "chosen"},
    {"name": "wide", "cost": 300.0, "mean": 0.94, "low": 0.92, "high": 0.96, "screened": 0.93, "kind": "finalist"},
    {"name": "poor", "cost": 350.0, "mean": 0.80, "low": None, "high": None, "screened": 0.85, "kind": "dropped"},
    {"name": "small", "cost": 200.0, "mean": 0.85, "low": None, "high": None, "screened": None, "kind": "dropped"},
]
PROBED = [
    {"name": "tiny", "cost": 100.0, "mean": None, "low": None, "high": None, "screened": 0.70, "kind": "probe"},
    {"name": "worse", "cost": 320.0, "mean": None, "low": None, "high": None, "screened": 0.60, "kind": "probe"},
]


def drawn(points):
    return budget_figure(
        points,
        cost="latency",
        unit="ms",
        scale=1.0,
        bound=420.0,
        metric="validation accuracy",
        metric_unit="%",
        screening=("accuracy of the probe", "%"),
    )


def front(axes):
    """Returns the corners of the line, without its right end."""
    (line,) = (each for each in axes.lines if each.get_color() == GRAY and each.get_linestyle() == "-")
    return np.asarray(line.get_xydata())[:-2].tolist()


def test_probes_have_a_panel_and_a_front_of_their_own(assert_legible):
    figure = drawn(TRAINED + PROBED)
    trained, probed = figure.axes
    assert front(trained) == [[200, 0.85], [300, 0.85], [300, 0.94], [400, 0.94], [400, 0.95]]
    assert front(probed) == [[100, 0.70], [300, 0.70], [300, 0.93]]
    assert (trained.get_ylabel(), probed.get_ylabel()) == ("validation accuracy (%)", "accuracy of the probe (%)")
    assert {text.get_text() for text in trained.texts} == {"large", "wide", "small"}
    assert {text.get_text() for text in probed.texts} == {"tiny", "wide"}
    assert_legible(figure)


@pytest.mark.parametrize(("points", "panels"), [(TRAINED, 1), (PROBED, 1), (TRAINED + PROBED, 2)])
def test_there_is_a_panel_for_each_measure_that_tells_something(points, panels):
    assert len(drawn(points).axes) == panels
