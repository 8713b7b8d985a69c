"""One worker agrees with itself; several are tested in test_distribution."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfeff import config
from tfeff.data.dataset import Dataset, Objects
from tfeff.data.images.storage import EncodedImages
from tfeff.errors import UserError
from tfeff.execution import workers
from tfeff.training import agreement
from tfeff.training.agreement import Agreement


def test_one_worker_agrees_with_itself() -> None:
    alone = Agreement(tf.distribute.get_strategy())
    assert alone.gathered([3, 5]).tolist() == [[3, 5]]
    assert [alone.any(flag) for flag in (False, True)] == [False, True]
    alone.require_equal({agreement.CONFIG: 3})


def test_the_first_worker_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three with two devices each."""
    monkeypatch.setattr(workers, "worker_count", lambda: 3)
    together = Agreement(tf.distribute.get_strategy())
    found = np.array([[1, 2], [1, 2], [1, 2], [1, 2], [1, 7], [1, 7]])
    monkeypatch.setattr(together, "gathered", lambda values: found)
    with pytest.raises(UserError, match=r"^TF_CONFIG: worker 2 has other images than worker 0; all workers need"):
        together.require_equal({agreement.CONFIG: 1, agreement.IMAGES: 2})
    found[:, 1] = 2
    together.require_equal({agreement.CONFIG: 1, agreement.IMAGES: 2})


def test_what_must_be_equal_in_a_config() -> None:
    one = config.Experiment()

    def checksum(*overrides: str) -> int:
        return agreement.checksum_of_config(config.flatten(config.override(one, overrides)))

    expected = checksum()
    for same in ("data.source=folder:elsewhere", "data.cache=none", "training.checkpoint_seconds=1"):
        assert checksum(same) == expected
    for other in ("optimizer.learning_rate=0.7", "seed=9", "task.label_smoothing=0.3"):
        assert checksum(other) != expected


def test_what_must_be_equal_in_images() -> None:
    def labels(ids: list[str], own: list[int]) -> Dataset:
        return Dataset("folder:x/train", ("a", "b"), ids, EncodedImages([b""] * len(ids), "1"), labels=np.array(own))

    expected = agreement.checksum_of_images(labels(["x", "y"], [0, 1]))
    assert agreement.checksum_of_images(labels(["x", "y"], [0, 1])) == expected
    for other in (labels(["x", "z"], [0, 1]), labels(["x", "y"], [1, 0]), labels(["x"], [0])):
        assert agreement.checksum_of_images(other) != expected
    boxes, off = np.array([[0, 0, 4, 4]], np.float32), np.zeros(1, bool)
    images = EncodedImages([b""], "1")
    one = Dataset(
        "voc:x/train", ("a",), ["x"], images, objects=[Objects(boxes, np.zeros(1, np.int32), off, off)],
        sizes=np.array([(9, 9)], np.int32),
    )  # fmt: skip
    moved = dataclasses.replace(one, objects=[dataclasses.replace(one.objects[0], boxes_yxyx=boxes + 1)])
    assert agreement.checksum_of_images(one) != agreement.checksum_of_images(moved)


def test_arrays_of_any_shape_and_type_have_a_checksum() -> None:
    arrays = [np.arange(6).reshape(2, 3).T, np.float32(3), np.zeros(0)]
    assert agreement.checksum_of_arrays(arrays) == agreement.checksum_of_arrays([np.array(each) for each in arrays])
    assert agreement.checksum_of_arrays(arrays) != agreement.checksum_of_arrays(arrays[1:])


def test_errors_of_collective_operators_are_those_of_lost_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose() -> None:
        with agreement.noticing_lost_workers():
            raise tf.errors.UnavailableError(None, None, "gone")

    with pytest.raises(tf.errors.UnavailableError):
        lose()
    monkeypatch.setattr(workers, "worker_count", lambda: 2)
    with pytest.raises(agreement.WorkerLostError, match="lost another worker"):
        lose()
