import numpy as np
import pytest

from tfeff.reporting.reliability import reliability_figure

EDGES = [0.0, 0.25, 0.5, 0.75, 1.0]


def figure():
    return reliability_figure(EDGES, [0, 10, 20, 70_000], [None, 0.4, 0.6, 0.9], [None, 0.5, 0.6, 0.7], 0.123)


def test_texts_do_not_overlap(assert_legible):
    assert_legible(figure())


def test_bars_show_the_accuracy_and_gaps_extend_to_the_confidence():
    top, bottom = figure().axes
    accuracy, over, under = top.containers
    np.testing.assert_equal([bar.get_height() for bar in accuracy], [np.nan, 0.5, 0.6, 0.7])
    for bar, low, high in zip(over[1:], [0.5, 0.6, 0.7], [0.5, 0.6, 0.9], strict=True):
        assert (bar.get_y(), bar.get_y() + bar.get_height()) == pytest.approx((low, high))
    for bar, high, low in zip(under[1:], [0.5, 0.6, 0.7], [0.4, 0.6, 0.7], strict=True):
        assert (bar.get_y(), bar.get_y() + bar.get_height()) == pytest.approx((high, low))
    assert [bar.get_height() for bar in bottom.containers[0]] == [0, 10, 20, 70_000]
    assert [bar.get_center()[0] for bar in bottom.containers[0]] == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert "12.30 %" in top.get_title()
