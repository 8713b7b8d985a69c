"""Batches of images with and without labels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.data.input.test_batches import MIXED, MODERATE, assert_same, elements, pipeline
from tests.thoroughness import thorough
from tfeff.data.augment.policy import Augmentation
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.training.unlabeled import PlainFrom, WithUnlabeled


def batches(first: int, count: int) -> Any:
    """Batches of images that are numbered from `first`."""
    rows = np.arange(first, first + count, dtype=np.float32)
    data = tf.data.Dataset.from_tensors({"image": np.stack([rows, rows], axis=1), "weight": np.ones(count, "f4")})
    return SimpleNamespace(
        images=range(count), batch_size=count, steps_per_epoch=1, training_batches=lambda *_: data.repeat()
    )


@pytest.mark.parametrize(
    ("parts", "order"),
    [(1, [0, 1, 2, 3, 10, 11]), (2, [0, 1, 10, 2, 3, 11])],
)
def test_each_part_of_a_batch_has_images_with_and_without_labels(parts: int, order: list[int]) -> None:
    joined = WithUnlabeled(batches(0, 4), batches(10, 2), parts=parts)
    batch = next(iter(joined.training_batches(1)))
    assert batch["image"].shape == (6, 2)
    assert batch["image"][:, 0].numpy().tolist() == order
    assert batch["labeled"].numpy().tolist() == [each < 10 for each in order]


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", [thorough(MODERATE), MIXED])
def test_images_are_plain_from_a_step_within_an_epoch_on(augmentation: Augmentation) -> None:
    images = catalog.open_labels("embedded:digits", Options()).load("train").take(np.arange(40))
    cache = ImageCache.open(images)
    varied, plain = (pipeline(cache, augmentation=augmentation, plain_from=each) for each in (None, 0))
    expected = [*elements(varied.training_batches(3))[:3], *elements(plain.training_batches(3))[3:]]
    assert not np.array_equal(expected[2]["image"], elements(plain.training_batches(3))[2]["image"])
    ending = PlainFrom(pipeline(cache, augmentation=augmentation, plain_from=9), 3)
    assert ending.steps_per_epoch == 2
    for start in (0, 2, 3, 5):
        assert_same(elements(ending.training_batches(3, start)), expected[start:])
    assert_same(elements(ending.training_batches(1)), expected[:2])
