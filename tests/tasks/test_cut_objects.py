"""What augmentation leaves of an object, however little, is background in none of the losses."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.tasks import test_faster_rcnn as faster_rcnn
from tests.tasks.detection_batches import batch_of, outputs_of
from tfeff import tasks
from tfeff.boxes.assignment import IGNORED_OVERLAP, ignored_overlap
from tfeff.config.tasks import TASKS
from tfeff.data.augment.annotated_image import annotated, clipped
from tfeff.tasks.object_detection import ObjectDetectionTask

WHOLE = [[-60.0, 20, 16, 44], [40, 40, 60, 100]]  # a window of 64x64 pixels shows 21 and 40 % of them
CUT = np.array([[0.0, 20, 16, 44]])


def batch() -> dict[str, tf.Tensor]:
    seen = clipped(annotated(tf.zeros((64, 64, 3)), WHOLE, tf.constant([0, 1])), tf.constant([0.0, 0, 64, 64]), 0.25)
    assert seen.labels.numpy().tolist() == [0, 1]
    assert (seen.difficult | seen.crowd).numpy().tolist() == [True, False]
    objects = {"boxes_yxyx": seen.boxes_yxyx, "label": seen.labels, "difficult": seen.difficult, "crowd": seen.crowd}
    return batch_of(images=1, objects=2, classes=2, seed=0) | {
        **{name: value[tf.newaxis] for name, value in objects.items()},
        "valid": tf.constant([[True, True]]),
        "key": tf.constant([[1, 2]]),
    }


def learned(task: ObjectDetectionTask, batch: dict[str, tf.Tensor], outputs: dict[str, Any], name: str) -> np.ndarray:
    """Returns which anchors or cells have a gradient."""
    scores = tf.Variable(outputs[name])
    with tf.GradientTape() as tape:
        totals = task.totals(batch, outputs | {name: scores}, training=True)
        loss = tf.add_n([totals[each] for each in task.losses])
    return (tape.gradient(loss, scores)[0].numpy() != 0).any(axis=-1)


@pytest.mark.parametrize(
    ("detector", "output"),
    [("yolo", "logits"), ("anchor_yolo", "logits"), ("grid", "cells"), ("efficientdet", "logits")],
)
def test_cut_objects_are_no_background(detector: str, output: str) -> None:
    task: Any = tasks.create(TASKS[detector])
    _, outputs = outputs_of(task, classes=2, levels=("P3", "P4", "P5"), seed=0, images=1)
    if detector == "efficientdet":
        inside = ignored_overlap(outputs["anchors"][0].numpy(), CUT) > IGNORED_OVERLAP
    else:
        centers = outputs["centers"] if detector == "yolo" else outputs["corners"] + outputs["strides"] / 2
        inside = ((centers[0] > CUT[0, :2]) & (centers[0] < CUT[0, 2:])).numpy().all(axis=-1)
    given = batch()
    assert inside.any()
    assert not learned(task, given, outputs, output)[inside].any()
    dropped = given | {"valid": tf.constant([[False, True]])}
    assert learned(task, dropped, outputs, output)[inside].all()


def test_regions_of_cut_objects_are_no_background() -> None:
    task, network, _ = faster_rcnn.setting()
    all_anchors = dataclasses.replace(task.section, sampled_anchors=10_000, sampled_regions=1_000)
    task, given = tasks.create(all_anchors), batch()
    dropped = given | {"valid": tf.constant([[False, True]])}
    anchors = ignored_overlap(network.description.anchors.boxes((64, 64)), CUT) > IGNORED_OVERLAP
    proposed = tf.constant(np.tile([[2.0, 22, 14, 40], [30, 2, 60, 30]], (1, 1, 1)), tf.float32)
    for example, background in ((given, False), (dropped, True)):
        outputs = task.forward(network, example, training=True)
        assert learned(task, example, outputs, "objectness")[anchors].all() == background
        assert learned(task, example, outputs, "objectness")[anchors].any() == background
        sampled, chosen = task._sampled(example, proposed, tf.constant([[True, True]]))
        regions = chosen[0].numpy()[(sampled["sampled"][0] > 0) & (sampled["sampled_label"][0] < 0)]
        assert (regions == [2, 22, 14, 40]).all(axis=1).any() == background
        assert (regions == [30, 2, 60, 30]).all(axis=1).any()
