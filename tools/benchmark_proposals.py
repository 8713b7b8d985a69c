"""Proposers against each other: `python tools/benchmark.py proposals --dataset=voc:DIR [--dataset=yolo:DIR2 ...]`.

All engines run in one process, one image after the other, each image by all of them in turn. Times are the processor's
for the call, the image decoded; overlaps are measured on the same boxes.
"""

import argparse
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.evaluation.proposals import coverage
from tfeff.execution.threads import Threads
from tfeff.proposals import MODES, Mode, OpenCVSelectiveSearch, SelectiveSearch
from tfeff.reporting import figure, tables
from tfeff.reporting.figure import BLUE, quantity, style

COUNTS = (500, 1000, 2000)
RESAMPLES = 2000
MEGAPIXELS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
Engine = Callable[[np.ndarray], np.ndarray]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--dataset", action="append", default=[], help="voc:DIR or yolo:DIR; may be repeated")
    parser.add_argument("--mode", default="fast", help="fast or quality, of both engines")
    parser.add_argument(
        "--part", choices=["even", "odd", "all"], default="odd", help="images by number; even ones tune"
    )
    parser.add_argument("--limit", type=int, help="images of each data set")
    parser.add_argument("--peers", action="store_true", help="selectivesearch and selective-search of PyPI too")
    parser.add_argument("--threads", help="for instance 1,2: images/s on so many threads instead")
    parser.add_argument("--sizes", help="time against size instead, of the data set's first image; writes this figure")
    parser.add_argument("--memory", action="store_true", help="most memory that one 640x480 image takes instead")


def run(arguments: argparse.Namespace) -> None:
    """Runs what the flags ask for."""
    cv2.setNumThreads(1)
    if arguments.memory:
        print(tables.markdown([{"mode": mode, "MB": memory(mode)} for mode in ("single", "fast", "quality")]))
        return
    if arguments.sizes:
        against_size(Path(arguments.sizes), arguments.dataset[0], arguments.mode)
        return
    for name in arguments.dataset:
        images, objects = pictures(name, arguments.part, arguments.limit)
        if arguments.threads:
            print(tables.markdown(throughput(images, arguments.mode, [int(n) for n in arguments.threads.split(",")])))
        else:
            compare(name, images, objects, arguments.mode, arguments.peers)


