"""Regions of images: their order, overlaps and features, against loops."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tfeff.boxes import iou
from tfeff.boxes.assignment import IGNORED_OVERLAP, ignored_overlap
from tfeff.data.dataset import Objects
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.rcnn.feature_store import StoredFeatures
from tfeff.rcnn.regions import RegionSet, proposal_recall, region_set


@pytest.fixture
def regions():
    """Six images with random proposals; some of their objects are difficult, some crowds."""
    images = catalog.open_objects("embedded:placed_digits:64").load("validation").take(np.arange(6))
    rng = np.random.default_rng(0)
    for objects in images.objects:
        objects.difficult[:] = rng.random(len(objects)) < 0.3
        objects.crowd[:] = rng.random(len(objects)) < 0.2
    proposals = []
    for _ in range(6):
        low = rng.uniform(0, 40, (25, 2))
        proposals.append(np.concatenate([low, low + rng.uniform(4, 24, (25, 2))], axis=1).astype(np.float32))
    counts = [25 + int((~objects.ignored).sum()) for objects in images.objects]
    rows = np.arange(sum(counts))
    return RegionSet(images, proposals, StoredFeatures(rows[:, None].astype(np.float16), rows), np.array(counts))


def test_overlaps_with_each_class_match_a_loop(regions) -> None:
    row = 0
    for image, objects in enumerate(regions.images.objects):
        ignored = objects.ignored
        for box in regions.boxes(image):
            expected = np.zeros(10)
            for own, label in zip(objects.boxes_yxyx[~ignored], objects.labels[~ignored], strict=True):
                expected[label] = max(expected[label], iou(box[None], own[None])[0, 0])
            if ignored_overlap(box[None], objects.boxes_yxyx[ignored])[0] > IGNORED_OVERLAP:
                expected[:] = np.nan
            np.testing.assert_allclose(regions.class_overlaps[row], expected, rtol=1e-5)
            row += 1
    assert row == len(regions.targets) == len(regions.class_overlaps)


def test_features_of_proposals_follow_those_of_objects(regions) -> None:
    for image in range(6):
        end = regions.counts[: image + 1].sum()
        start = end - regions.counts[image]
        assert regions.features_of(image)[:, 0].tolist() == list(range(start, end))
        own = regions.targets.is_object[start:end]
        assert own.tolist() == sorted(own, reverse=True)


def test_proposal_recall_counts_covered_objects() -> None:
    def objects(*boxes: tuple[float, ...]) -> Objects:
        count = len(boxes)
        flags = np.zeros(count, bool)
        return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(count, np.int32), flags, flags.copy())

    annotated = [objects((0, 0, 10, 10), (20, 20, 30, 30)), objects((0, 0, 4, 4)), objects()]
    proposals = [np.array([[0, 0, 10, 9]], np.float32), np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)]
    assert proposal_recall(annotated, proposals) == pytest.approx(1 / 3)


@pytest.mark.slow
def test_a_backbone_with_the_same_weights_and_other_layers_has_its_own_features(tmp_path: Path) -> None:
    images = catalog.open_objects("embedded:placed_digits:64").load("validation").take(np.arange(2))
    proposals = [np.array([[0, 0, 40, 50]], np.float32)] * 2

    def features(scale: float) -> np.ndarray:
        pixels = keras.Input((8, 8, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(scale)(pixels))
        backbone = keras.Model(pixels, pooled)
        found = region_set(backbone, images, proposals, tmp_path, context=0, progress=lambda done, total: None)
        return found.features[:].astype(np.float32)

    np.testing.assert_allclose(features(0.5), features(1.0) / 2, rtol=1e-2)
    features(0.5)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UserError, match=f"{images.ids[0]}: the features of its regions reach .*, up to 65,504"):
        features(1e6)
