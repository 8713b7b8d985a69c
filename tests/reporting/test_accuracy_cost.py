import numpy as np
import pytest

from tfeff.reporting.accuracy_cost import accuracy_cost_figure

LONG = ["the first of the runs with a very long name", "US$ 5 & more", "c", "d", "e"]


def points(costs, accuracies):
    return [
        {"name": name, "cost": cost, "accuracy": value, "low": value - 0.03, "high": min(1.0, value + 0.02)}
        for name, cost, value in zip(LONG, costs, accuracies, strict=False)
    ]


@pytest.mark.parametrize(
    ("costs", "accuracies"),
    [
        ([2e6], [0.9]),
        ([1e6, 1.2e6, 1.3e6], [0.9, 0.91, 0.8]),
        ([1e6, 8e7, 3e9, 2e10, 2.1e10], [0.7, 0.9, 0.8, 0.95, 1]),
    ],
)
def test_texts_do_not_overlap(costs, accuracies, assert_legible):
    assert_legible(accuracy_cost_figure(points(costs, accuracies), cost="multiply-adds", title="Title"))


def test_only_the_pareto_front_is_filled():
    figure = accuracy_cost_figure(points([1, 2, 3, 4], [0.5, 0.4, 0.6, 0.6]), cost="latency (ms)")
    filled = [line for line in figure.axes[0].lines if line.get_marker() == "o" and line.get_color() != "white"]
    (front,) = [line for line in filled if line.get_markersize() == 7]
    assert np.array(front.get_xydata()).tolist() == [[1, 0.5], [3, 0.6]]
