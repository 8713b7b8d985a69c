"""How cost grows: `python tools/benchmark.py growth PART [--sizes=a,b,c] [--before=DIR]`. Linux only.

Parts:

- `classes`: the reports, figures and label errors of a classifier as a function of the number of classes; the images
  (1,000) stay the same.
- `evaluation`: COCO's metrics as a function of the number of images (80 classes, 7 objects and 30 detections each).
- `search`: what a search does besides training, as a function of the number of trials. An executor that trains nothing
  ends each trial immediately, so the time is that of the allocation, the progress display and the store.
- `exports`: loading a SavedModel and its first call, as a function of the network's parameters: EfficientNet-B0 at
  224x224, widened.
- `detectors`: the same for EfficientDet-D0, D2 and D4, each with an image of its own resolution.
- `caches`: decoding, opening and reading the caches of a folder of JPEG files, as a function of the number of images;
  decoded, an image has 64x64 pixels. A restart opens the cache of an earlier start in a new process.
- `records`: opening and reading the same images as records without a cache, and as files. With --images=folder:DIR, the
  images of that folder are packed as well, and read as records and as files in alternating rounds.

--before=DIR is a checkout of an earlier version, which is measured with the same inputs. Each measurement is a process
of its own: its CPU time, and its peak memory beyond that of its inputs and imports; of `caches` and `records`, the peak
of the memory that no file backs. Growth is the slope of the line through the logarithms of the sizes and of the times
(or memory): 1 is linear.
"""

import argparse
import io
import itertools
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paired_rounds import interleave, row, several

from tfeff.reporting import tables

ROOT = Path(__file__).resolve().parents[1]
SECONDS, BYTES = 300, 8 * 2**30
"""A measurement that takes more CPU time, or more memory, is ended; larger sizes are skipped."""
LIMITS = {resource.RLIMIT_AS: BYTES, resource.RLIMIT_CPU: SECONDS}
"""Of a measurement. They are soft, so that the process that prepares one can lift them."""
OUT_OF_MEMORY = "MemoryError", "bad_alloc", "Cannot allocate memory", "OOM when allocating", "failed to map"
"""What programs print that get no more memory."""
SIZE = 64, 64
"""Of decoded images in caches."""
READ = 2000
"""Images of a folder that a round reads."""
Measured = Callable[[], object]


def predictions(classes: int, images: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that are right for 70 % of the images and highest at a random class otherwise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, images)
    top = np.where(rng.random(images) < 0.7, labels, rng.integers(0, classes, images))
    probabilities = np.full((images, classes), 0.3 / classes, np.float32)
    probabilities[np.arange(images), top] += 0.7
    return labels, probabilities


def classification_json(classes: int) -> Measured:
    """Returns the report of a classifier as JSON, written and read."""
    from tfeff import evaluation

    labels, probabilities = predictions(classes)
    names = [f"class {number}" for number in range(classes)]
    return lambda: json.loads(json.dumps(evaluation.classification_report(labels, probabilities, names).to_json()))


def classification_drawn(classes: int) -> Measured:
    """Returns the figures of a classifier, as PNG."""
    from tfeff import evaluation
    from tfeff.reports.classification import classification_figures

    labels, probabilities = predictions(classes)
    names = [f"class {number}" for number in range(classes)]
    report = evaluation.classification_report(labels, probabilities, names).to_json()

    def draw() -> None:
        for drawn in classification_figures(report, labels, probabilities).values():
            drawn.savefig(io.BytesIO())

    return draw


def suspects(classes: int) -> Measured:
    """Finds label errors."""
    from tfeff import evaluation

    labels, probabilities = predictions(classes)
    return lambda: evaluation.label_errors(labels, probabilities)


def permutation(classes: int) -> Measured:
    """Returns the permutation of the labels that explains the predictions best."""
    from tfeff.analysis.diagnosis.predicted_labels import best_permutation

    labels, probabilities = predictions(classes)
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    return lambda: best_permutation(labels, predicted, classes)


