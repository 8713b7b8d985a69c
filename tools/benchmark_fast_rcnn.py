"""Fast R-CNN against R-CNN on the same proposals: `python tools/benchmark.py fast-rcnn [--backbone=NAME ...]`.

Both sides have the same backbone, with random weights, and take one photograph with its proposals, as their exported
models do: R-CNN runs the backbone on a crop of each proposal, Fast R-CNN once on the image.
"""

import argparse

import numpy as np
import tensorflow as tf
from paired_rounds import Round, interleave, row

from tfeff import config, tasks
from tfeff.errors import UserError
from tfeff.reporting import tables
from tfeff.serving import portable
from tfeff.tasks.task import PROPOSED, PROPOSED_VALID

CLASSES = 20
HIDDEN = 256
"""Units of the hidden layer of both heads."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--backbone", default="efficientnet-lite0", help="Backbone of both sides.")
    parser.add_argument("--proposals", type=int, default=2000, help="Proposals of the image.")
    parser.add_argument("--crop", type=int, default=224, help="Side of R-CNN's crops.")
    parser.add_argument("--resolution", type=int, default=640, help="Longer side of the image, whose aspect is 4:3.")
    parser.add_argument("--members", default="fast-rcnn,fast-rcnn-fpn", help="Fast R-CNNs, separated by commas.")
    parser.add_argument("--images", type=int, default=1, help="Images per round.")
    parser.add_argument("--rounds", type=int, default=6, help="Timed rounds per side.")


def run(arguments: argparse.Namespace) -> None:
    """Compares Fast R-CNN to R-CNN, per image, with the same backbone and proposals."""
    if arguments.rounds < 2 or min(arguments.proposals, arguments.images) < 1:
        raise UserError("--rounds must be at least 2, --proposals and --images at least 1")
    slow = rcnn(arguments)
    rows = []
    for member in arguments.members.split(","):
        seconds = interleave(fast_rcnn(arguments, member), slow, rounds=arguments.rounds)
        rows.append(row(f"{member} / R-CNN, {arguments.backbone}", *seconds, arguments.images))
    print(tables.markdown(rows))


def photograph(size: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels float32 [1, height, width, 3] and `count` boxes float32 [1, count, 4] of all sizes."""
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 1, (1, count, 2, 2)), axis=2) * size
    return rng.uniform(0, 255, (1, *size, 3)).astype(np.float32), corners.reshape(1, count, 4).astype(np.float32)


def fast_rcnn(arguments: argparse.Namespace, member: str) -> Round:
    """Returns a round of Fast R-CNN: from pixels and proposals to detections."""
    section = config.FastRCNNSettings(
        network=config.detector(member, hidden=(HIDDEN,)),
        proposals=config.SharedProposals(max_proposals=arguments.proposals),
    )
    task = tasks.create(section)
    model = config.architecture(arguments.backbone, resolution=arguments.resolution)
    network = task.network(section.describe(model), num_classes=CLASSES, channels=3)
    detect = portable.function(network, task, batch_size=1)
    images, boxes = map(tf.constant, photograph(network.size, arguments.proposals))
    return repeated(lambda: detect(images, boxes, tf.constant([arguments.proposals]))["scores"], arguments.images)


def rcnn(arguments: argparse.Namespace) -> Round:
    """Returns a round of R-CNN: from pixels and proposals to detections."""
    section = config.RCNNSettings(network=config.RCNN(grid=1, hidden=(HIDDEN,)))
    task = tasks.create(section)
    model = config.architecture(arguments.backbone, resolution=arguments.crop)
    network = task.network(section.describe(model), num_classes=CLASSES, channels=3)
    size = arguments.resolution * 3 // 4, arguments.resolution
    images, boxes = photograph(size, arguments.proposals)

    @tf.function(autograph=False, jit_compile=False)
    def detect(image: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
        batch = {"image": image, PROPOSED: regions, PROPOSED_VALID: tf.ones(tf.shape(regions)[:2], tf.bool)}
        return task.decode(task.forward(network, batch, training=False))["scores"]

    image, regions = tf.constant(images, tf.uint8), tf.constant(boxes)
    return repeated(lambda: detect(image, regions), arguments.images)


def repeated(detect: Round, images: int) -> Round:
    """Returns a round of several images, each of which is waited for."""

    def run_round() -> None:
        for _ in range(images):
            np.asarray(detect())

    return run_round
