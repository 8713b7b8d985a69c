"""Anchors, compared with the reference implementation and hand-computed boxes."""

import math
import zlib

import numpy as np
import pytest

from tfeff.boxes import Anchors, cyxhw_from_yxyx
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
        ({"levels": ()}, "levels"),
        ({"levels": (4, 3)}, "levels"),
    ],
)
def test_wrong_values_are_errors(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Anchors(**options)
