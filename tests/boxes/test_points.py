import numpy as np
import pytest

from tfeff.boxes import Anchors, Points


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 33)])
def test_centers_are_those_of_anchors(size: tuple[int, int]) -> None:
    anchors = Anchors(levels=(3, 4, 5), scales=(1.0,), aspects=(1.0,)).boxes(size)
    points = Points((3, 4, 5))
    np.testing.assert_allclose(points.centers(size), (anchors[:, :2] + anchors[:, 2:]) / 2, atol=1e-4)
    np.testing.assert_allclose(points.strides(size), (anchors[:, 2:] - anchors[:, :2]) / 4, atol=1e-4)


def test_cells_cover_the_image_once() -> None:
    points = Points((2,))
    centers, strides = points.centers((10, 7)), points.strides((10, 7))
    assert strides.prod(axis=1).sum() == pytest.approx(70)
    corners = np.concatenate([centers - strides / 2, centers + strides / 2], axis=1)
    assert corners.min() == pytest.approx(0, abs=1e-5)
    assert corners.max(axis=0)[2:].tolist() == pytest.approx([10, 7])
