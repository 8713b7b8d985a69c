"""Timings against peers: `python tools/benchmark.py NAME [--flags]`.

Machines are noisy: both sides of a comparison run in one process, in turn, and what is reported is the ratio of each
pair of rounds: its median, and its quartiles.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import benchmark_proposals
import benchmark_rcnn
import keras
import numpy as np
import tensorflow as tf

from tfeff import config, models, training
from tfeff.data.augment.policy import Augmentation
from tfeff.data.images.cache import Store
from tfeff.data.input.pipeline import Pipeline
from tfeff.data.sources import catalog
from tfeff.reporting import tables
from tfeff.scaling.experiment import experiment
from tfeff.scaling.study import prepare
from tfeff.training import optimizers
from tfeff.training.classification import Classification
from tfeff.training.step import Step
from tfeff.trials.trial import on_fold

Round = Callable[[], object]
BUFFERED = 6
"""More batches than the pipeline prepares ahead."""
FILLING_SECONDS = 1.0
"""Longer than it takes to prepare them."""


def interleave(
    first: Round, second: Round, *, rounds: int, before: tuple[Round, Round] = (lambda: None, lambda: None)
) -> tuple[list[float], list[float]]:
    """Seconds of each round of both sides, the two in turn, after one untimed round each.

    Args:
        first: a round of one side.
        second: a round of the other.
        rounds: of each side.
        before: untimed, what makes ready for a round of either side.
    """
    first(), second()
    seconds: tuple[list[float], list[float]] = [], []
    for index in range(rounds):
        sides = ((first, 0), (second, 1))
        for side, place in sides if index % 2 == 0 else reversed(sides):
            before[place]()
            start = time.perf_counter()
            side()
            seconds[place].append(time.perf_counter() - start)
    return seconds


def row(what: str, ours: list[float], theirs: list[float], images: int) -> dict[str, object]:
    """A comparison as a table's row; the ratio is ours over theirs in images/s: above 1, we are faster."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "comparison": what,
        "ours, images/s": images / statistics.median(ours),
        "theirs, images/s": images / statistics.median(theirs),
        "ratio": middle,
        "quartiles": f"{low:.3f} to {high:.3f}",
        "rounds": len(ratios),
    }


def new_step(model: keras.Model, batch_size: int) -> Step:
    """A training step of momentum SGD."""
    optimizer = optimizers.build("sgd", model, weight_decay=1e-3)
    return Step(model, optimizer, tf.distribute.get_strategy(), task=Classification(), batch_size=batch_size)


def random_batch(batch_size: int, resolution: int, classes: int) -> dict[str, tf.Tensor]:
    """Noise of the right shape."""
    return {
        "image": tf.random.uniform((batch_size, resolution, resolution, 3), 0, 255),
        "label": tf.one_hot(tf.random.uniform((batch_size,), 0, classes, tf.int32), classes),
        "weight": tf.ones(batch_size),
    }


def train_for(step: Step, steps: int, next_batch: Callable[[], dict[str, tf.Tensor]]) -> Round:
    """A round of some training steps."""

    def run() -> None:
        for _ in range(steps):
            sums = step.train(next_batch(), step=0, learning_rate=1e-3)
        sums.numpy()

    return run


