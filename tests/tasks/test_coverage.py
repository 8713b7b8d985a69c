"""Which objects anchors and cells cover, by definition."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, tasks
from tfeff.boxes import iou
from tfeff.tasks.object_detection import ObjectDetectionTask

SIZE = (64, 96)


@pytest.fixture(scope="module")
def batch() -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, (50, 80), (3, 5, 2))
    sides = 2 ** rng.uniform(0, 5, (3, 5, 2))
    boxes = np.concatenate([corners, np.minimum(corners + sides, SIZE)], -1).astype(np.float32)
    none = np.zeros((3, 5), bool)
    return {
        "boxes_yxyx": tf.constant(boxes),
        "label": tf.zeros((3, 5), tf.int32),
        "valid": tf.constant(np.arange(5) < np.array([[5], [3], [0]])),
        "difficult": tf.constant(none),
        "crowd": tf.constant(none),
    }


def task(name: str, *overrides: str) -> tuple[ObjectDetectionTask, Any]:
    given = [f"task.name={name}", "task.network.levels=P3,P4", "task.network.aspect=1.5", *overrides]
    settings = config.override(config.Experiment(), given)
    made = tasks.create(settings.task)
    assert isinstance(made, ObjectDetectionTask)
    return made, settings.task.describe(config.architecture("resnet", resolution=96))


@pytest.mark.parametrize(("name", "overlap"), [("efficientdet", 0.5), ("faster_rcnn", 0.7)])
def test_anchors(name: str, overlap: float, batch: dict[str, tf.Tensor]) -> None:
    made, described = task(name)
    anchors = described.anchors.boxes(SIZE)
    covered = made.coverage(batch, made.geometry(described, SIZE))
    for image in range(3):
        overlaps = iou(anchors, batch["boxes_yxyx"][image].numpy())
        np.testing.assert_allclose(covered.overlap[image], overlaps.max(axis=0), atol=1e-5)
        valid = batch["valid"][image].numpy()
        own = np.where(valid, overlaps, -1.0).argmax(axis=1)
        enough = [bool((overlaps[own == k, k] >= overlap).any()) for k in range(5)]
        assert (covered.learned[image].numpy() >= (enough & valid)).all()
        assert not (covered.learned[image].numpy() & ~valid).any()
    expected = {tuple(np.round(box[2:] - box[:2], 2).tolist()) for box in anchors}
    assert {tuple(np.round(each, 2).tolist()) for each in covered.sizes_hw} == expected


def test_proposals_of_each_image(batch: dict[str, tf.Tensor]) -> None:
    made, described = task("fast_rcnn", "task.network.levels=P3", "task.proposals.directory=none-needed")
    rng = np.random.default_rng(1)
    own = np.concatenate([batch["boxes_yxyx"].numpy()[:, :2] + 1, rng.uniform(0, 30, (3, 4, 4))], axis=1)
    own[..., 2:] = np.maximum(own[..., 2:], own[..., :2] + 1)
    proposals = own.astype(np.float32)
    real = np.ones(proposals.shape[:2], bool)
    real[:, -1], proposals[:, -1] = False, 0.0  # padding
    given = {"extra_boxes_yxyx": tf.constant(proposals), "extra_valid": tf.constant(real)}
    covered = made.coverage({**batch, **given}, made.geometry(described, SIZE))
    assert covered.sizes_hw.min() > 0
    for image in range(3):
        overlaps = iou(proposals[image], batch["boxes_yxyx"][image].numpy()).max(axis=0)
        np.testing.assert_allclose(covered.overlap[image], overlaps, atol=1e-5)
        valid = batch["valid"][image].numpy()
        np.testing.assert_array_equal(covered.learned[image], (overlaps >= 0.5) & valid)
    assert np.asarray(covered.learned).any()


def test_cells_without_anchors(batch: dict[str, tf.Tensor]) -> None:
    made, described = task("yolo", "task.network.bins=3")
    covered = made.coverage(batch, made.geometry(described, SIZE))
    centers, strides = described.points.centers(SIZE), described.points.strides(SIZE)
    small = 0
    for image in range(3):
        for number, box in enumerate(batch["boxes_yxyx"][image].numpy()):
            inside = ((centers > box[:2]) & (centers < box[2:])).all(axis=1)
            if not inside.any():
                small += 1
                inside = (np.abs((box[:2] + box[2:]) / 2 - centers) < strides / 2).all(axis=1)
            best = 0.0
            for center, stride in zip(centers[inside], strides[inside], strict=True):
                reach = 2 * stride
                ends = np.clip(box[:2], center - reach, center), np.clip(box[2:], center, center + reach)
                best = max(best, iou(np.concatenate(ends)[None], box[None])[0, 0])
            valid = bool(batch["valid"][image, number])
            assert float(covered.overlap[image, number]) == pytest.approx(best * valid, abs=1e-5)
            assert bool(covered.learned[image, number]) == valid
    assert small > 1


@pytest.mark.parametrize("name", ["grid", "anchor_yolo"])
def test_a_cell_learns_one_object(name: str, batch: dict[str, tf.Tensor]) -> None:
    made, described = task(
        name,
        *(["task.network.anchors=0.1,0.1,0.4,0.4", "task.anchors_per_level=none"] if name == "anchor_yolo" else []),
    )
    covered = made.coverage(batch, made.geometry(described, SIZE))
    np.testing.assert_array_equal(covered.learned.numpy() & ~batch["valid"].numpy(), False)
    same = {**batch, "boxes_yxyx": tf.repeat(batch["boxes_yxyx"][:, :1], 5, axis=1)}
    alone = made.coverage(same, made.geometry(described, SIZE)).learned.numpy()
    assert alone.sum(axis=1).tolist() == [1, 1, 0]
