"""Random batches and outputs of small detectors."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config
from tfeff.tasks.object_detection import ObjectDetectionTask


def batch_of(*, images: int, objects: int, classes: int, seed: int, side: int = 64) -> dict[str, tf.Tensor]:
    """Returns objects within the image; some are padding, some difficult; the last image has none."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, side - 30, (images, objects, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(6, 30, (images, objects, 2))], axis=-1)
    valid = rng.random((images, objects)) < 0.8
    valid[-1] = images == 1
    return {
        "image": tf.constant(rng.uniform(0, 255, (images, side, side, 3)), tf.float32),
        "boxes_yxyx": tf.constant(boxes, tf.float32),
        "label": tf.constant(rng.integers(0, classes, (images, objects)), tf.int32),
        "valid": tf.constant(valid),
        "difficult": tf.constant(rng.random((images, objects)) < 0.2),
        "crowd": tf.zeros((images, objects), tf.bool),
        "weight": tf.ones(images),
    }


def is_hidden(batch: Mapping[str, tf.Tensor], image: int, top: float, left: float, side: float) -> bool:
    """Returns whether a square cell is part of an ignored object: its center in the box, or that of the box in it."""
    ignored = (batch["valid"] & (batch["difficult"] | batch["crowd"]))[image].numpy()
    y, x = top + side / 2, left + side / 2
    return any(
        (b[0] < y < b[2] and b[1] < x < b[3])
        or (0 <= (b[0] + b[2]) / 2 - top < side and 0 <= (b[1] + b[3]) / 2 - left < side)
        for b in batch["boxes_yxyx"][image].numpy()[ignored]
    )


def outputs_of(
    task: ObjectDetectionTask, *, classes: int, levels: tuple[str, ...], seed: int, images: int = 4
) -> tuple[keras.Model, dict[str, Any]]:
    """Returns a small network at 64 pixels, and its outputs with random predictions in place of its own."""
    assert isinstance(task.section, config.ObjectDetectionSettings)
    backbone = config.architecture("resnet", resolution=64, width=4, stage_blocks=(1, 1, 1, 1))
    described = dataclasses.replace(
        task.section.describe(backbone), aspect=1.0, levels=levels, neck="fpn", neck_channels=4, neck_repeats=1,
        head_repeats=0,
    )  # fmt: skip
    network = task.network(described, num_classes=classes, channels=3)
    rng = np.random.default_rng(seed)
    outputs = task.forward(network, {"image": tf.zeros((images, 64, 64, 3))}, training=False)
    random = {name: tf.constant(rng.normal(0, 0.5, outputs[name].shape), tf.float32) for name in network.output}
    return network, outputs | random
