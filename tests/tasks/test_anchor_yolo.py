import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.detection_batches import batch_of, is_hidden, outputs_of
from tfeff import config
from tfeff.boxes import iou
from tfeff.boxes.anchors import shape_iou
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.tasks.anchor_yolo import AnchorYoloTask

ANCHORS = (0.1, 0.1, 0.2, 0.1, 0.1, 0.3, 0.3, 0.3, 0.5, 0.3, 0.3, 0.6)
LEVELS = ("P3", "P4")


def settings(**options: Any) -> config.AnchorYoloSettings:
    """With given anchors."""
    network = config.detector("anchor-yolo", levels=LEVELS, anchors=ANCHORS)
    return config.AnchorYoloSettings(network=network, anchors_per_level=None, **options)


def cross_entropy(target: float, logit: float) -> float:
    probability = 1 / (1 + np.exp(-logit))
    return -target * np.log(probability) - (1 - target) * np.log(1 - probability)


def test_losses_by_definition() -> None:
    """One anchor after the other, as in darknet's yolo_layer.c."""
    task = AnchorYoloTask(settings(ignore_overlap=0.3))
    _, outputs = outputs_of(task, classes=3, levels=LEVELS, seed=0)
    batch = batch_of(images=4, objects=4, classes=3, seed=1)
    totals = task.totals(batch, outputs, training=True)

    anchors = np.array(ANCHORS).reshape(6, 2) * 64
    slots = [(8 * row, 8 * column, 8, anchor) for row in range(8) for column in range(8) for anchor in (0, 1, 2)]
    slots += [(16 * row, 16 * column, 16, anchor) for row in range(4) for column in range(4) for anchor in (3, 4, 5)]
    logits, codes = (outputs[name].numpy().astype(float) for name in ("logits", "codes"))
    object_loss = class_loss = box_loss = 0.0
    ignored = 0
    for image in range(4):
        boxes, labels = batch["boxes_yxyx"][image].numpy().astype(float), batch["label"][image].numpy()
        valid, difficult = batch["valid"][image].numpy(), batch["difficult"][image].numpy()
        owner: dict[int, int] = {}
        for index in np.flatnonzero(valid & ~difficult):
            center, sides = (boxes[index, :2] + boxes[index, 2:]) / 2, boxes[index, 2:] - boxes[index, :2]
            best = int(shape_iou(sides[None], anchors)[0].argmax())
            stride = 8 if best < 3 else 16
            row, column = (center // stride).astype(int)
            owner.setdefault(slots.index((stride * row, stride * column, stride, best)), int(index))
        for slot, (top, left, stride, anchor) in enumerate(slots):
            t, logit = codes[image, slot], logits[image, slot]
            center = np.array([top, left]) + stride / (1 + np.exp(-t[:2]))
            half = anchors[anchor] * np.exp(t[2:]) / 2
            overlap = iou(np.concatenate([center - half, center + half])[None], boxes[valid]).max(initial=0)
            if slot not in owner:
                ignored += overlap > 0.3
                hidden = is_hidden(batch, image, top, left, stride)
                object_loss += cross_entropy(0, logit[0]) * (overlap <= 0.3 and not hidden)
                continue
            box, label = boxes[owner[slot]], labels[owner[slot]]
            object_loss += cross_entropy(1, logit[0])
            class_loss += sum(cross_entropy(float(c == label), logit[1 + c]) for c in range(3))
            place = ((box[:2] + box[2:]) / 2 - (top, left)) / stride
            size = np.log((box[2:] - box[:2]) / anchors[anchor])
            scale = 2 - np.prod((box[2:] - box[:2]) / 64)
            errors = [cross_entropy(place[k], t[k]) + 0.5 * (t[2 + k] - size[k]) ** 2 for k in range(2)]
            box_loss += scale * sum(errors)
    assert ignored > 5
    np.testing.assert_allclose(totals["object_loss"], object_loss, rtol=1e-4)
    np.testing.assert_allclose(totals["class_loss"], class_loss, rtol=1e-4)
    np.testing.assert_allclose(totals["box_loss"], box_loss, rtol=1e-4)


@pytest.mark.parametrize("kind", ["difficult", "crowd"])
def test_ignored_objects_are_no_background(kind: str) -> None:
    task = AnchorYoloTask(settings())
    _, outputs = outputs_of(task, classes=2, levels=LEVELS, seed=0, images=1)
    logits = tf.Variable(outputs["logits"])
    batch = batch_of(images=1, objects=1, classes=2, seed=0) | {
        "boxes_yxyx": tf.constant([[[0.0, 0, 24, 16]]]),
        "valid": tf.constant([[True]]),
        "difficult": tf.constant([[kind == "difficult"]]),
        "crowd": tf.constant([[kind == "crowd"]]),
    }
    with tf.GradientTape() as tape:
        totals = task.totals(batch, outputs | {"logits": logits}, training=True)
        loss = tf.add_n([totals[name] for name in task.losses])
    learned = tape.gradient(loss, logits)[0, :, 0].numpy() != 0
    fine, coarse = learned[: 64 * 3].reshape(8, 8, 3), learned[64 * 3 :].reshape(4, 4, 3)
    expected = np.ones((8, 8, 3), bool), np.ones((4, 4, 3), bool)
    expected[0][:3, :2] = expected[1][0, 0] = False
    np.testing.assert_array_equal(fine, expected[0])
    np.testing.assert_array_equal(coarse, expected[1])


def test_candidates_invert_the_targets() -> None:
    task = AnchorYoloTask(settings())
    _, outputs = outputs_of(task, classes=2, levels=LEVELS, seed=0, images=1)
    box = np.array([10.0, 20.0, 30.0, 50.0])  # 20 x 30, center (20, 35): anchor 3 (19 x 19) of P4, row 1, column 2
    slot = 8 * 8 * 3 + (1 * 4 + 2) * 3
    place = (np.array([20.0, 35.0]) - (16, 32)) / 16
    code = np.concatenate([np.log(place / (1 - place)), np.log(np.array([20, 30]) / (0.3 * 64))])
    codes, logits = outputs["codes"].numpy(), np.full((1, outputs["logits"].shape[1], 3), -9.0, np.float32)
    codes[0, slot], logits[0, slot] = code, [9, -9, 9]
    boxes, scores = task.candidates(outputs | {"codes": tf.constant(codes), "logits": tf.constant(logits)})
    np.testing.assert_allclose(boxes[0, slot], box, rtol=1e-5)
    assert np.unravel_index(scores.numpy().argmax(), scores.shape) == (0, slot, 1)


def test_anchors_come_from_the_training_boxes() -> None:
    images = catalog.open_objects("embedded:placed_digits:64", Options(channels=3, seed=0)).load("test")
    task = AnchorYoloTask()
    described = task.section.describe(config.architecture("resnet", resolution=96))
    fields, notes = task.measured(images, described)
    anchors = np.array(fields["anchors"]).reshape(9, 2)
    assert (np.diff(anchors.prod(axis=1)) > 0).all()
    sizes = np.concatenate([each.boxes_yxyx[:, 2:] - each.boxes_yxyx[:, :2] for each in images.objects]) / 64
    overlap = shape_iou(sizes, anchors).max(axis=1).mean()
    assert overlap > 0.8
    assert f"{overlap:.3f}" in notes[0]
    assert dataclasses.replace(described, anchors=tuple(fields["anchors"])).anchors == tuple(fields["anchors"])
    assert AnchorYoloTask(settings()).measured(images, described) == ({}, ())
    small = [
        dataclasses.replace(
            each, boxes_yxyx=np.concatenate([each.boxes_yxyx[:, :2], each.boxes_yxyx[:, :2] + 0.6], axis=1)
        )
        for each in images.objects
    ]
    both: Any = SimpleNamespace(objects=[*images.objects, *small], sizes=np.concatenate([images.sizes] * 2))
    assert task.measured(both, described) == (fields, notes)  # at 96 pixels, training drops the small ones
    crowds = [dataclasses.replace(each, crowd=np.ones(len(each), bool)) for each in images.objects]
    nothing: Any = SimpleNamespace(objects=crowds, sizes=images.sizes)
    assert task.measured(nothing, described) == ({}, ("no boxes to find anchors for",))
