"""What regions are to learn, against loops."""

import numpy as np

from tfeff.boxes.assignment import assign, together
from tfeff.boxes.coding import decode


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    height = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    width = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return height * width / (sum(areas) - height * width)


def inside(one: np.ndarray, other: np.ndarray) -> float:
    """Share of one that lies in the other."""
    height = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    width = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    return height * width / ((one[2] - one[0]) * (one[3] - one[1]))


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.uniform(0, 60, (count, 2))
    return np.concatenate([low, low + rng.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)


def test_every_region_is_seen_from_its_nearest_object() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        proposals, objects = boxes(rng, 40), boxes(rng, int(rng.integers(0, 6)))
        labels = rng.integers(0, 3, len(objects))
        left_out = rng.random(len(objects)) < 0.3
        regions = assign(proposals, objects, labels, left_out, image=7)
        every = together(proposals, objects, left_out)
        kept, aside = np.flatnonzero(~left_out), np.flatnonzero(left_out)
        assert len(regions) == len(every) == len(kept) + 40
        assert regions.is_object.sum() == len(kept)
        assert (regions.image == 7).all()
        for number, box in enumerate(every):
            overlaps = [overlap(box, objects[index]) for index in kept]
            aside_overlap = max((inside(box, objects[index]) for index in aside), default=0.0)
            if not overlaps:
                assert (regions.label[number], regions.overlap[number]) == (-1, 0)
                assert regions.ignored[number] == (aside_overlap > 0.3)
                continue
            best = int(np.argmax(overlaps))
            np.testing.assert_allclose(regions.overlap[number], overlaps[best], rtol=1e-5)
            assert regions.label[number] == labels[kept[best]]
            np.testing.assert_allclose(decode(regions.code[number], box), objects[kept[best]], atol=1e-2)
            assert regions.ignored[number] == (aside_overlap > 0.3 and aside_overlap > overlaps[best])


def test_two_objects_with_one_box_keep_their_classes() -> None:
    twice = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    regions = assign(twice[:0], twice, np.array([1, 2]), np.zeros(2, bool))
    assert regions.label.tolist() == [1, 2]


def test_an_image_without_boxes() -> None:
    nothing = np.zeros((0, 4), np.float32)
    assert len(assign(nothing, nothing, np.zeros(0, int), np.zeros(0, bool))) == 0
