"""What a detection looked at: the pixels on which its score depends most.

Simonyan et al., "Deep Inside Convolutional Networks" (arXiv:1312.6034), section 3: gradients of the score with respect
to the image. Unlike Grad-CAM, they need no choice of a layer, which differs by detector and by size of the object.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.boxes import iou
from tfeff.data.dataset import Objects
from tfeff.data.input.batches import Batches
from tfeff.evaluation import Detections
from tfeff.reporting.box_drawing import draw_detections
from tfeff.reporting.class_activation import heat_overlay
from tfeff.reporting.tables import percent
from tfeff.tasks.object_detection import ObjectDetectionTask
from tfeff.tasks.task import INPUTS, Batch

OVERLAP = 0.5
"""Minimum IoU of a correct detection."""
SMOOTHING = 1 / 96
"""Standard deviation of the smoothing, relative to the longer side of the input."""
EPSILON = 1e-6


@dataclass(frozen=True)
class DetectionIndex:
    """A detection.

    Attributes:
        image: its position in the pipeline.
        detection: its position among the detections of this image.
        correct: whether it finds an object of its class.
    """

    image: int
    detection: int
    correct: bool


def choose(detections: Sequence[Detections], objects: Sequence[Objects], most: int) -> list[DetectionIndex]:
    """Returns the most confident correct and the most confident wrong detection of each class, at most `most`.

    Args:
        detections: detections of each image. Those of ignored objects are neither correct nor wrong.
        most: number of detections; the most confident wrong ones and as many correct ones are preferred.
    """
    best: dict[tuple[int, bool], tuple[float, DetectionIndex]] = {}
    for image, (found, present) in enumerate(zip(detections, objects, strict=True)):
        overlaps = iou(found.boxes_yxyx, present.boxes_yxyx)
        near = overlaps >= OVERLAP
        hits = (near & (found.labels[:, None] == present.labels) & ~present.ignored).any(axis=1)
        undecided = (near & present.ignored).any(axis=1) & ~hits
        for index, (label, score, hit) in enumerate(zip(found.labels, found.scores, hits, strict=True)):
            if undecided[index]:
                continue
            key = int(label), bool(hit)
            if key not in best or score > best[key][0]:
                best[key] = float(score), DetectionIndex(image, index, bool(hit))
    ordered = [index for _, (_, index) in sorted(best.items(), key=lambda item: (-item[1][0], item[0]))]
    correct = [index for index in ordered if index.correct]
    wrong = [index for index in ordered if not index.correct]
    shown = correct[: max(most // 2, most - len(wrong))]
    return shown + wrong[: most - len(shown)]


def gradients(
    task: ObjectDetectionTask, network: keras.Model, inputs: Batch, box_yxyx: npt.ArrayLike, label: int
) -> npt.NDArray[np.float32]:
    """Returns the gradient of a detection's log-odds with respect to the image, float32 [h, w, channels].

    It vanishes if the score is rounded to 1, at log-odds of about 17.

    Args:
        inputs: a batch of one image.
        box_yxyx: box of the detection, in pixels of the input.
    """
    image = tf.convert_to_tensor(inputs["image"])
    with tf.GradientTape() as tape:
        tape.watch(image)
        boxes, scores = task.candidates(task.forward(network, {**inputs, "image": image}, training=False))
        own = boxes[0] if len(boxes.shape) == 3 else boxes[0, :, label]
        overlaps = iou(own.numpy(), np.asarray(box_yxyx, np.float32)[np.newaxis])[:, 0]
        # Of equal boxes, that of the detection has the highest score.
        nearest = int(np.argmax(overlaps + EPSILON * scores[0, :, label].numpy()))
        score = scores[0, nearest, label]
        odds = tf.math.log(score + EPSILON) - tf.math.log(1 - score + EPSILON)
    return tape.gradient(odds, image)[0].numpy().astype(np.float32)


def explain(
    task: ObjectDetectionTask,
    network: keras.Model,
    pipeline: Batches,
    detections: Sequence[Detections],
    chosen: Sequence[DetectionIndex],
    names: Sequence[str],
) -> tuple[list[npt.NDArray[np.uint8]], list[str]]:
    """Returns pictures of detections in the network's input, with the pixels that they depend on, and their titles.

    Args:
        pipeline: the images of the chosen detections, in the order of all images, and no others.
        detections: detections of each of all images.
    """
    rows: Iterator[Batch] = (
        {name: batch[name][row : row + 1] for name in INPUTS if name in batch}
        for batch in pipeline.evaluation_batches()
        for row in range(pipeline.batch_size)
    )
    read = dict(zip(sorted({each.image for each in chosen}), rows, strict=False))  # the last rows can be padding
    pictures, titles = [], []
    for each in chosen:
        found, inputs = detections[each.image], read[each.image]
        box, label = found.boxes_yxyx[each.detection], int(found.labels[each.detection])
        strength = np.abs(gradients(task, network, inputs, box, label)).sum(axis=-1)
        heat = cv2.GaussianBlur(strength, (0, 0), SMOOTHING * max(strength.shape))
        pixels = np.clip(np.rint(inputs["image"][0].numpy()), 0, 255).astype(np.uint8)
        pictures.append(draw_detections(heat_overlay(pixels, heat), box[np.newaxis], [""]))
        kind = "correct" if each.correct else "wrong"
        titles.append(f"{names[label]} ({percent(found.scores[each.detection])}), {kind}")
    return pictures, titles
