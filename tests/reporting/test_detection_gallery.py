import numpy as np
import pytest

from tfeff.reporting.detection_gallery import detection_gallery_figure
from tfeff.reporting.detections import DetectedImage


def image(height, width, value=0):
    box = np.array([[0.2 * height, 0.2 * width, 0.8 * height, 0.8 * width]])
    return DetectedImage(np.full((height, width, 3), value, np.uint8), box, ["cell"], np.array([0.5]), box)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_captions_do_not_overlap(count, assert_legible):
    rng = np.random.default_rng(0)
    images = [image(*rng.integers(50, 400, 2)) for _ in range(count)]
    captions = ["W" * 60, "US$ coin, quality 0.25"] * count
    figure = detection_gallery_figure(images, captions[:count], title="The worst images by quality")
    assert_legible(figure)
    assert sum(len(axes.images) for axes in figure.axes) == count


def test_images_are_in_order_with_their_captions():
    images = [image(40, 60, value) for value in (10, 20, 30, 40)]
    figure = detection_gallery_figure(images, "abcd", columns=3)
    shown = [(axes.get_title(), axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes if axes.images]
    assert shown == [("a", 10), ("b", 20), ("c", 30), ("d", 40)]
