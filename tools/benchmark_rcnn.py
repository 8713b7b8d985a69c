"""Speedup from cached region features: `python tools/benchmark.py rcnn --workdir=DIR [--batches=N]`.

Both sides train the joint head of a finished run on the same batches in the same order. One side reads features from
disk; the other decodes each region's image, crops the region, and runs the backbone on the batch.
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
from tfeff.rcnn.images import RunImages
from tfeff.rcnn.joint import Examples, JointTraining
from tfeff.rcnn.region_features import RegionFeatures
from tfeff.rcnn.splits import Split
from tfeff.rcnn.stages import Material, feature_moments
from tfeff.reporting import tables


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--workdir", required=True, help="Workdir of a finished R-CNN run.")
    parser.add_argument("--batches", type=int, default=30, help="Batches per side.")


class LiveFeatures:
    """Features computed on access; indexed by rows like the cached ones.

    Args:
        split: the regions.
        network: computes their features.
    """

    def __init__(self, split: Split, network: RegionFeatures) -> None:
        self._split, self._network = split, network
        self._image = split.regions.image
        self._warp = tf.function(
            network.warped,
            input_signature=[
                tf.TensorSpec((None, None, network.channels), tf.uint8),
                tf.TensorSpec((None, 4), tf.float32),
            ],
            jit_compile=False,
        )
        self._of = tf.function(network.of, jit_compile=False, reduce_retracing=True)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        pixels = [None] * len(rows)
        images = self._split.images
        for image in np.unique(self._image[rows]):
            places = np.flatnonzero(self._image[rows] == image)
            boxes = self._split.boxes(image)[rows[places] - self._split.cached.starts[image]]
            decoded = decoding.decode(images.encoded(image), images.ids[image])
            shown = graph_decoding.in_channels(decoded, self._network.channels)
            for place, region in zip(places, self._warp(shown, boxes), strict=True):
                pixels[place] = region
        return self._of(tf.stack(pixels)).numpy()


def endless_batches(work: JointTraining) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields batches, epoch after epoch."""
    for epoch in itertools.count(1):
        yield from work.batches(epoch)


def step(work: JointTraining, batches: Iterator[tuple[np.ndarray, ...]], losses: list[np.ndarray]) -> None:
    """Trains on one batch."""
    losses.append(work.update(*map(tf.constant, next(batches))).numpy())


def run(arguments: argparse.Namespace) -> None:
    """Compare training the joint head on cached features to running the backbone in each batch."""
    if arguments.batches < 2:
        raise UserError(f"--batches={arguments.batches}: quartiles need at least 2 batches")
    workdir = rcnn.Workdir(arguments.workdir)
    settings = workdir.settings()
    images, material = RunImages(settings).training, Material(settings, workdir, training.Reporter(quiet=True))
    train, held_out = (material.split(name, images[name], windows=False) for name in ("train", "validation"))
    network = RegionFeatures(material.backbone.model, grid=settings.features.grid, context=settings.features.context)
    live = LiveFeatures(train, network)
    sides: dict[str, Callable[[], None]] = {}
    losses: dict[str, list[np.ndarray]] = {"cached": [], "live": []}
    works = dict[str, JointTraining]()
    for name, features in (("cached", train.features), ("live", live)):
        work = JointTraining(
            settings.joint,
            len(train.images.class_names),
            Examples(features, train.regions),
            Examples(held_out.features, held_out.regions),
            feature_moments(train.features, settings.seed),
            settings.seed,
        )
        works[name] = work
        sides[name] = functools.partial(step, work, endless_batches(work), losses[name])
    for side in sides.values():  # traces the graphs
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(arguments.batches):
        for name in sides if number % 2 else reversed(sides):
            began = time.perf_counter()
            sides[name]()
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
                    "ms per batch, median": 1e3 * statistics.median(values),
                    "s per epoch of the head": work.batch_count * statistics.median(values),
                    "mean loss of the last 10 batches": float(np.mean([loss[:2].sum() for loss in losses[name][-10:]])),
                    "validation accuracy": works[name].validate()[2],
                }
                for name, values in seconds.items()
            ]
        )
    )
    print(
        f"\nlive / cached: median {middle:.1f}, quartiles {low:.1f} to {high:.1f}; largest difference of a feature "
        f"{difference:.4f}"
    )
