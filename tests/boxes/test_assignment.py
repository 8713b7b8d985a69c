"""Assignment of regions to objects, compared with loops."""

import numpy as np

from tfeff.boxes.assignment import IGNORED_OVERLAP, assign, ignored_overlap, region_boxes
from tfeff.boxes.coding import decode


def iou(one: np.ndarray, other: np.ndarray) -> float:
    height = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    width = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return height * width / (sum(areas) - height * width)


def covered(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the fraction of one box that lies in the other."""
    height = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    width = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    return height * width / ((one[2] - one[0]) * (one[3] - one[1]))


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.uniform(0, 60, (count, 2))
    return np.concatenate([low, low + rng.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)


def test_every_region_is_assigned_to_the_object_with_the_largest_overlap() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        proposals, objects = boxes(rng, 40), boxes(rng, int(rng.integers(0, 6)))
        labels = rng.integers(0, 3, len(objects))
        ignored = rng.random(len(objects)) < 0.3
        regions = assign(proposals, objects, labels, ignored, image=7)
        all_boxes = region_boxes(proposals, objects, ignored)
        kept = np.flatnonzero(~ignored)
        assert len(regions) == len(all_boxes) == len(kept) + 40
        assert regions.is_object.sum() == len(kept)
        assert (regions.image == 7).all()
        for number, box in enumerate(all_boxes):
            overlaps = [iou(box, objects[index]) for index in kept]
            on_ignored = max((covered(box, other) for other in objects[ignored]), default=0.0)
            assert regions.covered[number] == (on_ignored > IGNORED_OVERLAP)
            if not overlaps:
                assert (regions.label[number], regions.overlap[number]) == (-1, 0)
                continue
            best = int(np.argmax(overlaps))
            np.testing.assert_allclose(regions.overlap[number], overlaps[best], rtol=1e-5)
            assert regions.label[number] == labels[kept[best]]
            np.testing.assert_allclose(decode(regions.code[number], box), objects[kept[best]], atol=1e-2)


def test_objects_with_the_same_box_keep_their_labels() -> None:
    objects = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    regions = assign(objects[:0], objects, np.array([1, 2]), np.zeros(2, bool))
    assert regions.label.tolist() == [1, 2]


def test_an_image_without_boxes() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert len(assign(empty, empty, np.zeros(0, int), np.zeros(0, bool))) == 0


def test_an_image_with_only_ignored_objects_has_only_background() -> None:
    proposals = np.array([[0, 0, 10, 10], [0, 8, 10, 18], [20, 20, 30, 30]], np.float32)
    regions = assign(proposals, proposals[:1], np.array([2]), np.ones(1, bool))
    assert regions.label.tolist() == [-1, -1, -1]
    assert regions.covered.tolist() == [True, False, False]
    assert not regions.is_object.any()
    assert not regions.code.any()


def test_ignored_overlap_is_relative_to_the_area_of_the_box() -> None:
    proposals = np.array([[0, 0, 10, 10], [0, 0, 100, 10], [0, 0, 0, 0]], np.float32)
    crowds = np.array([[0, 0, 50, 50], [0, 0, 5, 5]], np.float32)
    np.testing.assert_allclose(ignored_overlap(proposals, crowds), [1.0, 0.5, 0.0])
    assert ignored_overlap(proposals, crowds[:0]).tolist() == [0, 0, 0]


def test_selected_regions_keep_all_attributes() -> None:
    rng = np.random.default_rng(1)
    regions = assign(boxes(rng, 9), boxes(rng, 2), np.array([3, 4]), np.zeros(2, bool), image=5)
    selected = regions.take(np.array([4, 0]))
    for name in ("overlap", "label", "code", "is_object", "covered", "image"):
        np.testing.assert_array_equal(getattr(selected, name), getattr(regions, name)[[4, 0]])
    assert len(regions.take(regions.is_object)) == 2