def coco(images: int) -> Measured:
    """COCO's metrics."""
    from tfeff.data.dataset import Objects
    from tfeff.evaluation.coco import coco_scores
    from tfeff.evaluation.matching import Detections

    rng = np.random.default_rng(0)
    found, truth = [], []
    for _ in range(images):
        corners, sides = rng.uniform(0, 500, (7, 2)), rng.uniform(10, 140, (7, 2))
        boxes = np.concatenate([corners, corners + sides], axis=1)
        labels, flags = rng.integers(0, 80, 7), np.zeros(7, bool)
        truth.append(Objects(boxes.astype(np.float32), labels.astype(np.int32), flags, flags))
        near = rng.integers(0, 7, 30)
        moved = boxes[near] + rng.normal(0, 8, (30, 4)).clip(-9, 9) * [0.5, 0.5, 0.5, 0.5]
        guessed = np.where(rng.random(30) < 0.6, labels[near], rng.integers(0, 80, 30)).astype(np.int32)
        found.append(Detections(moved.astype(np.float32), guessed, rng.random(30).astype(np.float32)))
    coco_scores(found[:20], truth[:20], 80)  # compiles
    return lambda: coco_scores(found, truth, 80)


class Instant:
    """An executor whose trainings end at once, with an accuracy that depends on the candidate."""

    slots = 2

    def __init__(self) -> None:
        self._waiting: list[tuple[Any, ...]] = []

    def submit(self, key: Any, _: object, *arguments: Any) -> None:
        """Keeps the call."""
        self._waiting.append((key, *arguments))

    def wait(self, _: float) -> list[Any]:
        """Returns the oldest call, as finished."""
        from tfeff.execution.executor import Outcome

        key, _, _, epochs, _ = self._waiting.pop(0)
        accuracy = 0.5 + 0.3 * int(key.candidate[1:]) % 7919 / 7919 + 0.01 * key.fold
        rows = [{"epoch": epoch, "validation_accuracy": accuracy} for epoch in range(1, epochs + 1)]
        return [Outcome(key, {"rows": rows, "seconds": 1.0, "peak_bytes": None})]


def coordinator(trials: int, halving: bool) -> Measured:
    """Runs all trials of candidates on three folds; with `halving`, of a few epochs first."""
    from rich.console import Console

    from tfeff import config
    from tfeff.training.interruption import Interruption
    from tfeff.trials.allocation import Full, Halving
    from tfeff.trials.progress import TrialProgress
    from tfeff.trials.results import TrialObjective
    from tfeff.trials.runner import TrialRunner
    from tfeff.trials.store import TrialStore
    from tfeff.trials.trial import Candidate

    folds = config.Folds(count=3, examples=100)
    experiment = config.Experiment(training=config.Training(epochs=4))
    share = 1.5 if halving else 1.0  # of the trials, two thirds are in the first rung, nearly
    count = round(trials / 3 / share)
    candidates = [Candidate(f"n{number}", f"n{number}", experiment, macs=1000 + number) for number in range(count)]
    allocation = Halving(epochs=4, minimum_epochs=2, reduction=2) if halving else Full(4)

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/dev/shm")) as directory:
            store = TrialStore(Path(directory) / "trials.sqlite", config.Search(folds=folds))
            terminal = Console(file=io.StringIO(), force_terminal=True)
            progress, interruption = TrialProgress(terminal, bounded=True), Interruption()
            runner = TrialRunner(
                Path(directory), folds, config.Trials(), store, Instant(), TrialObjective(), progress, interruption
            )
            with progress.shown():
                runner.run(candidates, allocation, "networks")
            store.close()

    return run


_EXPORT = """
import sys
from tfeff import models
from tfeff.serving import savedmodel
network = models.build("efficientnet-b0", width_coefficient=float(sys.argv[2]))
names = [str(number) for number in range(1000)]
savedmodel.export(network, names, sys.argv[1], image_size=None, size=(224, 224), channels=3)
"""


_EXPORT_DETECTOR = """
import sys
from tfeff import config, models, tasks
from tfeff.serving import savedmodel
task = tasks.create(config.EfficientDetSettings())
network = task.network(models.detector(sys.argv[2]), num_classes=80, channels=3)
names = [str(number) for number in range(80)]
savedmodel.export(network, names, sys.argv[1], image_size=None, size=network.size, channels=3, task=task)
"""
DETECTORS = {4: ("efficientdet-d0", 512), 8: ("efficientdet-d2", 768), 21: ("efficientdet-d4", 1024)}
"""Million parameters -> detector, resolution."""


