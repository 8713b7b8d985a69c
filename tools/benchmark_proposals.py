"""Comparison of proposers: `python tools/benchmark.py proposals --dataset=voc:DIR [--dataset=yolo:DIR2 ...]`.

One process runs all engines on each image in turn. Times are CPU times of a call on a decoded image; overlaps are
measured on the boxes of the same calls. Intervals are 95 % bootstrap intervals over images.

In mode `fast`, OpenCV runs three times: on the image as it is, on the image at our working size, and there with
parameters that are scaled like ours (OpenCV's smoothing, thresholds and minimum region size are in pixels).
"""

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.errors import UserError
from tfeff.evaluation.proposals import coverage
from tfeff.execution.executor import Threads
from tfeff.proposals import MODES, OpenCVSelectiveSearch, ProposedBoxes, SelectiveSearch, baselines
from tfeff.proposals.selective import shrink
from tfeff.reporting import figure, tables
from tfeff.reporting.figure import BLUE, quantity, style

COUNTS = (500, 1000, 2000)
RESAMPLES = 2000
MEGAPIXELS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
MEMORY_SIZES = ((480, 640), (8192, 8192))
"""(height, width) of the images whose memory is measured."""
Engine = Callable[[np.ndarray], np.ndarray]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Defines the flags."""
    parser.add_argument("--dataset", action="append", default=[], help="voc:DIR or yolo:DIR; may be repeated.")
    parser.add_argument("--mode", choices=list(MODES), default="fast", help="Mode of both engines.")
    parser.add_argument(
        "--part",
        choices=["even", "odd", "all"],
        default="odd",
        help="Images by index; tools/tune_proposals.py uses the even ones.",
    )
    parser.add_argument("--limit", type=int, help="Maximum number of images of each dataset.")
    parser.add_argument("--peers", action="store_true", help="Also run selectivesearch and selective-search from PyPI.")
    parser.add_argument(
        "--threads", type=thread_counts, help="Measure images/s instead, with these numbers of threads, such as 1,2."
    )
    parser.add_argument("--sizes", type=Path, help="Plot time against image size, in this file, instead.")
    parser.add_argument("--memory", action="store_true", help="Measure the peak memory for one image instead.")


def run(arguments: argparse.Namespace) -> None:
    """Compares selective search to OpenCV and other packages: CPU time, recall and ABO."""
    cv2.setNumThreads(1)
    if arguments.memory:
        print(tables.markdown([memory(mode, *size) for size in MEMORY_SIZES for mode in ("single", "fast", "quality")]))
        return
    if not arguments.dataset:
        raise UserError("--dataset=voc:DIR (or another dataset with boxes) is required, except with --memory")
    if arguments.sizes:
        against_size(arguments.sizes, arguments.dataset[0], arguments.mode)
        return
    for name in arguments.dataset:
        images, objects = load_images(name, arguments.part, arguments.limit)
        if arguments.threads:
            print(tables.markdown(throughput(images, arguments.mode, arguments.threads)))
        else:
            compare(name, images, objects, arguments.mode, arguments.peers)


def thread_counts(text: str) -> list[int]:
    """Parses positive numbers, separated by commas."""
    counts = [int(number) for number in text.split(",")]
    if min(counts) < 1:
        raise ValueError(text)
    return counts


def load_images(name: str, part: str, limit: int | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns decoded images of a dataset and the boxes of their objects."""
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
    if mode == "fast":
        side = MODES[mode].side
        engines[f"OpenCV at {side} pixels"] = at_side(side, lambda small, _: OpenCVSelectiveSearch(mode)(small))
        engines[f"OpenCV at {side} pixels, scaled parameters"] = at_side(side, scaled_opencv)
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
    weights = resample_weights(objects)
    rows = []
    for engine, times in seconds.items():
        found = overlaps(boxes[engine], objects)[:, -1] >= 0.5
        low, high = np.quantile(weights @ found, [0.025, 0.975])
        rows.append(
            {
                "engine": engine,
                "ms per image, mean": 1e3 * float(np.mean(times)),
                "median": 1e3 * float(np.median(times)),
                "ratio of means to ours": float(np.sum(times) / np.sum(ours)),
                "median of ratios": float(np.median(np.array(times) / ours)),
                "quartiles": " to ".join(f"{value:.1f}" for value in np.quantile(np.array(times) / ours, [0.25, 0.75])),
                "boxes": float(np.mean([len(found) for found in boxes[engine]])),
                f"recall@.5 of {COUNTS[-1]:,}": f"{found.mean():.3f} ({low:.3f} to {high:.3f})",
            }
        )
    print(f"{name}, {len(images)} images, mode {mode}\n\n{tables.markdown(rows)}\n")
    for engine in engines:
        if engine != "ours":
            table = tables.markdown(differences(boxes["ours"], boxes[engine], objects))
            print(f"ours compared with {engine}\n\n{table}\n")