def pictures(name: str, part: str, limit: int | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Decoded images of a data set and the boxes of their objects."""
    source = catalog.open_objects(name).load("all")
    chosen = {"even": slice(0, None, 2), "odd": slice(1, None, 2), "all": slice(None)}[part]
    indices = range(len(source))[chosen][:limit]
    images = [decoding.decode(source.encoded(index), source.ids[index]) for index in indices]
    return images, [source.objects[index].boxes_yxyx for index in indices]


def compare(name: str, images: Sequence[np.ndarray], objects: Sequence[np.ndarray], mode: str, peers: bool) -> None:
    """Prints times and overlaps of all engines on the same images."""
    engines: dict[str, Engine] = {
        "ours": lambda image: SelectiveSearch(mode)(image).boxes_yxyx,
        "OpenCV": lambda image: OpenCVSelectiveSearch(mode)(image).boxes_yxyx,
    }
    if peers:
        engines |= {package: peer(package) for package in ("selectivesearch", "selective_search")}
    engines["ours"](images[0])  # compiles
    seconds: dict[str, list[float]] = {engine: [] for engine in engines}
    boxes: dict[str, list[np.ndarray]] = {engine: [] for engine in engines}
    for number, image in enumerate(images):
        order = list(engines) if number % 2 else list(reversed(engines))
        for engine in order:
            began = time.process_time()
            found = engines[engine](image)
            seconds[engine].append(time.process_time() - began)
            boxes[engine].append(found)
        print(f"\r{name}: {number + 1} of {len(images)} images", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    ours = np.array(seconds["ours"])
    rows = []
    for engine, times in seconds.items():
        ratios = np.array(times) / ours
        rows.append(
            {
                "engine": engine,
                "ms an image, mean": 1e3 * float(np.mean(times)),
                "median": 1e3 * float(np.median(times)),
                "ratio of means to ours": float(np.sum(times) / np.sum(ours)),
                "median of ratios": float(np.median(ratios)),
                "boxes": float(np.mean([len(found) for found in boxes[engine]])),
            }
        )
    print(f"{name}, {len(images)} images, mode {mode}\n\n{tables.markdown(rows)}\n")
    for engine in engines:
        if engine != "ours":
            print(f"ours against {engine}\n\n{tables.markdown(differences(boxes['ours'], boxes[engine], objects))}\n")


def differences(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], objects: Sequence[np.ndarray]
) -> list[dict[str, object]]:
    """Overlap measures of two engines, and 95 % paired bootstrap intervals (over images) of their differences."""
    labels = [np.zeros(len(of), int) for of in objects]
    best = [coverage(boxes, objects, labels, COUNTS).best for boxes in (ours, theirs)]
    image = np.repeat(np.arange(len(objects)), [len(of) for of in objects])
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(objects), (RESAMPLES, len(objects)))
    weights = np.stack([np.bincount(draw, minlength=len(objects)) for draw in draws])[:, image].astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = []
    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "recall@.5": lambda overlap: overlap >= 0.5,
        "recall@.7": lambda overlap: overlap >= 0.7,
        "ABO": lambda overlap: overlap,
    }
    for column, count in enumerate(COUNTS):
        for name, measure in measures.items():
            one, other = (measure(of[:, column]).astype(np.float64) for of in best)
            low, high = np.quantile(weights @ (one - other), [0.025, 0.975])
            rows.append(
                {
                    "proposals": count,
                    "measure": name,
                    "ours": float(one.mean()),
                    "theirs": float(other.mean()),
                    "difference": float((one - other).mean()),
                    "95 % from": float(low),
                    "to": float(high),
                }
            )
    return rows


def peer(package: str) -> Engine:
    """A package of PyPI, with its default settings."""
    module = importlib.import_module(package)
    if package == "selectivesearch":

        def search(image: np.ndarray) -> np.ndarray:
            _, regions = module.selective_search(image, scale=500, sigma=0.9, min_size=10)
            left, top, width, height = np.array([region["rect"] for region in regions], np.float32).T
            return np.stack([top, left, top + height, left + width], axis=1)

        return search

    structure, joblib = importlib.import_module(f"{package}.structure"), importlib.import_module("joblib")
    find_objects = structure.find_objects
    structure.find_objects = lambda mask: find_objects(mask.astype(int))  # it fails under NumPy 2 otherwise

    def boxes(image: np.ndarray) -> np.ndarray:
        with joblib.parallel_config(backend="threading"):  # its processes would not know the line above
            left, top, right, bottom = np.array(module.selective_search(image, mode="fast"), np.float32).T
        return np.stack([top, left, bottom, right], axis=1)

    return boxes


def throughput(images: Sequence[np.ndarray], mode: str, threads: Sequence[int]) -> list[dict[str, object]]:
    """Images/s of both engines on some numbers of threads, in turn, three times."""
    engines = {"ours": SelectiveSearch(mode), "OpenCV": OpenCVSelectiveSearch(mode)}
    engines["ours"](images[0])
    speeds: dict[tuple[str, int], list[float]] = {}
    for _ in range(3):
        for name, engine in engines.items():
            for count in threads:
                cv2.setNumThreads(count)
                with Threads(count) as executor:
                    began = time.perf_counter()
                    for index, image in enumerate(images):
                        executor.submit(index, engine, image)
                    done = 0
                    while done < len(images):
                        done += len(executor.wait(1.0))
                    speeds.setdefault((name, count), []).append(len(images) / (time.perf_counter() - began))
    cv2.setNumThreads(1)
    return [
        {
            "engine": name,
            "threads": count,
            "images/s": float(np.median(of)),
            f"ratio to {threads[0]} thread": float(np.median(np.array(of) / speeds[name, threads[0]])),
        }
        for (name, count), of in speeds.items()
    ]


def against_size(path: Path, dataset: str, mode: str) -> None:
    """Draws the time of one image against its size."""
    (image,), _ = pictures(dataset, "all", 1)
    engine = SelectiveSearch(mode)
    engine(image)
    rows = []
    for megapixels in MEGAPIXELS:
        factor = np.sqrt(1e6 * megapixels / image.shape[0] / image.shape[1])
        scaled = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        # At full size too, since the working size hides what an image of this size would cost.
        whole = SelectiveSearch(Mode(MODES[mode].strategies, max(scaled.shape[:2])))
        times = {}
        for name, proposer in (("working size", engine), ("full size", whole)):
            seconds = []
            for _ in range(3):
                began = time.perf_counter()
                proposer(scaled)
                seconds.append(time.perf_counter() - began)
            times[name] = min(seconds)
        rows.append({"megapixels": megapixels, **{f"ms, {name}": 1e3 * of for name, of in times.items()}})
    print(tables.markdown(rows))
    drawn = figure.new(6.0, 4.2)
    axes = drawn.add_subplot()
    for name, marker in (("full size", "o"), ("working size", "s")):
        axes.plot(
            [row["megapixels"] for row in rows], [row[f"ms, {name}"] for row in rows], marker=marker, label=f"at {name}"
        )
    megapixels = np.array(MEGAPIXELS)
    axes.plot(megapixels, megapixels * rows[4]["ms, full size"], color=BLUE, linestyle=":", label="linear")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size of the image (megapixels)")
    quantity(axes.yaxis, "time of one image", "ms")
    axes.legend(frameon=False)
    style(axes, grid="both")
    figure.save(drawn, path)


def memory(mode: str) -> float:
    """Most memory in MB that the first image of 640x480 takes in a fresh process, beyond what the imports took."""
    script = (
        "import numpy as np, cv2\n"
        "from tfeff.proposals import selective_search\n"
        "rng = np.random.default_rng(0)\n"
        "image = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), (640, 480))\n"
        f"selective_search(image[:9, :9], {mode!r})\n"
        "status = lambda key: int(next(l for l in open('/proc/self/status') if l.startswith(key)).split()[1])\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "before = status('VmRSS')\n"
        f"selective_search(image, {mode!r})\n"
        "print((status('VmHWM') - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    return float(done.stdout)