def saved_model(millions: int) -> Measured:
    """Loads a SavedModel of about so many million parameters, and predicts one image."""
    return _loaded(_EXPORT, str((millions / 5.3) ** 0.5), 224)


def saved_detector(millions: int) -> Measured:
    """Loads the SavedModel of a detector, and predicts one image."""
    name, side = DETECTORS[min(DETECTORS, key=lambda size: abs(size - millions))]
    return _loaded(_EXPORT_DETECTOR, name, side)


def _loaded(export: str, argument: str, side: int) -> Measured:
    """Loads a SavedModel, and predicts one image.

    Another process without limits exports it, whose memory does not count.
    """
    import tensorflow as tf

    directory = tempfile.TemporaryDirectory()
    out = f"{directory.name}/model"
    call = [sys.executable, "-P", "-c", export, out, argument]
    subprocess.run(call, check=True, stderr=subprocess.DEVNULL, preexec_fn=unlimited)
    image = tf.zeros((1, side, side, 3), tf.uint8)

    def run(keep: object = directory) -> object:
        model = tf.saved_model.load(out)
        return model, model.signatures["serving_default"](images=image)

    return run


def decoded(cache: str) -> Callable[[int], Measured]:
    """Returns what opens a cache for the first time, by number of images."""

    def prepare(images: int) -> Measured:
        directory, dataset = image_files(images)

        def run(keep: object = directory) -> object:
            return open_cache(dataset, cache, keep)

        return run

    return prepare


def restarted(cache: str, read: bool) -> Callable[[int], Measured]:
    """Returns what opens a cache again, or reads all images of it in batches, by number of images."""

    def prepare(images: int) -> Measured:
        directory, dataset = image_files(images)
        process = multiprocessing.get_context("spawn").Process(target=open_cache, args=(dataset, cache, directory.name))
        process.start()
        process.join()
        opened = open_cache(dataset, cache, directory) if read else None

        def run(keep: object = directory) -> object:
            if opened is None:
                return open_cache(dataset, cache, keep)
            return sum(1 for _ in batches(opened, SIZE).training_batches(epochs=1))

        return run

    return prepare


def uncached(scheme: str, read: bool) -> Callable[[int], Measured]:
    """Returns what opens images without a cache for the first time, or reads all of them in batches.

    Args:
        scheme: `folder` or `records`.
        read: whether to read them; without a pass for corrupt images before.
    """

    def prepare(images: int) -> Measured:
        from tfeff.data.input.cache import ImageCache
        from tfeff.data.sources import catalog

        directory, _ = image_files(images)
        if scheme == "records":
            process = multiprocessing.get_context("spawn").Process(target=pack, args=(directory.name,))
            process.start()
            process.join()
        name = f"{scheme}:{directory.name}" + ("/records" if scheme == "records" else "")

        def run(keep: object = directory) -> object:
            dataset = catalog.open_labels(name).load("train")
            if not read:
                return ImageCache.open(dataset, SIZE, cache="none"), keep
            cache = ImageCache(dataset, SIZE, None, np.arange(images))
            return sum(1 for _ in batches(cache, SIZE).training_batches(epochs=1))

        return run

    return prepare


def pack(folder: str) -> None:
    """Packs a folder into its folder `records`."""
    from tfeff.data.sources import packing

    packing.pack(packing.open_source(f"folder:{folder}"), f"{folder}/records")


def batches(cache: Any, size: tuple[int, int]) -> Any:
    """Returns batches of the images of a cache."""
    from tfeff.data.augment.policy import Augmentation
    from tfeff.data.input.batches import Batches
    from tfeff.data.input.image_transform import ImageTransform
    from tfeff.data.input.order import Shuffled
    from tfeff.data.input.reader import Reader

    transform = ImageTransform(Reader(cache), size, augmentation=Augmentation())
    return Batches(transform, min(64, len(cache)), order=Shuffled(len(cache), seed=0))


