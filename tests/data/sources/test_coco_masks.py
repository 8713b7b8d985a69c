import numpy as np
import pytest
from pycocotools import mask

from tfeff.data.sources.coco_masks import segmentation_box

PIXELS = np.zeros((40, 60), np.uint8, order="F")
PIXELS[5:9, 10:30] = 1
PIXELS[20:33, 50:55] = 1
BOX = (5, 10, 33, 55)


def runs(pixels):
    flat = pixels.flatten(order="F").tolist()
    counts, value = [], 0
    while flat:
        count = next((index for index, each in enumerate(flat) if each != value), len(flat))
        counts.append(count)
        flat, value = flat[count:], 1 - value
    return counts


def test_boxes_of_polygons_and_masks():
    assert segmentation_box([[1, 2, 5, 2, 5, 8.5], [0.5, 3, 2, 3, 2, 4]]) == (2, 0.5, 8.5, 5)
    assert segmentation_box([1, 2, 5, 2, 5, 8.5]) == (2, 1, 8.5, 5)
    assert segmentation_box({"size": [40, 60], "counts": runs(PIXELS)}) == BOX
    assert segmentation_box({"size": [40, 60], "counts": mask.encode(PIXELS)["counts"].decode()}) == BOX


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        [],
        "text",
        [["x", 1]],
        [[1, 2, 3]],
        [[]],
        {},
        {"size": [0, 60], "counts": [0]},
        {"size": [0, 60], "counts": "0"},
        {"size": [40], "counts": [2400]},
        {"size": [40, 60], "counts": [1, 2]},
        {"size": [40, 60], "counts": [-1, 2401]},
        {"size": [40, 60], "counts": [2400]},
        {"size": [40, 60], "counts": "oooo"},
        {"size": [40, 60], "counts": "\x00"},
        {"size": [40, 60], "counts": ""},
        {"size": [1 << 40, 60], "counts": "0"},
        {"size": [40, 60], "counts": None},
    ],
)
def test_damaged_segmentations_have_no_box(damaged):
    assert segmentation_box(damaged) is None
