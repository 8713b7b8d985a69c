"""Draws the picture of the README: detections, and accuracy against cost of inherited networks.

    python tools/draw_overview.py --run=runs/bccd --images=IMAGE [--images=IMAGE ...] --out=docs/overview.png

Detections are those of a finished run of `configs/bccd_yolo.py` (photographs: BCCD, MIT license); accuracies are
those of docs/results/inheritance.jsonl.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import command_line
import numpy as np
from matplotlib.axes import Axes

import tfeff
from tfeff.reporting import figure
from tfeff.reporting.figure import BLUE, VERMILION
from tfeff.trials.intervals import summary

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "inheritance.jsonl"
DATA = "cifar10"


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="Workdir of a finished detector.")
    parser.add_argument("--images", action="append", required=True, help="Image whose detections are drawn.")
    parser.add_argument("--out", type=Path, required=True, help="PNG file.")
    arguments = parser.parse_args()
    run = tfeff.open(arguments.run)
    drawn = [found.draw() for name in arguments.images for found in run.predict(name)]
    records = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    drawing = figure.new(5.0 * len(drawn) + 4.0, 3.9)
    axes = drawing.subplots(1, 2, width_ratios=(5.0 * len(drawn), 4.0))
    show(axes[0], drawn)
    costs(axes[1], [each for each in records if each["data"] == DATA and not each["variant"] and "accuracy" in each])
    figure.save_png(drawing, arguments.out)


def show(axes: Axes, pictures: Sequence[np.ndarray]) -> None:
    """Draws pictures of equal height side by side."""
    axes.imshow(np.concatenate(pictures, axis=1))
    axes.set_axis_off()
    axes.set_title("YOLO on blood cells, trained on 248 photographs", fontsize=10)


def costs(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    """Draws accuracy against multiply-adds, with 95 % intervals over seeds."""
    networks = [each for each in records if each["network"] == "lite0" or each["network"].endswith("-compound")]
    for start, color, label in (("inherited", BLUE, "inherited weights"), ("random", VERMILION, "random weights")):
        points = sorted((each for each in networks if each["start"] == start), key=lambda each: each["macs"])
        means = [summary(each["accuracy"], bounded=True) for each in points]
        x = [each["macs"] / 1e6 for each in points]
        y = [100 * each.mean for each in means]
        bars = [[100 * (each.mean - each.low) for each in means], [100 * (each.high - each.mean) for each in means]]
        axes.errorbar(x, y, yerr=bars, color=color, marker="o", linewidth=1.6, capsize=3, label=label)
    figure.style(axes)
    axes.set_xscale("log")
    axes.set_xticks([10, 20, 40, 80], labels=["10", "20", "40", "80"])
    axes.set_xlim(9, 90)
    axes.minorticks_off()
    axes.set_xlabel("multiply-adds, millions")
    axes.set_ylabel("accuracy, %")
    axes.set_title("EfficientNet-Lite0 of any size, 2,000 images", fontsize=10)
    axes.legend(frameon=False)


if __name__ == "__main__":
    command_line.run(main)
