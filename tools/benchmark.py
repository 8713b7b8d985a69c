"""Benchmarks against other implementations: `python tools/benchmark.py NAME [--flags]`.

Timings are noisy. Both sides of a comparison therefore alternate, within one process or as two processes, and
the result is the ratio of each pair of rounds, as median and quartiles.
"""

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import benchmark_classifiers
import benchmark_detectors
import benchmark_devices
import benchmark_fast_rcnn
import benchmark_features
import benchmark_growth
import benchmark_images
import benchmark_proposals
import benchmark_rcnn
import benchmark_search
import benchmark_serving
import command_line
import keras
import numpy as np
import tensorflow as tf
from paired_rounds import Round, interleave, quartiles, row, several

from tfeff import models, runs
from tfeff.data.augment.policy import Augmentation
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.data.input.image_transform import ImageTransform
from tfeff.data.input.order import Shuffled
from tfeff.data.input.reader import Reader
from tfeff.data.sources import catalog
from tfeff.reporting import tables
from tfeff.runs.prediction import find_images
from tfeff.tasks.classification import ClassificationTask
from tfeff.training import optimizers
from tfeff.training.step import Step

BUFFERED = 6
"""Batches to skip; more than the pipeline prefetches."""
FILLING_SECONDS = 1.0
"""Time to wait for the buffers to fill; longer than prefetching takes."""


def new_step(model: keras.Model, batch_size: int) -> Step:
    """Returns a training step with momentum SGD."""
    optimizer = optimizers.build("sgd", model, weight_decay=1e-3)
    return Step(model, optimizer, tf.distribute.get_strategy(), task=ClassificationTask(), batch_size=batch_size)


def random_batch(batch_size: int, resolution: int, classes: int) -> dict[str, tf.Tensor]:
    """Returns a batch of noise images with random labels."""
    return {
        "image": tf.random.uniform((batch_size, resolution, resolution, 3), 0, 255),
        "label": tf.one_hot(tf.random.uniform((batch_size,), 0, classes, tf.int32), classes),
        "weight": tf.ones(batch_size),
    }


def train_for(step: Step, steps: int, next_batch: Callable[[], dict[str, tf.Tensor]]) -> Round:
    """Returns a round of training steps."""

    def run() -> None:
        for _ in range(steps):
            sums = step.train(next_batch(), step=0, learning_rate=1e-3)
        sums.numpy()

    return run


