"""The tables of published networks agree with what this package counts, and with what papers say."""

import pytest

from tfeff import models
from tfeff.analysis.comparison.detectors.page import published_table
from tfeff.reporting import published
from tfeff.reporting.figure import BLUE, GRAY


def test_published_efficientdets_cost_what_ours_cost():
    rows = {each.name: each for each in published.detectors()}
    for size in ("D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D7x"):
        described, row = models.detector(f"efficientdet-{size.lower()}"), rows[f"EfficientDet-{size}"]
        cost = models.estimate(described, num_classes=90)
        assert row.macs == pytest.approx(cost.macs, rel=0.03)
        assert row.params == pytest.approx(cost.params, rel=0.02)


def test_ratios_are_those_of_the_paper():
    rows = {row["detector"]: row for row in published_table()}
    ratios = {name: row["ratio"] for name, row in rows.items()}
    assert ratios["YOLOv3"] == "28"
    assert ratios["RetinaNet-R101 (640)"] == "21"
    assert ratios["NAS-FPN R50 (1280, 384 channels)"] == "42"
    assert ratios["NAS-FPN AmoebaNet (1280)"] == "24"
    assert ratios["EfficientDet-D3"] == "1"
    latencies = {name: (row["GPU ratio"], row["CPU ratio"]) for name, row in rows.items()}
    assert latencies["RetinaNet-R50 (640)"] == ("1.6", "3.8")  # 25 / 16 ms and 2.8 / 0.74 s, those of EfficientDet-D1
    assert latencies["EfficientDet-D3"] == ("1", "1")
    assert latencies["YOLOv3"] == (None, None)
    assert latencies["EfficientDet-D7x"] == ("1", None)


def test_published_networks_are_gray():
    """Blue are the user's own."""
    figure = published.published_detectors_figure([{"macs": 1e9, "params": 1e6}])
    for axes in figure.axes:
        assert {line.get_color() for line in axes.lines if line.get_marker() == "o"} == {GRAY}
        assert {line.get_color() for line in axes.lines if line.get_linestyle() == "--"} <= {BLUE}


def test_each_row_has_a_source():
    for row in (*published.classifiers(), *published.detectors()):
        assert row.source
        assert row.macs > 0


@pytest.mark.slow
def test_texts_of_figures_do_not_overlap(assert_legible):
    own = [{"name": "own", "macs": 9e8, "params": 3.4e6}]
    assert_legible(published.published_figure(own))
    assert_legible(published.published_detectors_figure(own))
