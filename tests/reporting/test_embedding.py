import numpy as np
import pytest

from tfeff.reporting.embedding import Neighbors, neighbors_figure, roc_figure, similarity_figure
from tfeff.reporting.figure import GRAY, GREEN, VERMILION


def test_curve_and_equal_error_rate_are_drawn(assert_legible):
    figure = roc_figure([1.0, 0.4, 0.1, 0.0], [1.0, 0.9, 0.6, 0.0], 0.87, 0.2)
    assert_legible(figure)
    _, curve, point = figure.axes[0].lines
    assert curve.get_xydata().tolist() == [[1.0, 1.0], [0.4, 0.9], [0.1, 0.6], [0.0, 0.0]]
    assert point.get_xydata().tolist() == [[0.2, 0.8]]


def test_histograms_have_an_area_of_one(assert_legible):
    edges = np.linspace(-1, 1, 11)
    same, different = np.array([0, 0, 0, 0, 0, 0, 0, 1, 3, 6]), np.array([0, 0, 5, 20, 50, 20, 5, 0, 0, 0])
    figure = similarity_figure(edges, same, different, [("equal error rate at", 0.4), ("threshold of the run", 0.5)])
    assert_legible(figure)
    axes = figure.axes[0]
    for patch, counts in zip(axes.patches, (same, different), strict=True):
        values = patch.get_data().values
        assert (values * 0.2).sum() == pytest.approx(1)
        np.testing.assert_allclose(values / values.max(), counts / counts.max())
    assert [line.get_xdata()[0] for line in axes.lines] == [0.4, 0.5]
    np.testing.assert_allclose(axes.get_xlim(), (-0.6, 1.0))


@pytest.mark.parametrize("channels", [1, 3])
def test_right_neighbors_are_green_and_wrong_ones_red(channels, assert_legible):
    images = [np.full((8, 8, channels), value, np.uint8) for value in (0, 100, 200)]
    names = ["a class with a very long name $x_1$", "a class with a very long name $x_1$", "b"]
    figure = neighbors_figure(
        [Neighbors(images, names, [0.95, 0.5]), Neighbors(images[:2], ["b", "a"], [0.1])], title="t"
    )
    assert_legible(figure)
    titles = [axes.title for axes in figure.axes]
    assert [title.get_color() for title in titles[:5]] == [GRAY, GREEN, VERMILION, GRAY, VERMILION]
    assert [title.get_text().partition("\n")[2] for title in titles] == ["query", "0.95", "0.50", "query", "0.10", ""]
    assert figure.axes[2].images[0].get_array().max() == 200
