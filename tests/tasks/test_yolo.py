import numpy as np
import tensorflow as tf

from tests.tasks.detection_batches import batch_of, outputs_of
from tfeff import config
from tfeff.tasks.losses import complete_iou
from tfeff.tasks.yolo import YoloTask

LEVELS = ("P3", "P4")


def decoded(distances: np.ndarray, center: np.ndarray, stride: float) -> np.ndarray:
    """Returns the box of one cell from its 4 x bins logits."""
    shares = np.exp(distances - distances.max(axis=1, keepdims=True))
    mean = (shares / shares.sum(axis=1, keepdims=True)) @ np.arange(distances.shape[1])
    return np.concatenate([center - mean[:2] * stride, center + mean[2:] * stride])


def test_losses_by_definition() -> None:
    """One cell after the other; the assignment itself is tested in test_task_aligned."""
    task = YoloTask(config.YoloSettings(network=config.detector("yolo", bins=8)))
    _, outputs = outputs_of(task, classes=3, levels=LEVELS, seed=0)
    batch = batch_of(images=4, objects=4, classes=3, seed=1)
    totals = task.totals(batch, outputs, training=True)

    cells = [((8 * row + 4, 8 * column + 4), 8) for row in range(8) for column in range(8)]
    cells += [((16 * row + 8, 16 * column + 8), 16) for row in range(4) for column in range(4)]
    logits = outputs["logits"].numpy().astype(float)
    distances = outputs["distances"].numpy().astype(float).reshape(4, len(cells), 4, 8)
    expected = dict.fromkeys(("class_loss", "box_loss", "distance_loss", "targets"), 0.0)
    for image in range(4):
        valid, difficult = batch["valid"][image].numpy(), batch["difficult"][image].numpy()
        boxes, labels = batch["boxes_yxyx"][image].numpy().astype(float), batch["label"][image].numpy()
        predicted = [decoded(distances[image, n], np.array(center), stride) for n, (center, stride) in enumerate(cells)]
        probability = 1 / (1 + np.exp(-logits[image]))
        wants: dict[int, list[tuple[float, int, float]]] = {}
        for k in np.flatnonzero(valid & ~difficult):
            metrics = []
            for n, ((y, x), _) in enumerate(cells):
                if boxes[k, 0] < y < boxes[k, 2] and boxes[k, 1] < x < boxes[k, 3]:
                    overlap = plain_iou(predicted[n], boxes[k])
                    metrics.append((probability[n, labels[k]] * overlap**6, n, overlap))
            for metric, n, overlap in sorted(metrics, reverse=True)[:13]:
                if metric > 0:
                    wants.setdefault(n, []).append((overlap, int(k), metric))
        owner = {n: max(each) for n, each in wants.items()}
        for n in range(len(cells)):
            target, label = 0.0, -1
            if n in owner:
                _, k, metric = owner[n]
                mine = [each for each in owner.values() if each[1] == k]
                target = metric / max(each[2] for each in mine) * max(each[0] for each in mine)
                label = labels[k]
                ciou = float(complete_iou(tf.constant(predicted[n]), tf.constant(boxes[k])))
                expected["box_loss"] += 7.5 * (1 - ciou) * target
                (y, x), stride = cells[n]
                wanted = np.array([y - boxes[k, 0], x - boxes[k, 1], boxes[k, 2] - y, boxes[k, 3] - x]) / stride
                wanted = np.clip(wanted, 0, 7)
                log = distances[image, n] - np.log(np.exp(distances[image, n]).sum(axis=1, keepdims=True))
                low = np.minimum(np.floor(wanted).astype(int), 6)
                sides = np.arange(4)
                losses = -(low + 1 - wanted) * log[sides, low] - (wanted - low) * log[sides, low + 1]
                expected["distance_loss"] += 1.5 * losses.mean() * target
                expected["targets"] += target
            (y, x), _ = cells[n]
            hidden = any(b[0] < y < b[2] and b[1] < x < b[3] for b in boxes[valid & difficult])
            if n in owner or not hidden:
                wanted_class = [target * (c == label) for c in range(3)]
                losses = [
                    -t * np.log(p) - (1 - t) * np.log(1 - p) for t, p in zip(wanted_class, probability[n], strict=True)
                ]
                expected["class_loss"] += 0.5 * sum(losses)
    assert expected["targets"] > 1
    for name, value in expected.items():
        np.testing.assert_allclose(totals[name], value, rtol=1e-3, err_msg=name)


def plain_iou(first: np.ndarray, second: np.ndarray) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / (np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - common)


def test_candidates_invert_the_distances() -> None:
    task = YoloTask(config.YoloSettings(network=config.detector("yolo", bins=8)))
    _, outputs = outputs_of(task, classes=2, levels=LEVELS, seed=0, images=1)
    wanted = np.array([1, 2, 3, 5])  # strides from the center of cell (2, 3) of P3, at (20, 28), to its sides
    distances = outputs["distances"].numpy()
    distances[0, 2 * 8 + 3] = (30.0 * np.eye(8)[wanted]).ravel()
    boxes, scores = task.candidates(outputs | {"distances": tf.constant(distances)})
    np.testing.assert_allclose(boxes[0, 2 * 8 + 3], [20 - 8, 28 - 16, 20 + 24, 28 + 40], atol=1e-3)
    np.testing.assert_allclose(scores, tf.sigmoid(outputs["logits"]))
