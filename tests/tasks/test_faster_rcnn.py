import math

import numpy as np
import tensorflow as tf

from tests.tasks.detection_batches import batch_of
from tfeff import config, tasks
from tfeff.boxes import encode, iou
from tfeff.boxes.assignment import ignored_overlap
from tfeff.tasks.matching import NEGATIVE, POSITIVE
from tfeff.tasks.sampling import noise, sample

CLASSES = 3


def setting():
    described = config.detector(
        "faster-rcnn", aspect=1.0, levels=("P2", "P3"), neck_channels=8, hidden=(16,), anchor_size=4.0, regions=60
    )
    section = config.FasterRCNNSettings(
        network=described, training_proposals=80, sampled_anchors=40, sampled_regions=30, positive_overlap=0.4
    )
    task = tasks.create(section)
    backbone = config.architecture("resnet", resolution=64, width=4, stage_blocks=(1, 1, 1, 1))
    network = task.network(section.describe(backbone), num_classes=CLASSES, channels=3)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if variable.path.startswith(("rpn", "box_head")):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    batch = batch_of(images=4, objects=5, classes=CLASSES, seed=1)
    return task, network, batch | {"key": tf.constant(rng.integers(0, 2**24, (4, 2)), tf.int32)}


def smooth_l1(error):
    beta = 1 / 9
    return np.where(np.abs(error) < beta, error**2 / (2 * beta), np.abs(error) - beta / 2).sum()


def test_losses_by_definition() -> None:
    """One sampled anchor and region after the other, as in torchvision."""
    task, network, batch = setting()
    outputs = task.forward(network, batch, training=True)
    totals = {name: float(value) for name, value in task.totals(batch, outputs, training=True).items()}
    anchors = network.description.anchors.boxes((64, 64)).astype(float)
    expected = dict.fromkeys(totals, 0.0)
    for image in range(4):
        usable = batch["valid"][image].numpy() & ~batch["difficult"][image].numpy()
        hidden = batch["valid"][image].numpy() & batch["difficult"][image].numpy()
        objects, labels = batch["boxes_yxyx"][image].numpy(), batch["label"][image].numpy()
        overlap = iou(anchors, objects) * usable
        best = overlap.max(axis=1)
        forced = ((overlap == overlap.max(axis=0)) & (overlap.max(axis=0) > 0)).any(axis=1)
        kind = np.where((best >= 0.4) | forced, POSITIVE, np.where(best < 0.3, NEGATIVE, -1))
        covered = ignored_overlap(anchors, objects[hidden])
        kind = np.where((covered > 0.3) & (kind == NEGATIVE), -1, kind)
        random = noise(batch["key"][image : image + 1], 0, len(anchors))
        index, drawn = sample(tf.constant(kind[None], tf.int32), random, count=40, positive_share=0.5)
        for anchor in index.numpy()[0][drawn.numpy()[0]]:
            logit = float(outputs["objectness"][image, anchor, 0])
            expected["sampled_anchors"] += 1
            expected["objectness_loss"] += math.log1p(math.exp(-logit if kind[anchor] == POSITIVE else logit))
            if kind[anchor] == POSITIVE:
                code = encode(objects[overlap[anchor].argmax()].astype(float), anchors[anchor])
                expected["proposal_loss"] += smooth_l1(outputs["proposal_codes"][image, anchor].numpy() - code)

        sampled = outputs["sampled"][image].numpy() > 0
        for region in np.flatnonzero(sampled):
            label = int(outputs["sampled_label"][image, region])
            logits = outputs["sampled_logits"][image, region].numpy().astype(float)
            expected["regions"] += 1
            expected["class_loss"] += np.log(np.exp(logits).sum()) - logits[label if label >= 0 else CLASSES]
            if label >= 0:
                codes = outputs["sampled_codes"][image, region].numpy().reshape(CLASSES, 4)
                expected["box_loss"] += smooth_l1(codes[label] - outputs["sampled_target"][image, region].numpy())
        positives = outputs["sampled_label"][image].numpy()[sampled] >= 0
        # The objects themselves are candidates, so that each can be learned from the first step on.
        assert min(usable.sum(), 1) <= positives.sum() <= 7
        assert set(outputs["sampled_label"][image].numpy()[sampled][positives]) <= set(labels[usable])
    assert totals.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(totals[name], value, rtol=1e-4, err_msg=name)
    assert expected["proposal_loss"] > 0
    assert expected["box_loss"] > 0


def test_samples_do_not_depend_on_the_batch() -> None:
    task, network, batch = setting()
    outputs = task.forward(network, batch, training=False)
    alone = task.forward(network, {name: value[1:2] for name, value in batch.items()}, training=False)
    for name in ("sampled_label", "sampled_target", "sampled", "class_boxes", "class_scores"):
        np.testing.assert_allclose(alone[name][0], outputs[name][1], rtol=1e-4, atol=1e-4)


def test_detections_lie_in_the_image_and_those_of_a_class_hardly_overlap() -> None:
    task, network, batch = setting()
    outputs = task.forward(network, {"image": batch["image"]}, training=False)
    found = task.decode(outputs)
    assert found["boxes"].shape == (4, 100, 4)
    for image in range(4):
        count = int(found["count"][image])
        assert (found["scores"][image][:count].numpy() >= 0.05).all()
        boxes = found["boxes"][image][:count].numpy()
        assert (boxes >= 0).all()
        assert (boxes <= 64).all()
        for label in range(CLASSES):
            same = boxes[found["labels"][image][:count].numpy() == label]
            overlap = iou(same, same) - np.eye(len(same))
            assert (overlap <= 0.5 + 1e-6).all()
