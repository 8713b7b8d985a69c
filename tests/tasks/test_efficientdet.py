import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.detection_batches import batch_of, outputs_of
from tfeff import config, models
from tfeff.boxes import encode, iou
from tfeff.errors import UserError
from tfeff.tasks.efficientdet import EfficientDetTask, RetinaNetTask

LEVELS = ("P3", "P4")


@pytest.mark.parametrize("name", ["efficientdet", "retinanet"])
def test_losses_by_definition(name: str) -> None:
    retina = name == "retinanet"
    if retina:
        network = config.detector(name, anchor_size=2.0, convolved_levels=0)
        task: EfficientDetTask = RetinaNetTask(config.RetinaNetSettings(network=network))
    else:
        network = config.detector("efficientdet-d0", anchor_size=2.0)
        task = EfficientDetTask(config.EfficientDetSettings(network=network))
    network, outputs = outputs_of(task, classes=3, levels=LEVELS, seed=0)
    batch = batch_of(images=4, objects=4, classes=3, seed=1)
    batch["difficult"] = tf.zeros_like(batch["difficult"])
    totals = task.totals(batch, outputs, training=True)

    anchors = network.description.anchors.boxes((64, 64)).astype(float)
    logits, codes = (outputs[name].numpy().astype(float) for name in ("logits", "codes"))
    class_loss = box_loss = positives = 0.0
    for image in range(4):
        valid = batch["valid"][image].numpy()
        boxes, labels = batch["boxes_yxyx"][image].numpy()[valid].astype(float), batch["label"][image].numpy()[valid]
        targets = np.zeros((len(anchors), 3))
        owner, ignored = np.full(len(anchors), -1), np.zeros(len(anchors), bool)
        if len(boxes):
            overlap = iou(anchors, boxes)
            best, closest = overlap.max(axis=1), overlap.argmax(axis=1)
            owner = np.where(best >= 0.5, closest, -1)
            for index in reversed(range(len(boxes))):
                if retina:  # all ties, each for the object that it overlaps most
                    tied = overlap[:, index] == overlap[:, index].max()
                    owner[tied] = closest[tied]
                else:
                    owner[overlap[:, index].argmax()] = index
            ignored = (owner < 0) & (best >= 0.4) & retina
        for anchor in np.flatnonzero(owner >= 0):
            targets[anchor, labels[owner[anchor]]] = 1
            errors = np.abs(codes[image, anchor] - encode(boxes[owner[anchor]], anchors[anchor]))
            huber = np.where(errors <= 0.1, errors**2 / 2, 0.1 * (errors - 0.05))
            box_loss += (huber / 0.1).sum() if retina else 50 * huber.mean()
        positives += (owner >= 0).sum()
        probability = 1 / (1 + np.exp(-logits[image]))
        right = np.where(targets == 1, probability, 1 - probability)
        focal = np.where(targets == 1, 0.25, 0.75) * (1 - right) ** (2 if retina else 1.5) * -np.log(right)
        class_loss += focal[~ignored].sum()
    assert positives > 10
    np.testing.assert_allclose(totals["positives"], positives)
    np.testing.assert_allclose(totals["class_loss"], class_loss, rtol=1e-4)
    np.testing.assert_allclose(totals["box_loss"], box_loss, rtol=1e-4)


def test_the_network_is_the_published_detector_with_the_backbone() -> None:
    for name, backbone in (("efficientdet-lite1", "efficientnet-lite1"), ("efficientdet-d3", "efficientnet-b3")):
        published = models.detector(name)
        settings = config.EfficientDetSettings(network=config.detector(name))
        assert settings.describe(config.architecture(backbone, resolution=published.resolution)) == published
    member = config.EfficientDetSettings(network=config.detector("efficientdet-d7"))
    assert member.describe(config.architecture("efficientnet-b6")).anchor_size == 5
    network = config.detector("efficientdet-d0", neck="fpn", neck_channels=32, head_repeats=1)
    backbone = config.architecture("mobilenet-v2", resolution=256, width_coefficient=0.5)
    described = config.EfficientDetSettings(network=network).describe(backbone)
    assert (described.neck, described.neck_sizes) == ("fpn", (32, 3, 1))
    assert (described.resolution, described.backbone.width_coefficient) == (256, 0.5)


def test_a_teacher_with_other_anchors_is_refused_by_their_key() -> None:
    square, task = (
        EfficientDetTask(config.EfficientDetSettings(network=config.detector("efficientdet-d0", anchor_aspects=each)))
        for each in ((1.0,), (1.0, 2.0, 0.5))
    )
    (teacher, _), (network, _) = (outputs_of(each, classes=2, levels=("P3", "P4"), seed=0) for each in (square, task))
    with pytest.raises(UserError, match=r"give a run with the same task\.network\.anchor_aspects$"):
        task.check_teacher(teacher, network, "config")


def test_boxes_of_a_retinanet_are_clipped_before_they_suppress_others() -> None:
    """Two boxes that differ outside the image alone are one."""
    section = config.RetinaNetSettings(network=config.detector("retinanet", convolved_levels=0))
    task = RetinaNetTask(section)
    anchors = [[-60.0, 0.0, 20.0, 64.0], [-300.0, 0.0, 20.0, 64.0], [30.0, 30.0, 50.0, 50.0]]
    outputs = {
        "logits": tf.constant([[[2.0], [1.0], [0.0]]]),
        "codes": tf.zeros((1, 3, 4)),
        "anchors": tf.constant([anchors]),
        **{name: value for name, value in task.geometry(section.network, (64, 64)).items() if name != "anchors"},
    }
    found = task.decode(outputs)
    assert found["count"].numpy().tolist() == [2]
    np.testing.assert_allclose(found["boxes"][0, :2], [[0, 0, 20, 64], [30, 30, 50, 50]], atol=1e-4)
    outputs["logits"] = tf.concat([outputs["logits"]] * 2, axis=-1)
    assert EfficientDetTask.decode(task, outputs)["count"].numpy().tolist() == [6]
