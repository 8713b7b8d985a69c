import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from tfeff.reporting.figure import new
from tfeff.reporting.labels import place


def drawing(points):
    figure = new(5, 4)
    axes = figure.add_subplot()
    axes.plot(*np.transpose(points), "o", markersize=6)
    axes.margins(0.1)
    return figure, axes


@pytest.mark.parametrize("count", [1, 5, 25])
def test_texts_do_not_cover_texts_points_or_lines(count, assert_legible):
    points = np.random.default_rng(count).uniform(size=(count, 2))
    points[-1] = points[0]  # two labels of the same point
    line = np.array([[0.0, 0.0], [1.0, 1.0]])
    figure, axes = drawing(points)
    assert place(axes, points, [f"network {i}" for i in range(count)], lines=[line]) == count
    assert_legible(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixels = axes.transData.transform(np.vstack([points, np.linspace(*line, 500)]))
    frame = axes.get_window_extent(renderer)
    for text in filter(Text.get_text, axes.texts):
        extent = text.get_window_extent(renderer)
        assert not [pixel for pixel in pixels if extent.contains(*pixel)], text.get_text()
        assert frame.contains(*extent.min)
        assert frame.contains(*extent.max)


def test_texts_that_do_not_fit_and_empty_texts_are_left_out():
    points = np.array([[0.2, 0.5], [0.8, 0.5]])
    _, axes = drawing(points)
    assert place(axes, points, ["far too long for these axes " * 5, ""]) == 0
    assert not axes.texts
    assert place(axes, np.empty((0, 2)), []) == 0


def test_labels_do_not_change_the_layout():
    points = np.random.default_rng(0).uniform(size=(10, 2))
    figure, axes = drawing(points)
    figure.draw_without_rendering()
    before = axes.get_position().bounds
    place(axes, points, ["a label of a point"] * 10)
    figure.draw_without_rendering()
    assert axes.get_position().bounds == before


def test_texts_do_not_cover_existing_texts(assert_legible):
    figure, axes = drawing([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    axes.text(0.52, 0.52, "an existing text")
    assert place(axes, [[0.5, 0.5]], ["a label of a point"]) == 1
    assert_legible(figure)
