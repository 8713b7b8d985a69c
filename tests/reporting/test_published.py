"""The tables of published networks agree with what this package counts, and with what papers say."""

import pytest

from tfeff import models
from tfeff.analysis.comparison.detectors.page import published_table
from tfeff.reporting import published


def test_published_efficientdets_cost_what_ours_cost():
    rows = {each.name: each for each in published.detectors()}
    for size in ("D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D7x"):
        described, row = models.detector(f"efficientdet-{size.lower()}"), rows[f"EfficientDet-{size}"]
        cost = models.estimate(described, num_classes=90)
        assert row.macs == pytest.approx(cost.macs, rel=0.03)
        assert row.params == pytest.approx(cost.params, rel=0.02)


def test_ratios_are_those_of_the_paper():
    ratios = {row["detector"]: row["ratio"] for row in published_table()}
    assert ratios["YOLOv3"] == "28"
    assert ratios["RetinaNet-R101 (640)"] == "21"
    assert ratios["NAS-FPN R50 (1280, 384 channels)"] == "42"
    assert ratios["NAS-FPN AmoebaNet (1280)"] == "24"
    assert ratios["EfficientDet-D3"] == "1"


def test_each_row_has_a_source():
    for row in (*published.classifiers(), *published.detectors()):
        assert row.source
        assert row.macs > 0


@pytest.mark.slow
def test_texts_of_figures_do_not_overlap(assert_legible):
    own = [{"name": "own", "macs": 9e8, "params": 3.4e6}]
    assert_legible(published.published_figure(own))
    assert_legible(published.published_detectors_figure(own))