def benchmark_input(arguments: argparse.Namespace) -> None:
    """Compares training with the input pipeline to training on one batch in memory."""
    cases = [
        ("resnet width 12 at 32", arguments.small, 32, 32, 128, 100, {"width": 12, "resolution": 32}, "resnet"),
        ("efficientnet-b0 at 224", arguments.large, 256, 224, 16, 20, {}, "efficientnet-b0"),
    ]
    rows = []
    for case, source, image_size, resolution, batch_size, steps, options, name in cases:
        if source is None:
            continue
        images = catalog.open_labels(source).load("train")
        store = ImageCache.open(images, (image_size, image_size))
        augmentation = Augmentation(horizontal_flip=True, crop_padding=image_size // 8)
        transform = ImageTransform(Reader(store), (resolution, resolution), augmentation=augmentation)
        pipeline = Batches(transform, batch_size, order=Shuffled(len(store), seed=0))
        batches = iter(pipeline.training_batches(epochs=10_000))
        kept = next(batches)
        step = new_step(models.build(name, num_classes=images.num_classes, **options), batch_size)
        with_pipeline = train_for(step, steps, lambda batches=batches: next(batches))
        bare = train_for(step, steps, lambda kept=kept: kept)
        # The pipeline must not profit from batches prefetched during the other side's round, nor slow that round down:
        # empty the buffers before its own round, and fill them before the other side's.
        before = (lambda batches=batches: [next(batches) for _ in range(BUFFERED)], lambda: time.sleep(FILLING_SECONDS))
        ours, theirs = interleave(with_pipeline, bare, rounds=arguments.rounds, before=before)
        rows.append(row(f"{case}: pipeline / one batch in memory", ours, theirs, steps * batch_size))
    print(tables.markdown(rows))


def benchmark_models(arguments: argparse.Namespace) -> None:
    """Compares training and inference of our networks to those of keras.applications."""
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
        sides = [infer_for(model, arguments.steps, batch["image"]) for model in (ours, theirs)]
        rows.append(row(f"{name}: inference", *interleave(*sides, rounds=arguments.rounds), count))
    print(tables.markdown(rows))


def infer_for(model: keras.Model, steps: int, images: tf.Tensor) -> Round:
    """Returns a round of forward passes in inference mode."""
    forward = tf.function(lambda pixels: model(pixels, training=False), jit_compile=False)

    def run() -> None:
        for _ in range(steps):
            result = forward(images)
        np.asarray(result)

    return run


def benchmark_predict(arguments: argparse.Namespace) -> None:
    """Compares predictions for many files to the bare SavedModel; kills and resumes a call.

    The files are copies of a folder's photographs, and ten damaged ones. "Theirs" passes batches of the undamaged
    files, already in memory, to the signature serving_bytes.
    """
    predictor = runs.load_predictor(Path(arguments.model), batch_size=arguments.batch_size)
    serve = tf.saved_model.load(arguments.model).signatures["serving_bytes"]
    with tempfile.TemporaryDirectory() as directory:
        images = Path(directory) / "images"
        good = copy_photographs(Path(arguments.images), images, arguments.count - len(DAMAGE))
        encoded = [path.read_bytes() for path in good]
        add_damaged(images, encoded[0])
        paths = find_images(images, Path(directory) / "out")

        def bare() -> None:
            for start in range(0, len(encoded), arguments.batch_size):
                serve(encoded=tf.constant(encoded[start : start + arguments.batch_size]))["probabilities"].numpy()

        outs = (Path(directory) / f"out{number}" for number in itertools.count())
        rows = []
        for draw in (False, True):

            def ours(draw: bool = draw) -> None:
                done = runs.write_predictions(predictor, paths, next(outs), key="", draw=draw)
                assert (len(done.rows), len(done.damaged)) == (len(good), len(DAMAGE))

            case = f"predict, {'contact sheet' if draw else 'no pictures'}"
            cpu: tuple[list[float], list[float]] = [], []
            sides = [with_cpu_time(side, times) for side, times in zip((ours, bare), cpu, strict=True)]
            seconds = interleave(*sides, rounds=arguments.rounds)
            mine, theirs = map(min, cpu)
            rows.append(row(f"{case} / SavedModel", *seconds, len(good)) | {"ratio of least CPU time": theirs / mine})
        print(tables.markdown(rows))
        kill_and_resume(arguments.model, images, next(outs))


def with_cpu_time(run: Round, times: list[float]) -> Round:
    """Appends the CPU seconds of each round. Their minimum depends little on other load on the machine."""

    def timed() -> None:
        start = time.process_time()
        run()
        times.append(time.process_time() - start)

    return timed


DAMAGE: tuple[Callable[[bytes], bytes], ...] = (
    lambda photograph: b"",
    lambda photograph: b"text",
    lambda photograph: photograph[:9],
    lambda photograph: photograph[: len(photograph) // 2],
    lambda photograph: photograph[len(photograph) // 2 :],
    lambda photograph: bytes(len(photograph)),
    lambda photograph: photograph[:-50],
    lambda photograph: b"<html></html>" + photograph,
    lambda photograph: b"%PDF-1.7\n" + photograph,
    lambda photograph: photograph[:2] + b"\xff" * 99,
)
"""Ten ways to damage an image file."""


def copy_photographs(source: Path, images: Path, count: int) -> list[Path]:
    """Returns copies of the photographs in a folder, in turn, until there are `count`."""
    images.mkdir()
    paths = list(find_images(source, images).values())
    chosen = [paths[number % len(paths)] for number in range(count)]
    return [shutil.copy(path, images / f"{number:05}{path.suffix}") for number, path in enumerate(chosen)]


def add_damaged(images: Path, photograph: bytes) -> None:
    """Adds files that are no images, evenly spread over the others."""
    step = len(list(images.iterdir())) // len(DAMAGE)
    for number, damage in enumerate(DAMAGE):
        (images / f"{number * step:05}-damaged.jpg").write_bytes(damage(photograph))


def kill_and_resume(model: str, images: Path, out: Path) -> None:
    """Kills `tfeff.predict` with SIGKILL three times, lets it finish, and counts the rows it computed."""
    command = [sys.executable, "-m", "tfeff.predict", f"--model={model}", f"--images={images}", f"--out={out}"]
    rows = 0
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        target = rows + 100
        while process.poll() is None and rows < target:
            time.sleep(0.001)
            rows = max((file.read_bytes().count(b"\n") - 1 for file in out.glob(".predictions-*.jsonl")), default=0)
        process.kill()
        process.wait()
        print(f"killed after {rows} rows")
    last = subprocess.run(command, check=True, capture_output=True, text=True)
    print(last.stdout.splitlines()[-1])
    (journal,) = out.glob(".predictions-*.jsonl")
    names = [json.loads(line)["image"] for line in journal.read_text().splitlines()[1:]]
    print(f"journal: {len(names)} rows, {len(names) - len(set(names))} of them repeated")


def benchmark_estimate(arguments: argparse.Namespace) -> None:
    """Measures the CPU time of estimating the cost of random networks."""
    rows = []
    for name in arguments.names.split(","):
        rng, seconds = random.Random(name), list[float]()
        for _ in range(arguments.specs):
            described = models.architecture(
                name,
                width_coefficient=rng.uniform(0.2, 3.0),
                depth_coefficient=rng.uniform(0.2, 3.0),
                resolution=rng.randint(32, 300),
            )
            began = time.process_time()
            models.estimate(described)
            seconds.append(time.process_time() - began)
        low, middle, high = (1e3 * value for value in quartiles(seconds))
        rows.append({"network": name, "CPU time, ms": middle, "quartiles": f"{low:.2f} to {high:.2f}"})
    print(tables.markdown(rows))


MODULES = {
    "images": benchmark_images,
    "search": benchmark_search,
    "proposals": benchmark_proposals,
    "classifiers": benchmark_classifiers,
    "detectors": benchmark_detectors,
    "serving": benchmark_serving,
    "rcnn": benchmark_rcnn,
    "features": benchmark_features,
    "fast-rcnn": benchmark_fast_rcnn,
    "growth": benchmark_growth,
    "devices": benchmark_devices,
}
"""Benchmarks with a module of their own: each has `run` and `add_flags`."""


def main() -> None:
    """Runs the selected benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    pipeline = benchmarks.add_parser("input", help=benchmark_input.__doc__)
    pipeline.add_argument("--small", default="embedded:digits", help="Dataset for the width-12 ResNet at 32x32.")
    pipeline.add_argument("--large", help="Dataset for EfficientNet-B0 at 224x224.")
    pipeline.add_argument("--rounds", type=several, default=15, help="Timed rounds per side.")
    pipeline.set_defaults(run=benchmark_input)
    networks = benchmarks.add_parser("models", help=benchmark_models.__doc__)
    networks.add_argument("--names", default="efficientnet-b0", help="Networks, separated by commas.")
    networks.add_argument("--batch_size", type=int, default=16, help="Images per batch.")
    networks.add_argument("--steps", type=int, default=3, help="Steps per round.")
    networks.add_argument("--rounds", type=several, default=15, help="Timed rounds per side.")
    networks.set_defaults(run=benchmark_models)
    estimate = benchmarks.add_parser("estimate", help=benchmark_estimate.__doc__)
    estimate.add_argument(
        "--names", default="resnet,mobilenet-v1,mobilenet-v2,efficientnet-b0", help="Networks, separated by commas."
    )
    estimate.add_argument("--specs", type=several, default=600, help="Random networks of each.")
    estimate.set_defaults(run=benchmark_estimate)
    predict = benchmarks.add_parser("predict", help=benchmark_predict.__doc__.partition("\n")[0])
    predict.add_argument("--model", required=True, help="SavedModel of a classifier.")
    predict.add_argument("--images", required=True, help="Folder of photographs, copied until there are enough.")
    predict.add_argument("--count", type=int, default=1000, help="Number of files, ten of which are damaged.")
    predict.add_argument("--batch_size", type=int, default=32, help="Images per call of the model.")
    predict.add_argument("--rounds", type=several, default=6, help="Timed rounds per side.")
    predict.set_defaults(run=benchmark_predict)
    for name, module in MODULES.items():
        own = benchmarks.add_parser(name, help=module.run.__doc__)
        module.add_flags(own)
        own.set_defaults(run=module.run)
    naive = benchmarks.add_parser("naive-search", help=benchmark_search.naive_search.__doc__)
    benchmark_search.add_naive_flags(naive)
    naive.set_defaults(run=benchmark_search.naive_search)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    command_line.run(main)
