import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.detection_batches import batch_of, is_hidden, outputs_of
from tfeff import config
from tfeff.boxes import iou
from tfeff.config.task_parts import Teacher
from tfeff.tasks.grid import GridTask


def test_losses_by_definition() -> None:
    """One cell and one box after the other, as in darknet's detection_layer.c."""
    task = GridTask(config.GridSettings())
    _, outputs = outputs_of(task, classes=3, levels=("P3", "P4"), seed=0)
    batch = batch_of(images=4, objects=5, classes=3, seed=1)
    totals = task.totals(batch, outputs, training=True)

    cells, side = outputs["cells"].numpy().astype(float), 8
    class_loss = confidence_loss = box_loss = 0.0
    for image in range(4):
        usable = batch["valid"][image].numpy() & ~batch["difficult"][image].numpy()
        for cell in range(64):
            row, column = divmod(cell, side)
            values = cells[image, cell]
            confidence, codes = values[3:5], values[5:].reshape(2, 4)
            mine = [
                (box, label)
                for box, label, use in zip(
                    batch["boxes_yxyx"][image].numpy(), batch["label"][image].numpy(), usable, strict=True
                )
                if use and (int((box[0] + box[2]) / 16), int((box[1] + box[3]) / 16)) == (row, column)
            ]
            no_object = 0.5 * confidence**2 * (not is_hidden(batch, image, row * 8, column * 8, 8))
            if not mine:
                confidence_loss += no_object.sum()
                continue
            box, label = mine[0]
            class_loss += sum((values[c] - (c == label)) ** 2 for c in range(3))
            center = np.array([(row + codes[:, 0]) * 8, (column + codes[:, 1]) * 8]).T
            sides = codes[:, 2:] ** 2 * 64
            predicted = np.concatenate([center - sides / 2, center + sides / 2], axis=1)
            overlap = iou(predicted, box[None])[:, 0]
            middle, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            distance = ((center - middle) ** 2).sum(axis=1) + ((sides - size) ** 2).sum(axis=1)
            best = int(overlap.argmax() if overlap.max() > 0 else distance.argmin())
            confidence_loss += no_object[1 - best] + (confidence[best] - overlap[best]) ** 2
            wanted = np.array([*(middle / 8 - (row, column)), *np.sqrt(size / 64)])
            box_loss += 5 * ((codes[best] - wanted) ** 2).sum()
    np.testing.assert_allclose(totals["class_loss"], class_loss, rtol=1e-4)
    np.testing.assert_allclose(totals["confidence_loss"], confidence_loss, rtol=1e-4)
    np.testing.assert_allclose(totals["box_loss"], box_loss, rtol=1e-4)
    assert totals["images"] == 4


@pytest.mark.parametrize("kind", ["difficult", "crowd"])
def test_ignored_objects_are_no_background(kind: str) -> None:
    """A large one hides all cells whose centers it contains; a small one, the cell of its center."""
    task = GridTask(config.GridSettings())
    _, outputs = outputs_of(task, classes=2, levels=("P3", "P4"), seed=0, images=1)
    cells = tf.Variable(outputs["cells"])
    batch = batch_of(images=1, objects=2, classes=2, seed=0) | {
        "boxes_yxyx": tf.constant([[[0.0, 0, 24, 16], [49, 57, 51, 59]]]),
        "valid": tf.constant([[True, True]]),
        "difficult": tf.fill((1, 2), kind == "difficult"),
        "crowd": tf.fill((1, 2), kind == "crowd"),
    }
    with tf.GradientTape() as tape:
        totals = task.totals(batch, outputs | {"cells": cells}, training=True)
        loss = tf.add_n([totals[name] for name in task.losses])
    learned = tf.reduce_any(tape.gradient(loss, cells) != 0, axis=-1)[0].numpy().reshape(8, 8)
    expected = np.ones((8, 8), bool)
    expected[:3, :2] = expected[6, 7] = False
    np.testing.assert_array_equal(learned, expected)


def test_perfect_outputs_give_the_objects_and_no_loss() -> None:
    task = GridTask(config.GridSettings(network=config.detector("grid", boxes=1)))
    _, outputs = outputs_of(task, classes=2, levels=("P3", "P4"), seed=0)
    cells = np.zeros((1, 64, 2 + 5), np.float32)
    box = np.array([10.0, 20.0, 30.0, 50.0])  # center (20, 35): row 2, column 4
    cells[0, 2 * 8 + 4] = [0, 1, 1, 0.5, 0.375, np.sqrt(20 / 64), np.sqrt(30 / 64)]
    outputs |= {"cells": tf.constant(cells)}
    batch = batch_of(images=1, objects=1, classes=2, seed=0) | {
        "boxes_yxyx": tf.constant(box[None, None], tf.float32),
        "label": tf.constant([[1]]),
        "valid": tf.constant([[True]]),
        "difficult": tf.constant([[False]]),
    }
    totals = task.totals(batch, outputs, training=True)
    for name in ("class_loss", "confidence_loss", "box_loss"):
        np.testing.assert_allclose(totals[name], 0, atol=1e-9)
    found = task.decode(outputs)
    assert int(found["count"][0]) == 1
    assert int(found["labels"][0, 0]) == 1
    cells[0, 0] = [-1, -1, -1, 0.5, 0.5, 0.5, 0.5]  # two negative values are no positive score
    assert int(task.decode(outputs | {"cells": tf.constant(cells)})["count"][0]) == 1
    np.testing.assert_allclose(found["boxes"][0, 0], box, atol=1e-4)


def test_imitation_has_a_gradient_where_outputs_are_negative() -> None:
    task = GridTask(config.GridSettings(no_object_weight=0.25, box_weight=3.0))
    rng = np.random.default_rng(0)
    ours, *teachers = rng.normal(0, 1, (3, 2, 5, 3 + 2 * 5)).astype(np.float32)
    targets = task.teacher_targets([{"cells": tf.constant(each)} for each in teachers], Teacher())
    variable = tf.Variable(ours)
    with tf.GradientTape() as tape:
        found = task.imitated({"cells": variable}, targets, Teacher(runs=("a", "b"), weight=0.5))
    expected = np.zeros(2)
    for other in teachers:
        error = (ours - other).astype(float) ** 2
        sure = np.clip(other[..., 3:5], 0, 1)
        expected += (error[..., :3].sum(-1) * sure.max(-1)).sum(-1)
        expected += ((sure + 0.25 * (1 - sure)) * error[..., 3:5]).sum((1, 2))
        expected += 3 * (sure * error[..., 5:].reshape(2, 5, 2, 4).sum(-1)).sum((1, 2))
    np.testing.assert_allclose(found, 0.5 * expected / 2, rtol=1e-5)
    gradient = tape.gradient(found, variable).numpy()
    assert (gradient[..., 3:5] != 0).all()
    same = task.imitated({"cells": variable}, {"cells_0": tf.constant(ours)}, Teacher(runs=("a",)))
    np.testing.assert_array_equal(same, 0)
