"""Cached features against the backbone in every batch: `python tools/benchmark.py rcnn --workdir=DIR [--batches=N]`.

Both variants train the joint head of a finished run on the same batches in the same order. One reads features from
disk; the other decodes the image of each region, warps the region, and runs the backbone on the whole batch.
"""

import argparse
import functools
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfeff import rcnn, training
from tfeff.data.images import decoding, graph_decoding
from tfeff.errors import UserError
from tfeff.rcnn import joint
from tfeff.rcnn.examples import Examples
from tfeff.rcnn.feature_extractor import FeatureExtractor
from tfeff.rcnn.images import RunImages
from tfeff.rcnn.region_batches import RegionBatches
from tfeff.rcnn.regions import RegionSet
from tfeff.rcnn.run_regions import RunRegions
from tfeff.rcnn.stages import feature_moments
from tfeff.reporting import tables
from tfeff.training.assembly import Assembly


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--workdir", required=True, help="workdir of a finished R-CNN run")
    parser.add_argument("--batches", type=int, default=30, help="number of batches per variant")


class LiveFeatures:
    """Features computed on access, indexed by rows like cached ones.

    Args:
        regions: whose features.
        extractor: computes them.
    """

    def __init__(self, regions: RegionSet, extractor: FeatureExtractor) -> None:
        self._regions, self._extractor = regions, extractor
        self._image = regions.targets.image
        self._warp = tf.function(
            extractor.warped,
            input_signature=[
                tf.TensorSpec((None, None, extractor.channels), tf.uint8),
                tf.TensorSpec((None, 4), tf.float32),
            ],
            jit_compile=False,
        )
        self._features = tf.function(extractor.features, jit_compile=False, reduce_retracing=True)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        warped = [None] * len(rows)
        images = self._regions.images
        for image in np.unique(self._image[rows]):
            positions = np.flatnonzero(self._image[rows] == image)
            boxes = self._regions.boxes(image)[rows[positions] - self._regions.cached.starts[image]]
            decoded = decoding.decode(images.encoded(image), images.ids[image])
            pixels = graph_decoding.in_channels(decoded, self._extractor.channels)
            for position, region in zip(positions, self._warp(pixels, boxes), strict=True):
                warped[position] = region
        return self._features(tf.stack(warped)).numpy()


def endless(pipeline: RegionBatches) -> Iterator[dict[str, tf.Tensor]]:
    """The training batches of all epochs, each read when it is needed."""
    for epoch in itertools.count(1):
        for rows in pipeline.rows(epoch):
            yield {name: tf.constant(values) for name, values in pipeline.read(rows).items()}


def step(assembly: Assembly, batches: Iterator[dict[str, tf.Tensor]], rate: float, losses: list[float]) -> None:
    """Trains one batch."""
    sums = assembly.step.train(next(batches), step=len(losses), learning_rate=rate).numpy()
    losses.append(assembly.step.task.means(sums)["loss"])


def validation_accuracy(assembly: Assembly, pipeline: RegionBatches) -> float:
    """The head's accuracy on the validation batches."""
    sums = np.sum([assembly.step.evaluate(batch).numpy() for batch in pipeline.evaluation_batches()], axis=0)
    return assembly.step.task.means(sums)["accuracy"]


def run(arguments: argparse.Namespace) -> None:
    """Prints seconds per batch of both variants, their ratio, and their losses."""
    if arguments.batches < 2:
        raise UserError(f"--batches={arguments.batches}: must be at least 2")
    workdir = rcnn.Workdir(arguments.workdir)
    settings = workdir.settings()
    images, run_regions = RunImages(settings).training, RunRegions(settings, workdir, training.Reporter(quiet=True))
    train, validation = (run_regions.region_set(name, images[name], windows=False) for name in ("train", "validation"))
    extractor = FeatureExtractor(
        run_regions.backbone.model, grid=settings.features.grid, context=settings.features.context
    )
    live = LiveFeatures(train, extractor)
    section, seed, classes = settings.joint, settings.seed, train.images.num_classes
    held_out = Examples(validation.features, validation.targets)
    moments = feature_moments(train.features, seed)
    steps: dict[str, Callable[[], None]] = {}
    losses: dict[str, list[float]] = {"cached": [], "live": []}
    assemblies, pipelines = dict[str, Assembly](), dict[str, RegionBatches]()
    for name, features in (("cached", train.features), ("live", live)):
        data = joint.JointData(Examples(features, train.targets), held_out, moments, classes)
        pipeline = joint.batches(section, data.train, classes, seed=seed, name="training")
        assembly = joint.assemble(
            section, data, seed=seed, strategy=tf.distribute.get_strategy(), batch_size=pipeline.batch_size
        )
        assemblies[name], pipelines[name] = assembly, pipeline
        steps[name] = functools.partial(step, assembly, endless(pipeline), section.learning_rate, losses[name])
    validating = joint.batches(section, held_out, classes, seed=seed, name="validation")
    for traced in steps.values():
        traced()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(arguments.batches):
        for name in steps if number % 2 else reversed(steps):
            began = time.perf_counter()
            steps[name]()
            seconds[name].append(time.perf_counter() - began)
        print(f"\r{number + 1} of {arguments.batches} batches", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    ratios = [slow / fast for slow, fast in zip(seconds["live"], seconds["cached"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    rows = np.sort(np.random.default_rng(0).permutation(len(train.features))[:256])
    difference = np.abs(live[rows] - np.asarray(train.features[rows], np.float32)).max()
    print(
        tables.markdown(
            [
                {
                    "features": name,
                    "ms per batch, median": 1e3 * statistics.median(times),
                    "epoch of the head, s": pipelines[name].steps_per_epoch * statistics.median(times),
                    "loss of the last 10 batches": float(np.mean(losses[name][-10:])),
                    "validation accuracy": validation_accuracy(assemblies[name], validating),
                }
                for name, times in seconds.items()
            ]
        )
    )
    print(
        f"\nlive / cached: median {middle:.1f}, quartiles {low:.1f} to {high:.1f}; largest difference of features "
        f"{difference:.4f}"
    )
