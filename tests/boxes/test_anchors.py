"""Anchors, compared with the reference implementation and hand-computed boxes."""

import math
import zlib

import numpy as np
import pytest

from tfeff.boxes import Anchors, Points, cyxhw_from_yxyx, iou
from tfeff.boxes.anchors import anchor_sizes, shape_iou
from tfeff.errors import UserError

# Number of anchors, and CRC-32 of their float32 bytes, from google/automl `efficientdet/tf2/anchors.py`. The last four
# sizes are no multiples of the coarsest stride.
REFERENCE = [
    (range(3, 8), 4.0, (512, 512), 49_104, 0x7BEC7093),  # D0
    (range(3, 8), 5.0, (1536, 1536), 441_936, 0xCAD0049B),  # D7
    (range(3, 9), 4.0, (1536, 1536), 442_260, 0x9313314C),  # D7x
    (range(3, 8), 4.0, (384, 640), 46_035, 0xFF750345),
    (range(3, 8), 3.0, (320, 320), 19_206, 0x581CDEDC),  # Lite0
    (range(3, 8), 3.0, (448, 448), 37_629, 0xBAD5ACD1),  # Lite2
    (range(2, 7), 4.0, (95, 95), 6_921, 0x9DB84886),
    (range(1, 4), 3.0, (33, 50), 5_193, 0xB0919AF7),
]


@pytest.mark.parametrize(("levels", "size", "image", "count", "checksum"), REFERENCE)
def test_equal_the_reference(levels: range, size: float, image: tuple[int, int], count: int, checksum: int) -> None:
    boxes = Anchors(levels=tuple(levels), size=size).boxes(image)
    assert boxes.dtype == np.float32
    assert boxes.shape == (count, 4)
    assert zlib.crc32(boxes.tobytes()) == checksum


def test_order_centers_and_sides() -> None:
    anchors = Anchors(levels=(3, 4), size=2.0, scales=(1.0, 3.0), aspects=(1.0, 4.0))
    assert anchors.per_position == 4
    cyxhw = cyxhw_from_yxyx(anchors.boxes((16, 24)))
    fine = [(y, x, 8.0) for y in (4, 12) for x in (4, 12, 20)]
    coarse = [(8, x, 16.0) for x in (6, 18)]  # two columns in 24 pixels: a stride of 12 instead of 16
    expected = []
    for y, x, stride in (*fine, *coarse):
        for scale in (1, 3):
            for aspect in (1, 4):
                width = 12.0 if stride == 16 else stride
                expected.append((y, x, 2 * stride * scale / math.sqrt(aspect), 2 * width * scale * math.sqrt(aspect)))
    np.testing.assert_allclose(cyxhw, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0.0}, "size 0.0"),
        ({"scales": ()}, "scales"),
        ({"aspects": (1.0, -2.0)}, "aspects"),
        ({"size": math.inf}, "size inf"),
        ({"levels": ()}, "levels"),
        ({"levels": (4, 3)}, "levels"),
    ],
)
def test_wrong_values_are_errors(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Anchors(**options)


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


@pytest.mark.parametrize(
    ("size", "level", "steps"),
    [
        *(((180, 320), 3, (8, 8)), ((180, 320), 5, (32, 32)), ((180, 320), 7, (96, 106))),
        *(((800, 1066), 4, (16, 16)), ((800, 1066), 6, (61, 64)), ((800, 1066), 7, (114, 120))),
    ],
)
def test_corners_lie_on_the_cells_of_torchvision(size: tuple[int, int], level: int, steps: tuple[int, int]) -> None:
    """Which pads images to multiples of 32 and divides these by the number of cells: 192 // 2, 1088 // 9."""
    anchors = Anchors(levels=(level,), size=4.0, scales=(1.0,), aspects=(1.0,), corner=True).boxes(size)
    places = np.unique((anchors[:, :2] + anchors[:, 2:]) / 2 % steps)
    assert places.tolist() == [0.0]
    assert ((anchors[-1, :2] + anchors[-1, 2:]) / 2).tolist() == [
        step * (-(-side // 2**level) - 1) for step, side in zip(steps, size, strict=True)
    ]


def test_shape_iou_is_the_iou_of_centered_boxes() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(1, 50, (20, 2)), rng.uniform(1, 50, (30, 2))
    centered = [np.concatenate([-sizes / 2, sizes / 2], axis=1) for sizes in (first, second)]
    np.testing.assert_allclose(shape_iou(first, second), iou(*centered))


def test_separate_groups_become_the_anchors() -> None:
    rng = np.random.default_rng(1)
    groups = np.array([[10.0, 10], [20, 60], [90, 30]])
    sizes = np.concatenate([group * rng.uniform(0.95, 1.05, (40, 2)) for group in groups])
    anchors = anchor_sizes(rng.permutation(sizes), 3)
    np.testing.assert_allclose(anchors, groups, rtol=0.03)


def test_the_result_is_a_fixed_point_and_beats_quantiles() -> None:
    rng = np.random.default_rng(2)
    sizes = np.exp(rng.normal(3, 0.7, (500, 2)))
    anchors = anchor_sizes(sizes, 9)
    nearest = shape_iou(sizes, anchors).argmax(axis=1)
    means = np.stack([sizes[nearest == k].mean(axis=0) for k in range(9)])
    np.testing.assert_allclose(anchors, means)
    start = sizes[np.argsort(sizes.prod(axis=1))][((np.arange(9) + 0.5) / 9 * 500).astype(int)]
    assert shape_iou(sizes, anchors).max(axis=1).mean() > shape_iou(sizes, start).max(axis=1).mean() + 0.01


def test_few_boxes() -> None:
    assert anchor_sizes([[4.0, 2.0]], 3).tolist() == [[4, 2]] * 3
    with pytest.raises(ValueError, match="no boxes"):
        anchor_sizes(np.zeros((0, 2)), 3)
