"""Batches of images with and without labels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfeff.training.unlabeled import WithUnlabeled


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
