"""Cached features against the backbone in every batch: `python tools/benchmark.py rcnn --workdir=DIR [--batches=N]`.

Both variants train and validate the joint head of a finished run on the same batches in the same order. One reads
features from disk; the other decodes the image of each region, warps the region, and runs the backbone on the whole
batch. The cache must be filled first, with the features of all regions of the training and validation images, of which
an epoch only samples some. Each round therefore also extracts the features of one image, so that whole trainings can be
compared. Selective search comes before both and is not included.
"""

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import selection, training
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.models.rcnn import Parts
from tfeff.rcnn import region_batches
from tfeff.rcnn.feature_extractor import FeatureExtractor
from tfeff.rcnn.region_batches import RegionBatches
from tfeff.rcnn.regions import RegionSet
from tfeff.rcnn.warping import warp
from tfeff.reporting import tables
from tfeff.training.step import Step

EPOCHS = (20, 60)
"""Lengths of the trainings that are compared."""
RESAMPLES = 2000


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--workdir", required=True, help="Workdir of a finished R-CNN run.")
    parser.add_argument(
        "--batches", type=int, default=30, help="Rounds: training and validation batches of each variant."
    )


class LiveFeatures:
    """Features computed on access, indexed by rows like stored ones.

    Args:
        regions: whose features.
        extractor: computes them.
        backbone: backbone of the extractor.
    """

    def __init__(self, regions: RegionSet, extractor: FeatureExtractor, backbone: keras.Model) -> None:
        self._regions, self._channels = regions, extractor.channels
        self._image, self.shape = regions.targets.image, regions.features.shape
        self._starts = np.concatenate([[0], np.cumsum(regions.counts)])
        self._warp = tf.function(
            lambda image, boxes: warp(image, boxes, extractor.side, extractor.context),
            input_signature=[
                tf.TensorSpec((None, None, extractor.channels), tf.uint8),
                tf.TensorSpec((None, 4), tf.float32),
            ],
            jit_compile=False,
        )
        self._features = tf.function(
            lambda pixels: backbone(pixels, training=False), jit_compile=False, reduce_retracing=True
        )

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        warped: list[Any] = [None] * len(rows)
        images = self._regions.images
        for image in np.unique(self._image[rows]):
            positions = np.flatnonzero(self._image[rows] == image)
            boxes = self._regions.boxes(image)[rows[positions] - self._starts[image]]
            decoded = decoding.decode(images.encoded(image), images.ids[image])
            pixels = decoding.in_channels(decoded, self._channels)
            for position, region in zip(positions, self._warp(pixels, boxes), strict=True):
                warped[position] = region
        return self._features(tf.stack(warped)).numpy().astype(np.float32)


class Extraction:
    """Extraction of the features of whole images, as in `rcnn.regions.region_set`.

    Args:
        extractor: computes them.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        signature = [tf.TensorSpec((None, None, extractor.channels), tf.uint8), tf.TensorSpec((None, 4), tf.float32)]
        self._run = tf.function(extractor, input_signature=signature, autograph=False, jit_compile=False)
        self._channels = extractor.channels

    def seconds(self, regions: RegionSet, image: int) -> tuple[float, int]:
        """Returns seconds and number of regions of one image."""
        boxes, images = regions.boxes(image), regions.images
        began = time.perf_counter()
        pixels = decoding.decode(images.encoded(image), images.ids[image])
        np.asarray(self._run(decoding.in_channels(pixels, self._channels), boxes), np.float16)
        return time.perf_counter() - began, len(boxes)


def endless(pipeline: RegionBatches) -> Iterator[dict[str, tf.Tensor]]:
    """Yields the training batches of all epochs, each read when it is needed."""
    for epoch in itertools.count(1):
        for rows in pipeline.rows(epoch):
            yield {name: tf.constant(values) for name, values in pipeline.read(rows).items()}


@dataclass
class Side:
    """One variant: the head, its batches, and what was measured.

    Attributes:
        step: the training step of the head.
        pipeline: pipeline of the training batches.
        validation: pipeline of the validation batches.
        batches: the training batches of all epochs.
        losses: losses of the training batches.
        seconds: duration of each training and each validation batch.
    """

    step: Step
    pipeline: RegionBatches
    validation: RegionBatches
    batches: Iterator[dict[str, tf.Tensor]]
    losses: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"training": [], "validation": []})

    def train(self, rate: float) -> None:
        """Trains one batch."""
        began = time.perf_counter()
        sums = self.step.train(next(self.batches), step=len(self.losses), learning_rate=rate).numpy()
        self.seconds["training"].append(time.perf_counter() - began)
        self.losses.append(self.step.task.means(sums)["loss"])

    def validate(self, number: int) -> None:
        """Evaluates one batch."""
        rows = self.validation.rows(0)
        began = time.perf_counter()
        values = self.validation.read(rows[number % len(rows)])
        self.step.evaluate({name: tf.constant(value) for name, value in values.items()}).numpy()
        self.seconds["validation"].append(time.perf_counter() - began)

    def epoch(self, rounds: np.ndarray | slice = slice(1, None)) -> float:
        """Returns seconds of an epoch, from the medians over some rounds; the first one traces graphs."""
        batches = {"training": self.pipeline.steps_per_epoch, "validation": validation_batches(self.validation)}
        return sum(count * float(np.median(np.array(self.seconds[kind])[rounds])) for kind, count in batches.items())


def validation_batches(pipeline: RegionBatches) -> int:
    """Returns the validation batches of an epoch."""
    return min(len(pipeline.rows(0)), region_batches.MAX_VALIDATION_BATCHES)


def validation_accuracy(step: Step, pipeline: RegionBatches) -> float:
    """Returns the head's accuracy on the validation batches."""
    sums = np.sum([step.evaluate(batch).numpy() for batch in pipeline.evaluation_batches()], axis=0)
    return step.task.means(sums)["accuracy"]


