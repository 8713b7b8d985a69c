import cv2
import numpy as np
import pytest

from tests.proposals import reference
from tfeff.proposals.segmentation import segmentations


def random_planes(rng, channels=3):
    """Returns a small image with flat parts, steps and noise; smoothed in half of the cases."""
    height, width = rng.integers(1, 15, 2)
    planes = rng.integers(0, 4, (channels, height, width)).astype(np.float32) * rng.choice([1, 8, 60])
    planes += rng.choice([0, 1, 5]) * rng.random(planes.shape).astype(np.float32)
    if rng.random() < 0.5:
        planes = np.stack([cv2.GaussianBlur(plane, (0, 0), 0.8) for plane in planes])
    return np.clip(planes, 0, 255).astype(np.float32)


@pytest.mark.parametrize("seed", range(200))
def test_labels_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    planes = random_planes(rng, channels=int(rng.choice([1, 3])))
    thresholds = np.sort(rng.uniform(1, 400, rng.integers(1, 4)))
    min_size, steps = int(rng.integers(1, 12)), float(rng.choice([1, 12]))
    neighbors = int(rng.choice([4, 8]))
    found = segmentations(planes, thresholds, min_size, steps=steps, neighbors=neighbors)
    expected = reference.segmentations(planes, steps, thresholds * steps, min_size, neighbors)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


def test_regions_are_connected_and_large_enough():
    rng = np.random.default_rng(0)
    planes = cv2.GaussianBlur(rng.integers(0, 256, (60, 80)).astype(np.float32), (0, 0), 3)[None]
    (labels,) = segmentations(planes, np.array([50.0]), 20, steps=12)
    count = labels.max() + 1
    assert np.bincount(labels.ravel()).min() >= 20
    # 8-connected, as the graph is.
    assert (
        sum(
            cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)[0] - 1 for label in range(count)
        )
        == count
    )


def test_a_constant_image_is_one_region():
    for shape in ((1, 1), (1, 50), (50, 1), (20, 30)):
        labels = segmentations(np.full((3, *shape), 7, np.float32), np.array([1.0, 2.0]), 5, steps=12)
        assert not labels.any()
