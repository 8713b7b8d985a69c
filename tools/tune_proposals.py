"""Tuning of selective search: `python tools/tune_proposals.py --dataset=voc:DIR --dataset=yolo:DIR2 --out=FILE.json`.

The tuning images are the even-numbered images of each dataset, without its test split if it has one of its own. The
grid varies one setting of a mode at a time; a few combinations follow. All settings run on each image in turn.

The score of a setting is its average best overlap (ABO), averaged over the datasets and over 500, 1,000 and 2,000
proposals. A setting replaces the current one only if two conditions hold. Its score is higher by more than two standard
errors of the paired difference over images. It takes no more CPU time (median ratio over images of at most 1.02). One
standard error would be too few: with about 45 settings, several exceed it by chance.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import command_line
import cv2
import numpy as np

from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.evaluation.proposals import coverage
from tfeff.proposals import MODES, Mode, SelectiveSearch, grouping, selective
from tfeff.proposals.strategies import ALL, FILL, WITHOUT_COLOR, grid
from tfeff.reporting import tables

COUNTS = (500, 1000, 2000)
STANDARD_ERRORS = 2.0
MAX_TIME_RATIO = 1.02
CURRENT = "current"

CONSTANTS = {
    "sigma": (selective, "SIGMA"),
    "neighbors of a pixel": (selective, "NEIGHBORS"),
    "near-duplicate distance": (selective, "DUPLICATE_CELL"),
    "texture scale": (selective, "TEXTURE_SCALE"),
    "histogram stride": (selective, "STRIDE"),
    "ranking constant": (grouping, "RANK_CONSTANT"),
}
"""Settings that all modes share, and the module constants that hold them."""

SHARED_GRID: dict[str, tuple[float, ...]] = {
    "sigma": (0.5, 0.65, 0.8, 1.0, 1.2),
    "neighbors of a pixel": (4, 8),
    "near-duplicate distance": (1 / 256, 1 / 128, 1 / 96, 1 / 64, 1 / 48, 1 / 32),
    "texture scale": (5 / 64, 10 / 64, 20 / 64),
    "histogram stride": (1, 2, 3),
    "ranking constant": (10, 25, 50, 100, 200),
}
SIZE_FILL = ("size", "fill")
MODE_GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "fast": {
        "color spaces": (
            *(("hsv",), ("lab",), ("hsv", "lab"), ("hsv", "rgi"), ("lab", "rgi"), ("hsv", "gray")),
            ("hsv", "lab", "rgi"),
        ),
        "thresholds": (
            *((100,), (100, 400), (100, 600), (100, 800), (70, 600), (140, 600)),
            *((50, 150, 400), (100, 250, 600), (140, 350, 840)),
        ),
        "similarities": (
            *((ALL,), (WITHOUT_COLOR,), (ALL, WITHOUT_COLOR), (ALL, FILL), (WITHOUT_COLOR, FILL)),
            *((ALL, SIZE_FILL), (ALL, WITHOUT_COLOR, FILL)),
        ),
        "side": (224, 256, 288, 320, 360),
        "minimum region, pixels": (35, 50, 70, 100),
    },
    "quality": {
        "color spaces": (
            *(("hsv", "lab"), ("hsv", "lab", "rgi"), ("hsv", "lab", "gray"), ("hsv", "lab", "rgb")),
            ("hsv", "rgi", "gray"),
        ),
        "thresholds": (
            *((100, 600), (100, 250)),
            *((50, 150, 400), (70, 175, 420), (100, 250, 600), (140, 350, 840)),
        ),
        "similarities": (
            *((ALL, WITHOUT_COLOR), (ALL, FILL), (ALL, WITHOUT_COLOR, FILL), (ALL, WITHOUT_COLOR, SIZE_FILL)),
            (ALL, SIZE_FILL, FILL),
        ),
        "side": (320, 360, 400, 440),
        "minimum region, pixels": (50, 70, 100, 140),
    },
}
PREVIOUS = Mode(grid(("hsv", "lab"), (100, 250, 600), (ALL, WITHOUT_COLOR)), side=320, min_size=100)
"""Mode `fast` before its settings were varied together."""
COMBINATIONS: dict[str, dict[str, Mode]] = {
    "fast": {
        "as before": PREVIOUS,
        "side 256": replace(PREVIOUS, side=256),
        "side 256, minimum 50": replace(PREVIOUS, side=256, min_size=50),
        "side 256, minimum 50, fill alone": Mode(grid(("hsv", "lab"), (100, 250, 600), (ALL, FILL)), 256, 50),
        "side 256, minimum 70, fill alone": Mode(grid(("hsv", "lab"), (100, 250, 600), (ALL, FILL)), 256, 70),
        "side 288, minimum 70, fill alone": Mode(grid(("hsv", "lab"), (100, 250, 600), (ALL, FILL)), 288, 70),
        "side 256, minimum 70, size and fill": Mode(grid(("hsv", "lab"), (100, 250, 600), (ALL, SIZE_FILL)), 256, 70),
    }
}
"""Modes that differ from the current one in several settings."""


@dataclass(frozen=True)
class Setting:
    """One change to a mode; the current mode itself if `factor` is CURRENT."""

    factor: str
    value: str
    mode: Mode
    constants: dict[str, float] = field(default_factory=dict)

    def propose(self, image: np.ndarray) -> np.ndarray:
        """Returns boxes float32 [n, 4] of an image uint8 [height, width, 3], best first."""
        with ExitStack() as patches:
            for name, value in self.constants.items():
                patches.enter_context(mock.patch.object(*CONSTANTS[name], value))
            return SelectiveSearch(self.mode)(image).boxes_yxyx


@dataclass(frozen=True)
class Images:
    """The tuning images of one dataset: decoded, with the boxes of their objects."""

    name: str
    pixels: list[np.ndarray]
    objects: list[np.ndarray]
    excluded: int


def settings(mode: str) -> list[Setting]:
    """Returns the current mode, then all settings that differ from it in one factor, then combinations."""
    current = MODES[mode]
    spaces, thresholds, similarities = (
        tuple(dict.fromkeys(values))
        for values in zip(*((s.space, s.threshold, s.terms) for s in current.strategies), strict=True)
    )
    own: dict[str, Any] = {"color spaces": spaces, "thresholds": thresholds, "similarities": similarities}
    own |= {"side": current.side, "minimum region, pixels": current.min_size}
    found = [Setting(CURRENT, "", current)]
    for factor, values in MODE_GRIDS[mode].items():
        for value in values:
            if value == own[factor]:
                continue
            changed: dict[str, Any] = own | {factor: value}
            strategies = grid(changed["color spaces"], changed["thresholds"], changed["similarities"])
            varied = Mode(strategies, changed["side"], changed["minimum region, pixels"])
            found.append(Setting(factor, described(value), varied))
    for factor, numbers in SHARED_GRID.items():
        module, name = CONSTANTS[factor]
        others = [number for number in numbers if number != getattr(module, name)]
        found += [Setting(factor, described(number), current, {factor: number}) for number in others]
    return found + [Setting("combination", name, other) for name, other in COMBINATIONS.get(mode, {}).items()]


def described(value: Any) -> str:
    """Returns a setting's value as text."""
    if isinstance(value, tuple):
        return ", ".join("+".join(item) if isinstance(item, tuple) else str(item) for item in value)
    return f"1/{round(1 / value)}" if 0 < value < 0.05 else f"{value:g}"