def records_and_folder(source: str, size: tuple[int, int], rounds: int) -> list[dict[str, object]]:
    """Reads images as records and as files in alternating rounds, each a pass over READ of them.

    Args:
        source: name of a folder with images.
        size: size to which they are resized.
        rounds: number of rounds.
    """
    from tfeff.data.dataset import evenly_spaced
    from tfeff.data.input.cache import ImageCache
    from tfeff.data.sources import catalog, packing

    with tempfile.TemporaryDirectory() as directory:
        packing.pack(packing.open_source(source), f"{directory}/records")
        sides, cpu = [], ([], [])
        for name, times in zip((f"records:{directory}/records", source), cpu, strict=True):
            dataset = catalog.open_labels(name).load("train")
            taken = dataset.take(evenly_spaced(len(dataset), READ))
            passes = batches(ImageCache(taken, size, None, np.arange(len(taken))), size).evaluation_batches()

            def read(passes: Any = passes, times: list[float] = times) -> None:
                began = time.process_time()
                for _ in passes:
                    pass
                times.append(time.process_time() - began)

            sides.append(read)
        seconds = interleave(sides[0], sides[1], rounds=rounds)
    ratios = sorted(theirs / ours for ours, theirs in zip(cpu[0][1:], cpu[1][1:], strict=True))
    compared = row(f"records / {source}, {size[0]}x{size[1]}", *seconds, len(taken))
    return [compared | {"ratio of CPU time": ratios[len(ratios) // 2]}]


def open_cache(dataset: Any, cache: str, directory: Any) -> Any:
    """Returns the opened cache of a dataset."""
    from tfeff.data.input.cache import ImageCache

    folder = Path(getattr(directory, "name", directory)) / "cache"
    return ImageCache.open(dataset, SIZE, cache=cache, directory=folder)


def image_files(count: int) -> tuple[Any, Any]:
    """Returns a temporary folder with so many small images of two classes, and them as a dataset."""
    import cv2

    import tfeff.data.input.cache  # noqa: F401  imports TensorFlow, which does not count
    from tfeff.data.sources import catalog

    directory = tempfile.TemporaryDirectory()
    drawn = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    content = cv2.imencode(".jpg", drawn)[1].tobytes()
    for name in ("a", "b"):
        (Path(directory.name) / "train" / name).mkdir(parents=True)
    for number in range(count):
        Path(f"{directory.name}/train/{'ab'[number % 2]}/{number}.jpg").write_bytes(content)
    return directory, catalog.open_labels(f"folder:{directory.name}").load("train")


PARTS: dict[str, tuple[str, tuple[int, ...], dict[str, Callable[[int], Measured]]]] = {
    "classes": (
        "classes",
        (1000, 5000, 20000),
        {"report as JSON": classification_json, "figures": classification_drawn, "label errors": suspects}
        | {"permutation of labels": permutation},
    ),
    "evaluation": ("images", (1000, 4000, 20000), {"COCO's metrics": coco}),
    "search": (
        "trials",
        (300, 1500, 9999),
        {"full": lambda trials: coordinator(trials, False), "halving": lambda trials: coordinator(trials, True)},
    ),
    "exports": ("million parameters", (5, 20, 66), {"load and first call": saved_model}),
    "detectors": ("million parameters", tuple(DETECTORS), {"load and first call": saved_detector}),
    "caches": (
        "images",
        (2500, 10000, 40000),
        {
            "memory: decode": decoded("memory"),
            "disk: decode": decoded("disk"),
            "disk: open again": restarted("disk", read=False),
            "disk: first epoch": restarted("disk", read=True),
            "none: open again": restarted("none", read=False),
        },
    ),
    "records": (
        "images",
        (10000, 30000, 100000),
        {
            "records: open": uncached("records", read=False),
            "folder: open": uncached("folder", read=False),
            "records: epoch": uncached("records", read=True),
            "folder: epoch": uncached("folder", read=True),
        },
    ),
}
"""Part -> what grows, its sizes, and what is measured."""


def unlimited() -> None:
    """Lifts the limits of a measurement."""
    for kind in LIMITS:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (hard, hard))


def measure(part: str, name: str, size: int) -> tuple[float, float]:
    """Seconds, and peak memory in MB beyond that before the call, of one measurement in this process."""
    call = PARTS[part][2][name](size)
    if part in ("caches", "records"):
        began = time.process_time()
        megabytes = private_peak(call) / 1e6
        return time.process_time() - began, megabytes
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at the present size
    before = memory("VmRSS")
    began = time.process_time()
    call()
    seconds = time.process_time() - began
    # The peak is lower than the memory before if free pages were given back meanwhile.
    return seconds, max(0, memory("VmHWM") - before) / 1e6


def private_peak(call: Measured) -> int:
    """Returns the peak of the memory that no file backs during a call, in bytes beyond that before; sampled."""
    ended, before, peak = threading.Event(), memory("RssAnon"), 0

    def sample() -> None:
        nonlocal peak
        while not ended.wait(0.02):
            peak = max(peak, memory("RssAnon"))

    sampler = threading.Thread(target=sample)
    sampler.start()
    kept = call()
    peak = max(peak, memory("RssAnon"))
    ended.set()
    sampler.join()
    del kept
    return max(0, peak - before)


def in_process(part: str, name: str, size: int, code: Path) -> tuple[float, float] | str:
    """Runs `measure` in a process of its own with the package in `code`; or why there is no result."""

    def limit() -> None:
        for kind, most in LIMITS.items():
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))

    finished = subprocess.run(
        [sys.executable, __file__, part, name, str(size)],
        env={**os.environ, "PYTHONPATH": str(code.resolve())},
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    sys.stderr.write(finished.stderr)
    if finished.returncode == -signal.SIGXCPU:
        return f"over {SECONDS} s"
    if finished.returncode:
        exceeded = any(words in finished.stderr for words in OUT_OF_MEMORY)
        return f"over {BYTES >> 30} GiB" if exceeded else f"failed with exit code {finished.returncode}"
    seconds, megabytes = map(float, finished.stdout.split()[-2:])
    return seconds, megabytes


def memory(kind: str) -> int:
    """Bytes of this process's memory, of a kind that /proc/self/status lists."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(kind))


def slope(sizes: Iterable[int], values: Sequence[float]) -> float | None:
    """Returns the slope of the line through the logarithms; None with fewer than two values above 0."""
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if value > 0]
    if len(points) < 2:
        return None
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


def sizes_of(text: str) -> tuple[int, ...]:
    """Returns the sizes that a flag lists, the smallest first."""
    sizes = tuple(sorted(int(size) for size in text.split(",")))
    if sizes[0] < 1:
        raise ValueError(text)
    return sizes


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("part", choices=PARTS, help="What is measured.")
    parser.add_argument("--sizes", type=sizes_of, help="Sizes, separated by commas.")
    parser.add_argument("--images", help="With records: folder:DIR, to compare speeds on its images.")
    parser.add_argument("--side", type=int, default=224, help="With --images: height and width of resized images.")
    parser.add_argument("--rounds", type=several, default=15, help="With --images: timed rounds.")
    parser.add_argument("--before", help="Checkout of an earlier version to measure as well.")


def run(arguments: argparse.Namespace) -> None:
    """Measures how time and memory grow with classes, images or trials."""
    import command_line  # not in the processes of an earlier version, whose package may lack what it imports

    what, sizes, measures = PARTS[arguments.part]
    sizes = arguments.sizes or sizes
    versions = {"before": command_line.checkout(arguments.before)} if arguments.before else {}
    rows = []
    for name, (version, code) in itertools.product(measures, {**versions, "now": ROOT}.items()):
        row: dict[str, Any] = {"measured": name, "version": version}
        results = dict[int, tuple[float, float]]()
        for size in sizes:
            result = "skipped" if len(results) < len(row) - 2 else in_process(arguments.part, name, size, code)
            if not isinstance(result, str):
                results[size] = result
                result = f"{result[0]:.3g} s, {result[1]:,.0f} MB"
            row[f"{size:,} {what}"] = result
            print(f"{name}, {version}, {size:,} {what}: {result}", file=sys.stderr, flush=True)
        times, peaks = zip(*results.values(), strict=True) if results else ((), ())
        rows.append(row | {"slope of time": slope(results, times), "of memory": slope(results, peaks)})
    print(tables.markdown(rows))
    if arguments.images:
        print(tables.markdown(records_and_folder(arguments.images, (arguments.side,) * 2, arguments.rounds)))


if __name__ == "__main__":
    print(*measure(sys.argv[1], sys.argv[2], int(sys.argv[3])))
