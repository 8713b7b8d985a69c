"""Batches of regions: the sampler's rows with their features and targets, from any step on."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.rcnn.random_regions import CLASSES, examples
from tfeff.boxes.coding import FAST_RCNN_WEIGHTS
from tfeff.data.sources import catalog
from tfeff.rcnn import region_batches
from tfeff.rcnn.feature_store import StoredFeatures
from tfeff.rcnn.region_batches import ImageBatches, RegionBatches
from tfeff.rcnn.regions import RegionSet
from tfeff.rcnn.sampling import RegionSampler

TRAIN, _, _ = examples(1, count=200)


def batches() -> RegionBatches:
    sampler = RegionSampler.by_overlap(
        TRAIN.targets, positives=20, batch_size=24, positive_overlap=0.5, negative_overlap=0.5, seed=3
    )
    return RegionBatches(TRAIN, sampler)


def test_a_batch_holds_the_features_and_targets_of_its_rows() -> None:
    rows = batches().rows(1)[0]
    batch = batches().read(rows)
    np.testing.assert_array_equal(batch["features"], TRAIN.features[rows])
    np.testing.assert_array_equal(batch["positive"], [1] * 20 + [0] * 4)
    np.testing.assert_array_equal(batch["label"], [*TRAIN.targets.label[rows[:20]], *[CLASSES] * 4])
    np.testing.assert_allclose(batch["code"], TRAIN.targets.code[rows] * np.array(FAST_RCNN_WEIGHTS), rtol=1e-6)


def test_no_batch_has_half_floats() -> None:
    """TensorFlow logs a line when it casts them, on CPUs without instructions for them."""
    for pipeline in (batches(), ImageBatches([None], TRAIN)):  # type: ignore[arg-type]
        specs = pipeline.evaluation_batches().element_spec
        assert specs["features"].dtype == tf.float32
        assert tf.float16 not in {spec.dtype for spec in specs.values()}


def test_the_next_image_is_read_while_one_is_in_use() -> None:
    images = catalog.open_objects("embedded:placed_digits:64").load("validation").take(np.arange(3))
    boxes = [np.array([[0, 0, 9, 9]], np.float32)] * 3
    counts = np.array([1 + np.sum(~each.ignored) for each in images.objects])
    read, second = list[np.ndarray | slice](), threading.Event()

    class Features(StoredFeatures):
        def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
            read.append(rows)
            if len(read) == 2:
                second.set()
            return super().__getitem__(rows)

    rows = np.arange(counts.sum())
    regions = RegionSet(images, boxes, Features(np.zeros((len(rows), 4), np.float16), rows), counts)
    found = iter(ImageBatches([None] * 3, regions).evaluation_batches())  # type: ignore[arg-type]
    next(found)
    assert second.wait(30)


def test_an_epoch_depends_on_its_number_alone_and_can_start_at_any_step() -> None:
    pipeline = batches()
    expected = [pipeline.read(rows) for epoch in (1, 2, 3) for rows in pipeline.rows(epoch)]
    steps = pipeline.steps_per_epoch
    assert len(expected) == 3 * steps > 10
    for start in (0, 2, steps, 2 * steps + 1, 3 * steps):
        found = list(pipeline.training_batches(3, start).as_numpy_iterator())
        assert len(found) == len(expected) - start
        for one, other in zip(found, expected[start:], strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert one[name].dtype == other[name].dtype
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_validation_repeats_the_first_batches_of_epoch_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_batches, "MAX_VALIDATION_BATCHES", 2)
    pipeline = batches()
    for _ in range(2):
        found = [batch["features"] for batch in pipeline.evaluation_batches().as_numpy_iterator()]
        np.testing.assert_array_equal(found, [TRAIN.features[rows] for rows in pipeline.rows(0)[:2]])