def overlaps(boxes: Sequence[np.ndarray], objects: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the best overlap of each object with the first COUNTS boxes of its image, float [objects, COUNTS]."""
    return coverage(boxes, objects, [np.zeros(len(each), int) for each in objects], COUNTS).best


def resample_weights(objects: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the weight of each object in bootstrap resamples of the images, float64 [RESAMPLES, objects].

    Rows sum to 1.
    """
    image = np.repeat(np.arange(len(objects)), [len(boxes) for boxes in objects])
    draws = np.random.default_rng(0).integers(0, len(objects), (RESAMPLES, len(objects)))
    weights = np.stack([np.bincount(draw, minlength=len(objects)) for draw in draws])[:, image].astype(np.float64)
    return weights / weights.sum(axis=1, keepdims=True)


def differences(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], objects: Sequence[np.ndarray]
) -> list[dict[str, object]]:
    """Returns overlap measures of two engines, with paired bootstrap intervals of their differences.

    The intervals are 95 % intervals over images.
    """
    best = [overlaps(boxes, objects) for boxes in (ours, theirs)]
    weights = resample_weights(objects)
    rows = []
    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "recall@.5": lambda overlap: overlap >= 0.5,
        "recall@.7": lambda overlap: overlap >= 0.7,
        "ABO": lambda overlap: overlap,
    }
    for column, count in enumerate(COUNTS):
        for name, measure in measures.items():
            one, other = (measure(each[:, column]).astype(np.float64) for each in best)
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


def at_side(side: int, propose: Callable[[np.ndarray, float], ProposedBoxes]) -> Engine:
    """Returns an engine that sees the image at a working size, as ours does.

    Args:
        side: its longest side in pixels.
        propose: the proposals of the small image; its second argument is the scale factor of the parameters.
    """

    def search(image: np.ndarray) -> np.ndarray:
        small, factor = shrink(image, side)
        found = propose(small, factor)
        return ProposedBoxes(found.cells, found.grid, image.shape[:2]).boxes_yxyx

    return search


def scaled_opencv(image: np.ndarray, factor: float) -> ProposedBoxes:
    """Scales the parameters of OpenCV's mode `fast` to a smaller image: sigma 0.8, k 150, 300 and 450, 100 pixels."""
    segmentation = cv2.ximgproc.segmentation
    bgr = np.ascontiguousarray(image[..., ::-1])
    search = segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(bgr)
    for space in (cv2.COLOR_BGR2HSV, cv2.COLOR_BGR2Lab):
        search.addImage(cv2.cvtColor(bgr, space))
    for threshold in (150, 300, 450):
        search.addGraphSegmentation(
            segmentation.createGraphSegmentation(0.8 * factor, threshold * factor, max(1, round(100 * factor**2)))
        )
    for terms in (("Color", "Fill", "Texture", "Size"), ("Fill", "Texture", "Size")):
        parts = [getattr(segmentation, f"createSelectiveSearchSegmentationStrategy{term}")() for term in terms]
        search.addStrategy(segmentation.createSelectiveSearchSegmentationStrategyMultiple(*parts))
    return baselines.opencv_proposals(search, image.shape[:2], max_proposals=COUNTS[-1])


