import pytest

from tfeff.reporting.paired_differences import paired_differences_figure


@pytest.mark.parametrize("count", [1, 10])
def test_texts_do_not_overlap(count, assert_legible):
    row = {"first": "a run with a very long name indeed", "second": "US$", "difference": 0.02, "low": -0.1, "high": 0.3}
    assert_legible(paired_differences_figure([row] * count))


def test_bars_reach_from_low_to_high():
    rows = [
        {"first": "a", "second": "b", "difference": 0.1, "low": -0.1, "high": 0.2},
        {"first": "a", "second": "c", "difference": 0.3, "low": 0.25, "high": 0.4},
    ]
    (axes,) = paired_differences_figure(rows).axes
    (bars,) = [each for each in axes.collections if each.get_segments()]
    ends = [(segment[:, 0].min(), segment[:, 0].max(), segment[0, 1]) for segment in bars.get_segments()]
    assert ends == [pytest.approx((-0.1, 0.2, 0)), pytest.approx((0.25, 0.4, 1))]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a − b", "a − c"]
