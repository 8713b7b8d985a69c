import numpy as np
import pytest
from matplotlib.patches import Rectangle

from tools.draw_annotations import annotated_figure, objects_figure

RNG = np.random.default_rng(0)
NAMES = ["red blood cell (erythrocyte), mature", "US$ coin", *(f"class {number}" for number in range(40))]


@pytest.mark.parametrize("count", [1, 3, 9])
def test_rectangles_are_on_pixel_edges(count, assert_legible):
    images = [RNG.integers(0, 256, (30 + 10 * place, 50, 3), np.uint8) for place in range(count)]
    boxes = [np.array([[0, 0, 30, 50], [5, 10, 6, 12]])[: place % 3] for place in range(count)]
    labels = [[0, 1][: place % 3] for place in range(count)]
    figure = annotated_figure(images, boxes, labels, NAMES, title="Blood $ cells")
    assert_legible(figure)
    for axes, wanted in zip(figure.axes, boxes, strict=False):
        corners = [patch.get_bbox().extents for patch in axes.patches if isinstance(patch, Rectangle)]
        found = 0.5 + np.reshape(corners, (-1, 4))[:, [1, 0, 3, 2]]
        np.testing.assert_allclose(found, wanted)
    if count == 3:
        assert figure.axes[0].get_title() == "no objects"
        assert figure.axes[1].get_title() == "1 × red blood cell (erythrocyte), mature"


@pytest.mark.slow
@pytest.mark.parametrize("objects", [0, 1, 700])
@pytest.mark.parametrize("classes", [1, 42])
def test_every_panel_counts_every_object(objects, classes, assert_legible):
    labels = RNG.integers(0, min(classes, 20), objects)
    sides = np.exp(RNG.normal(4, 1, (2, objects)))
    per_image = RNG.integers(0, 60, 50)
    figure = objects_figure(labels, *sides, per_image, NAMES[:classes], title="Objects")
    assert_legible(figure)
    by_class, sizes, images, aspects = figure.axes
    assert sum(bar.get_width() for bar in by_class.patches) == objects
    assert sum(bar.get_height() for bar in sizes.patches) == objects
    assert sum(bar.get_height() for bar in aspects.patches) == objects
    assert sum(bar.get_height() for bar in images.patches) == 50