def peer(package: str) -> Engine:
    """Returns the engine of a package from PyPI, with its default settings."""
    module = importlib.import_module(package)
    if package == "selectivesearch":

        def search(image: np.ndarray) -> np.ndarray:
            _, regions = module.selective_search(image, scale=500, sigma=0.9, min_size=10)
            left, top, width, height = np.array([region["rect"] for region in regions], np.float32).T
            return np.stack([top, left, top + height, left + width], axis=1)

        return search

    structure, joblib = importlib.import_module(f"{package}.structure"), importlib.import_module("joblib")
    find_objects = structure.find_objects
    structure.find_objects = lambda mask: find_objects(mask.astype(int))  # required by NumPy 2

    def boxes(image: np.ndarray) -> np.ndarray:
        with joblib.parallel_config(backend="threading"):  # other processes would not see the patch above
            left, top, right, bottom = np.array(module.selective_search(image, mode="fast"), np.float32).T
        return np.stack([top, left, bottom, right], axis=1)

    return boxes


def throughput(images: Sequence[np.ndarray], mode: str, threads: Sequence[int]) -> list[dict[str, object]]:
    """Measures images/s of both engines for each number of threads; median of three interleaved rounds."""
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
    rows: list[dict[str, object]] = []
    for (name, count), rounds in speeds.items():
        ratios = np.array(rounds) / speeds[name, threads[0]]
        rows.append(
            {
                "engine": name,
                "threads": count,
                "images/s": float(np.median(rounds)),
                f"ratio to {threads[0]} thread": float(np.median(ratios)),
                "range": f"{ratios.min():.2f} to {ratios.max():.2f}",
            }
        )
    return rows


def against_size(path: Path, dataset: str, mode: str) -> None:
    """Plots the CPU time per image against the image size."""
    (image,), _ = load_images(dataset, "all", 1)
    engine = SelectiveSearch(mode)
    engine(image)
    rows = []
    for megapixels in MEGAPIXELS:
        factor = np.sqrt(1e6 * megapixels / image.shape[0] / image.shape[1])
        scaled = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        # Also without a working size, which bounds the cost of large images.
        whole = SelectiveSearch(replace(MODES[mode], side=max(scaled.shape[:2])))
        times = {}
        for name, proposer in (("working size", engine), ("full size", whole)):
            rounds = []
            for _ in range(5):
                began = time.process_time()
                proposer(scaled)
                rounds.append(time.process_time() - began)
            times[name] = statistics.median(rounds)
        rows.append({"megapixels": megapixels, **{f"ms, {name}": 1e3 * seconds for name, seconds in times.items()}})
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
    axes.set_xlabel("image size (megapixels)")
    quantity(axes.yaxis, "CPU time per image, median of five", "ms")
    axes.legend(frameon=False)
    style(axes, grid="both")
    figure.save(drawn, path)


def memory(mode: str, height: int, width: int) -> dict[str, object]:
    """Measures a first image in a new process: peak memory on top of imports and image, and seconds."""
    script = (
        "import time, numpy as np, cv2\n"
        "from tfeff.proposals import selective_search\n"
        "rng = np.random.default_rng(0)\n"
        f"image = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), ({width}, {height}))\n"
        f"selective_search(image[:9, :9], {mode!r})\n"
        "status = lambda key: int(next(l for l in open('/proc/self/status') if l.startswith(key)).split()[1])\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "before, began = status('VmRSS'), time.perf_counter()\n"
        f"selective_search(image, {mode!r})\n"
        "print(time.perf_counter() - began, (status('VmHWM') - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    seconds, megabytes = map(float, done.stdout.split())
    return {"image": f"{width}x{height}", "mode": mode, "MB": megabytes, "s": seconds}