def benchmark_input(arguments: argparse.Namespace) -> None:
    """Training with the whole input pipeline against training on one batch that stays in memory."""
    cases = [
        ("resnet width 12 at 32", arguments.small, 32, 32, 128, 100, {"width": 12, "resolution": 32}, "resnet"),
        ("efficientnet-b0 at 224", arguments.large, 256, 224, 16, 20, {}, "efficientnet-b0"),
    ]
    rows = []
    for what, source, image_size, resolution, batch_size, steps, options, name in cases:
        if source is None:
            continue
        images = catalog.load(source, "train")
        store = Store.open(images, (image_size, image_size))
        augmentation = Augmentation(horizontal_flip=True, crop_padding=image_size // 8)
        pipeline = Pipeline(store, batch_size=batch_size, resolution=resolution, augmentation=augmentation)
        batches = iter(pipeline.training_batches(epochs=10_000))
        kept = next(batches)
        step = new_step(models.build(name, num_classes=images.num_classes, **options), batch_size)
        with_pipeline = train_for(step, steps, lambda batches=batches: next(batches))
        bare = train_for(step, steps, lambda kept=kept: kept)
        # A round of the pipeline must not live on batches made during the other side's, nor these rounds be slowed by
        # making them: buffers are emptied before the one and full before the other.
        before = (lambda batches=batches: [next(batches) for _ in range(BUFFERED)], lambda: time.sleep(FILLING_SECONDS))
        ours, theirs = interleave(with_pipeline, bare, rounds=arguments.rounds, before=before)
        rows.append(row(f"{what}: pipeline / one batch in memory", ours, theirs, steps * batch_size))
    print(tables.markdown(rows))


def benchmark_models(arguments: argparse.Namespace) -> None:
    """Our networks against keras.applications' of the same name: training and prediction."""
    peers = {
        "efficientnet-b0": keras.applications.EfficientNetB0,
        "resnet50": keras.applications.ResNet50,
        "mobilenet-v1": keras.applications.MobileNet,
        "mobilenet-v2": keras.applications.MobileNetV2,
    }
    batch = random_batch(arguments.batch_size, 224, 1000)
    rows = []
    for name in arguments.names.split(","):
        ours, theirs = models.build(name), peers[name](weights=None, classifier_activation=None)
        count = arguments.batch_size * arguments.steps
        sides = [
            train_for(new_step(model, arguments.batch_size), arguments.steps, lambda: batch) for model in (ours, theirs)
        ]
        rows.append(row(f"{name}: training", *interleave(*sides, rounds=arguments.rounds), count))
        sides = [predict_for(model, arguments.steps, batch["image"]) for model in (ours, theirs)]
        rows.append(row(f"{name}: prediction", *interleave(*sides, rounds=arguments.rounds), count))
    print(tables.markdown(rows))


def predict_for(model: keras.Model, steps: int, images: tf.Tensor) -> Round:
    """A round of some predictions."""
    forward = tf.function(lambda pixels: model(pixels, training=False), jit_compile=False)

    def run() -> None:
        for _ in range(steps):
            result = forward(images)
        np.asarray(result)

    return run


def benchmark_search(arguments: argparse.Namespace) -> None:
    """A whole search against the naive one: one process, every candidate to its last epoch, everything anew each time.

    Both are programs of their own, one after the other; a machine that is busy with one half slows that one alone.
    """
    directory = Path(arguments.workdir)
    overrides = [f"--config.{override}" for override in arguments.override]
    ours = [sys.executable, "-m", "tfeff.search", "--config.sweeps.phis=", f"--config={arguments.config}", *overrides]
    naive = [sys.executable, __file__, "naive-search", arguments.config, str(directory / "naive"), *arguments.override]
    seconds = {}
    for name, command in (("ours", [*ours, f"--workdir={directory / 'ours'}"]), ("naive", naive)):
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds[name] = time.perf_counter() - start
    told = json.loads((directory / "ours" / "result.json").read_text())
    naive_table = json.loads((directory / "naive" / "result.json").read_text())
    means = {name: statistics.fmean(values) for name, values in naive_table.items()}
    winner = max(means, key=lambda name: means[name])
    candidates = {row["id"]: row for row in told["candidates"]}
    best = candidates[told["best"]]
    print(
        tables.markdown(
            [
                {
                    "candidates": len(candidates),
                    "naive, s": seconds["naive"],
                    "ours, s": seconds["ours"],
                    "ratio": seconds["naive"] / seconds["ours"],
                    "ours: best": best["label"],
                    "its 95 % interval": f"{best['low']:.3f} to {best['high']:.3f}",
                    "naive: best": candidates[winner]["label"],
                    "its mean": means[winner],
                    "inside": best["low"] <= means[winner] <= best["high"],
                    "its standing in ours": candidates[winner]["standing"],
                }
            ]
        )
    )


def naive_search(arguments: argparse.Namespace) -> None:
    """The naive side of `search`: trains every trial in this process, reading and tracing anew."""
    search = config.override(config.load(arguments.config, config.Search), arguments.override)
    study = prepare(search)
    directory = Path(arguments.workdir)
    result: dict[str, list[float]] = {}
    for network in study.chosen:
        for fold, seed in search.folds.blocks:
            settings = on_fold(experiment(search, study.baseline, network), search.folds, fold, seed)
            keras.backend.clear_session()
            workdir = training.train(
                settings, directory / network.id / f"{fold}-{seed}", reporter=training.Reporter(quiet=True)
            )
            value = study.objective.value(workdir.rows()[-1], network.cost.macs)
            result.setdefault(network.id, []).append(value)
            print(f"naive: {network.label}, fold {fold}: {value:.4f}", flush=True)
    (directory / "result.json").write_text(json.dumps(result))


def main() -> None:
    """Runs the benchmark that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    into = benchmarks.add_parser("input", help=benchmark_input.__doc__)
    into.add_argument("--small", default="embedded:digits", help="data set for the width-12 ResNet at 32x32")
    into.add_argument("--large", help="data set for EfficientNet-B0 at 224x224")
    into.add_argument("--rounds", type=int, default=15)
    into.set_defaults(run=benchmark_input)
    against = benchmarks.add_parser("models", help=benchmark_models.__doc__)
    against.add_argument("--names", default="efficientnet-b0")
    against.add_argument("--batch_size", type=int, default=16)
    against.add_argument("--steps", type=int, default=3)
    against.add_argument("--rounds", type=int, default=15)
    against.set_defaults(run=benchmark_models)
    whole = benchmarks.add_parser("search", help=benchmark_search.__doc__)
    whole.add_argument("--config", default="configs/digits_search.py")
    whole.add_argument("--workdir", required=True, help="an empty directory for both sides")
    whole.add_argument("override", nargs="*", help="key=value, as --config.key=value of tfeff.search")
    whole.set_defaults(run=benchmark_search)
    boxes = benchmarks.add_parser("proposals", help=benchmark_proposals.run.__doc__)
    benchmark_proposals.add_flags(boxes)
    boxes.set_defaults(run=benchmark_proposals.run)
    regions = benchmarks.add_parser("rcnn", help=benchmark_rcnn.run.__doc__)
    benchmark_rcnn.add_flags(regions)
    regions.set_defaults(run=benchmark_rcnn.run)
    naive = benchmarks.add_parser("naive-search", help=naive_search.__doc__)
    naive.add_argument("config")
    naive.add_argument("workdir")
    naive.add_argument("override", nargs="*")
    naive.set_defaults(run=naive_search)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