def whole_training(
    cached: Side, live: Side, extraction: np.ndarray, regions: int, epochs: int, rng: np.random.Generator
) -> dict[str, object]:
    """Returns seconds of a training of some epochs on both sides and their ratio.

    The ratio has a 95 % bootstrap interval over rounds.

    Args:
        cached: the side that reads features; it pays for the extraction once.
        live: the other side.
        extraction: seconds and number of regions of each extracted image, float [rounds, 2].
        regions: number of regions whose features are cached.
        epochs: number of training epochs.
        rng: draws the resamples.
    """

    def both(rounds: np.ndarray) -> tuple[float, float]:
        seconds, count = extraction[rounds].sum(axis=0)
        return regions * seconds / count + epochs * cached.epoch(rounds), epochs * live.epoch(rounds)

    measured = np.arange(1, len(extraction))
    draws = [both(rng.choice(measured, len(measured))) for _ in range(RESAMPLES)]
    low, high = np.quantile([slow / fast for fast, slow in draws], [0.025, 0.975])
    fast, slow = both(measured)
    return {
        "epochs": epochs,
        "cached, with extraction, s": fast,
        "live, s": slow,
        "ratio": slow / fast,
        "95 % interval": f"{low:.2f} to {high:.2f}",
    }


def run(arguments: argparse.Namespace) -> None:
    """Compares training on cached features to running the backbone in every batch."""
    if arguments.batches < 2:
        raise UserError(f"--batches={arguments.batches}: must be at least 2")
    workdir = training.Workdir(arguments.workdir)
    settings, plan = workdir.config(), training.Plan.opened(workdir)
    if settings.task.name != "rcnn" or settings.task.fitted:
        raise UserError(f"--workdir={arguments.workdir}: not a run of R-CNN with a joint head")
    request = selection.request(settings)
    chosen = selection.choose(request, selection.read(request, lambda name, done, total: None))
    if chosen.validation is None:
        raise UserError(f"--workdir={arguments.workdir}: the run has no validation images")
    task: Any = plan.task
    backbone = Parts.of(training.trained_model(workdir)).features
    extractor = FeatureExtractor(backbone, context=settings.task.features.context)

    def batches(role: Any, images: Any) -> RegionBatches:
        return plan.batches(images, training.trained_model(workdir), role, lambda name, done, total: None)

    stored = batches("training", chosen.train), batches("validation", chosen.validation)
    computed = [
        RegionBatches(
            dataclasses.replace(each.regions, features=LiveFeatures(each.regions, extractor, backbone)), each.sampler
        )
        for each in stored
    ]
    train, validation = (each.regions for each in stored)
    sides: dict[str, Side] = {}
    for name, (own, held_out) in (("cached", stored), ("live", computed)):
        network = plan.build_network()
        network.set_weights(training.trained_model(workdir).get_weights())
        task.stored.start(network, stored[0], seed=settings.seed, report=print)
        head = task.stored.part(network)
        step = plan.build_step(network, plan.build_optimizer(network), rest=head)
        sides[name] = Side(step, own, held_out, endless(own))
    extraction = []
    compute = Extraction(extractor)
    sets = [(each, image) for each in (train, validation) for image in range(len(each.images))]
    for number in range(arguments.batches + 1):
        for name in sides if number % 2 else reversed(sides):
            sides[name].train(settings.optimizer.learning_rate)
            sides[name].validate(number)
        extraction.append(compute.seconds(*sets[number * len(sets) // (arguments.batches + 1)]))
        print(f"\r{number} of {arguments.batches} rounds", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    fast, slow = (np.array(sides[name].seconds["training"][1:]) for name in ("cached", "live"))
    low, middle, high = np.quantile(slow / fast, [0.25, 0.5, 0.75])
    rows = np.sort(np.random.default_rng(0).permutation(len(train.features))[:256])
    difference = np.abs(computed[0].regions.features[rows] - np.asarray(train.features[rows], np.float32)).max()
    print(
        tables.markdown(
            [
                {
                    "features": name,
                    "ms per training batch, median": 1e3 * float(np.median(side.seconds["training"][1:])),
                    "ms per validation batch": 1e3 * float(np.median(side.seconds["validation"][1:])),
                    "epoch of the head, s": side.epoch(),
                    "loss of the last 10 batches": float(np.mean(side.losses[-10:])),
                    "validation accuracy": validation_accuracy(side.step, sides["cached"].validation),
                }
                for name, side in sides.items()
            ]
        )
    )
    print(
        f"\nlive / cached, training batches: median {middle:.1f}, quartiles {low:.1f} to {high:.1f}; largest "
        f"difference of features {difference:.4f}\n"
    )
    regions = len(train.features) + len(validation.features)
    rng = np.random.default_rng(0)
    trainings = [
        whole_training(sides["cached"], sides["live"], np.array(extraction), regions, epochs, rng) for epochs in EPOCHS
    ]
    print(f"whole trainings; {regions:,} regions are cached\n\n{tables.markdown(trainings)}")