def tuning_images(dataset: str, limit: int | None) -> Images:
    """Returns the even-numbered images of a dataset that are not in its test split."""
    opened = catalog.open_objects(dataset)
    source = opened.load("all")
    own_test = not opened.drawn and opened.find("test") is not None
    test = set(opened.load("test").ids) if own_test else set()
    even = range(0, len(source), 2)
    chosen = [index for index in even if source.ids[index] not in test]
    return Images(
        name=f"{dataset.partition(':')[0]}:{Path(dataset).name}",
        pixels=[decoding.decode(source.encoded(index), source.ids[index]) for index in chosen[:limit]],
        objects=[source.objects[index].boxes_yxyx for index in chosen[:limit]],
        excluded=len(even) - len(chosen),
    )


def measure(images: Images, candidates: Sequence[Setting]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns CPU seconds float [settings, images], and best overlaps float [objects, COUNTS] of each setting."""
    seconds = np.zeros((len(candidates), len(images.pixels)))
    boxes: list[list[np.ndarray]] = [[] for _ in candidates]
    for number, pixels in enumerate(images.pixels):
        for turn in range(len(candidates)):
            index = (turn + number) % len(candidates)
            began = time.process_time()
            found = candidates[index].propose(pixels)
            seconds[index, number] = time.process_time() - began
            boxes[index].append(found)
        print(f"\r{images.name}: {number + 1} of {len(images.pixels)} images", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    labels = [np.zeros(len(objects), int) for objects in images.objects]
    return seconds, [coverage(found, images.objects, labels, COUNTS).best for found in boxes]


def standard_error(difference: np.ndarray, image: np.ndarray) -> float:
    """Returns the standard error of a mean over objects, float [objects].

    The objects of an image, int [objects], are drawn as a whole.
    """
    residuals = np.bincount(image, weights=difference - difference.mean())
    images = len(residuals)
    return float(np.sqrt(images / (images - 1) * np.sum(residuals**2)) / len(difference))


def tune(mode: str, datasets: Sequence[Images]) -> list[dict[str, Any]]:
    """Returns one row for each setting of a mode."""
    candidates = settings(mode)
    candidates[0].propose(datasets[0].pixels[0])  # compiles
    measured = [measure(images, candidates) for images in datasets]
    seconds = np.concatenate([times for times, _ in measured], axis=1)
    rows = []
    for index, candidate in enumerate(candidates):
        row: dict[str, Any] = {"factor": candidate.factor, "value": candidate.value}
        differences, errors, scores = [], [], []
        for images, (_, best) in zip(datasets, measured, strict=True):
            overlap = best[index]
            image = np.repeat(np.arange(len(images.objects)), [len(objects) for objects in images.objects])
            difference = (overlap - best[0]).mean(axis=1)
            scores.append(float(overlap.mean()))
            differences.append(float(difference.mean()))
            errors.append(standard_error(difference, image))
            row[images.name] = {
                "recall@.5": np.mean(overlap >= 0.5, axis=0).round(4).tolist(),
                "recall@.7": np.mean(overlap >= 0.7, axis=0).round(4).tolist(),
                "ABO": overlap.mean(axis=0).round(4).tolist(),
            }
        row["score"] = round(float(np.mean(scores)), 5)
        row["difference"] = round(float(np.mean(differences)), 5)
        row["standard error"] = round(float(np.linalg.norm(errors)) / len(errors), 5)
        row["time ratio"] = round(float(np.median(seconds[index] / seconds[0])), 3)
        row["ms"] = round(1e3 * float(np.median(seconds[index])), 1)
        row["better"] = bool(
            row["difference"] > STANDARD_ERRORS * row["standard error"] and row["time ratio"] <= MAX_TIME_RATIO
        )
        rows.append(row)
    return rows


def main() -> None:
    """Runs the grid and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", action="append", required=True, help="voc:DIR or yolo:DIR; may be repeated.")
    parser.add_argument("--mode", action="append", choices=list(MODE_GRIDS), help="Mode to tune; default both.")
    parser.add_argument("--limit", type=int, help="Maximum number of images of each dataset.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write.")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    datasets = [tuning_images(dataset, arguments.limit) for dataset in arguments.dataset]
    result: dict[str, Any] = {
        "counts": list(COUNTS),
        "rule": f"difference > {STANDARD_ERRORS:g} standard errors and time ratio <= {MAX_TIME_RATIO}",
        "datasets": {
            images.name: {
                "images": len(images.pixels),
                "objects": sum(map(len, images.objects)),
                "even-numbered test images left out": images.excluded,
            }
            for images in datasets
        },
        "modes": {},
    }
    if arguments.out.is_file():  # rows of modes that are not tuned now are kept
        known = command_line.stored(arguments.out, "modes")
        if {**known, "modes": {}} != result:
            raise UserError(f"--out={arguments.out}: measured on other images; give another file")
        result = known
    shown = ("factor", "value", "score", "difference", "standard error", "time ratio", "better")
    for mode in arguments.mode or MODE_GRIDS:
        rows = tune(mode, datasets)
        result["modes"][mode] = rows
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write(arguments.out, to_json(result))
        print(f"{mode}\n\n{tables.markdown([{key: row[key] for key in shown} for row in rows])}\n", flush=True)


def to_json(result: dict[str, Any]) -> str:
    """Returns the result as JSON with one row per line."""
    modes = [
        f'  "{mode}": [\n' + ",\n".join(f"   {json.dumps(row)}" for row in rows) + "\n  ]"
        for mode, rows in result["modes"].items()
    ]
    head = json.dumps(result | {"modes": {}}, indent=1)
    return head.removesuffix("{}\n}") + "{\n" + ",\n".join(modes) + "\n }\n}\n"


if __name__ == "__main__":
    command_line.run(main)
