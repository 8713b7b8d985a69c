"""What a run knows of the regions of its images."""

import numpy as np
import pytest
from tfeff.data.annotations import Objects

from tfeff import config
from tfeff.boxes import iou
from tfeff.boxes.assignment import IGNORED_OVERLAP, ignored_overlap
from tfeff.rcnn import splits
from tfeff.rcnn.cache import Cached
from tfeff.rcnn.images import load
from tfeff.rcnn.stages import ceiling


@pytest.fixture
def split():
    """Six images with random proposals; some of their objects are difficult, some crowds."""
    settings = config.RCNN(data=config.DetectionData(source="embedded:placed_digits:64"))
    images = load(settings, "validation").take(np.arange(6))
    rng = np.random.default_rng(0)
    for objects in images.objects:
        objects.difficult[:] = rng.random(len(objects)) < 0.3
        objects.crowd[:] = rng.random(len(objects)) < 0.2
    proposals = []
    for _ in range(6):
        low = rng.uniform(0, 40, (25, 2))
        proposals.append(np.concatenate([low, low + rng.uniform(4, 24, (25, 2))], axis=1).astype(np.float32))
    counts = [25 + int((~(objects.difficult | objects.crowd)).sum()) for objects in images.objects]
    starts = np.concatenate([[0], np.cumsum(counts)])
    return splits.Split("train", images, proposals, Cached(np.arange(starts[-1])[:, None].astype(np.float16), starts))


def test_overlaps_with_each_class_against_loops(split) -> None:
    row = 0
    for image, objects in enumerate(split.images.objects):
        aside = objects.difficult | objects.crowd
        for box in split.boxes(image):
            expected = np.zeros(10)
            for own, label in zip(objects.boxes_yxyx[~aside], objects.labels[~aside], strict=True):
                expected[label] = max(expected[label], iou(box[None], own[None])[0, 0])
            if ignored_overlap(box[None], objects.boxes_yxyx[aside])[0] > IGNORED_OVERLAP:
                expected[:] = np.nan
            np.testing.assert_allclose(split.class_overlaps[row], expected, rtol=1e-5)
            row += 1
    assert row == len(split.regions) == len(split.class_overlaps)


def test_features_of_proposals_come_after_those_of_objects(split) -> None:
    for image in range(6):
        start, end = split.cached.starts[image : image + 2]
        assert split.proposal_features(image)[:, 0].tolist() == list(range(end - 25, end))
        own = split.regions.is_object[start:end]
        assert own.tolist() == sorted(own, reverse=True)


def test_no_head_finds_more_than_the_ceiling() -> None:
    def objects(*boxes: tuple[float, ...]) -> Objects:
        count = len(boxes)
        flags = np.zeros(count, bool)
        return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(count, np.int32), flags, flags.copy())

    there = [objects((0, 0, 10, 10), (20, 20, 30, 30)), objects((0, 0, 4, 4)), objects()]
    found = [np.array([[0, 0, 10, 9]], np.float32), np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)]
    assert ceiling(there, found) == pytest.approx(1 / 3)
