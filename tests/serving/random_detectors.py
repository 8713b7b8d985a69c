"""Detectors with random weights."""

import dataclasses
import math
from functools import cache

import keras
import numpy as np

from tfeff import config, models, tasks

BACKBONE = config.architecture("resnet", resolution=64, width=4, stage_blocks=(1, 1, 1, 1))
NETWORK = {"aspect": 1.0, "levels": ("P3", "P4", "P5"), "neck": "fpn", "neck_channels": 8}
LEVELS = {"retinanet": ("P4", "P5", "P6", "P7")}
IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
OWN = {
    "fast_rcnn": (
        "task.network.name=fast-rcnn-fpn",
        "task.proposals.max_proposals=40",
        "task.suppression.class_agnostic=true",
    ),
}


def detector(name: str, image: np.ndarray, *overrides: str) -> tuple[tasks.ImageTask, models.Network]:
    """Returns a detector whose best scores differ by more than the runtimes do, so that their order is certain.

    Args:
        name: of the task.
        image: one for its batch statistics, float32 [1, 64, 64, channels] in [0, 255].
        overrides: of its config.
    """
    settings = config.override(
        config.Experiment(),
        [
            *(f"task.name={name}", "task.suppression.minimum_score=0.0", "task.suppression.detections=20"),
            *OWN.get(name, ()),
            *overrides,
        ],
    )
    task = tasks.create(settings.task)
    described = dataclasses.replace(
        settings.task.describe(BACKBONE), **NETWORK | {"levels": LEVELS.get(name, NETWORK["levels"])}
    )
    network = task.network(described, num_classes=3, channels=image.shape[-1])
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    # Batch normalization takes over the statistics of this image.
    network([image, np.zeros((1, 1, 4), np.float32)] if network.regions else image, training=True)
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:
        last = any(name in variable.path for name in ("predict", "rpn_objectness", "rpn_codes", "logits"))
        if last and variable.path.endswith("kernel"):
            scale = 3 if "class" in variable.path or "logits" in variable.path else 1
            variable.assign(rng.normal(0, scale / math.sqrt(math.prod(variable.shape[:-1])), variable.shape))
    return task, network


@cache
def shared_detector(name: str, *overrides: str) -> tuple[tasks.ImageTask, models.Network]:
    """Returns the `detector` for IMAGE, the same one in each call; do not change it."""
    return detector(name, IMAGE, *overrides)
