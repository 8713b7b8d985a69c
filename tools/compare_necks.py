"""Compares necks, and the ways in which their nodes fuse maps, under equal settings.

    python tools/compare_necks.py --config=bccd_necks --workdir=DIR --out=runs/necks [key=value ...]

Trains one detector for each neck with fast fusion, and one BiFPN for each other fusion. Writes OUT.json, the rows
of a table: parameters, multiply-adds, mAP@.5 on the validation images with its interval over images, and the times of a
training step and of a prediction, timed side by side; and OUT.png, the factors of normalized fusion during training.
Rerun the same command to resume.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import command_line
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff import config, selection, tasks, training
from tfeff.durable import write
from tfeff.models.layers.neck import WeightedFusion
from tfeff.networks.necks.tables import TABLES, nodes
from tfeff.reporting import figure, tables
from tfeff.reporting.figure import BLUE, GREEN, ORANGE, SKY_BLUE, VERMILION, new, style
from tfeff.training import checkpoint, optimizers
from tfeff.training.assembly import AssemblyCache
from tfeff.training.latency import latencies
from tfeff.training.step import Step

COLORS = (BLUE, VERMILION, GREEN, ORANGE, SKY_BLUE)
LINES = ("-", "--", ":")
COLUMNS = 4


def fusion_figure(
    nodes: Mapping[str, Sequence[str]],
    epochs: Sequence[int],
    factors: Mapping[str, Mapping[str, npt.NDArray]],
    *,
    title: str = "Fusion",
) -> Figure:
    """Draws a panel for each node, with a line for each of its inputs and each method.

    Args:
        nodes: name of each node -> names of its n inputs, at most five.
        epochs: e epochs.
        factors: method, at most three -> name of the node -> [e, n]; each row sums to 1 if the method normalizes.
        title: title of the figure.
    """
    rows = math.ceil(len(nodes) / COLUMNS)
    figure = new(2.6 * COLUMNS, 2.3 * rows + 0.6)
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in panels[len(nodes) :]:
        panel.set_visible(False)
    for panel, (node, inputs) in zip(panels, nodes.items(), strict=False):
        for method, line in zip(factors, LINES, strict=False):
            for index, color in zip(range(len(inputs)), COLORS, strict=False):
                panel.plot(epochs, factors[method][node][:, index], line, color=color, linewidth=1.2)
        for index, (name, color) in enumerate(zip(inputs, COLORS, strict=False)):
            panel.annotate(name, (0.04 + 0.32 * index, 0.9), xycoords="axes fraction", color=color, fontsize=8)
        panel.set_title(node, fontsize=9)
        style(panel)
        panel.set_ylim(0, 1)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("factor of the input", fontsize=9)
    lines = ", ".join(f"{method}: {name}" for method, name in zip(factors, ("solid", "dashed", "dotted"), strict=False))
    figure.suptitle(f"{title} ({lines})", fontsize=10)
    return figure


NECK = "bifpn"
VARIANTS = [*((neck, "fast") for neck in TABLES), *((NECK, fusion) for fusion in ("sum", "unbounded", "softmax"))]
NORMALIZED = ("fast", "softmax")
RECORDS = 20
"""How often the fusion's factors are recorded during training."""
STEPS = 5
"""Timed training steps of each variant."""


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="Config of the training runs; its neck is replaced.")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="Path of the results, without suffix.")
    parser.add_argument("override", nargs="*", help="key=value, as --config.key=value of tfeff.train.")
    arguments = parser.parse_args()

    base = config.override(config.load(arguments.config, config.Experiment), arguments.override)
    reporter = training.Reporter()
    source = selection.open_source(selection.request(base))
    caches = selection.read(selection.request(base), reporter.reading, source=source)
    rows, factors, networks = [], dict[str, dict[str, np.ndarray]](), []
    for neck, fusion in VARIANTS:
        experiment = config.replaced(base, {"task.network.neck": neck, "task.network.fusion": fusion})
        directory = arguments.workdir / f"{neck}_{fusion}"
        history = train(experiment, directory, caches, reporter)
        workdir = training.Workdir(directory)
        network = training.trained_model(workdir)
        networks.append((experiment, network))
        if not (directory / "result.json").is_file():
            training.finish_run(workdir, reporter, network, lambda: source)
        result = json.loads((directory / "result.json").read_text())
        low, high = result["mean_ap_interval"]
        rows.append(
            {
                "neck": neck,
                "fusion": fusion,
                "parameters": result["params"],
                "multiply-adds": result["macs"],
                "mAP@.5": result["mean_ap"],
                "95 % from": low,
                "to": high,
                "COCO AP": result["coco_ap"],
            }
        )
        if neck == NECK and fusion in NORMALIZED:
            factors[fusion] = history
    for row, seconds in zip(rows, step_seconds(networks), strict=True):
        row["training step, ms"] = 1e3 * seconds
    for row, seconds in zip(rows, np.median(latencies(*(network for _, network in networks)), axis=0), strict=True):
        row["prediction, ms"] = 1e3 * seconds
    write(arguments.out.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")
    levels = base.task.network.levels
    cell = nodes(NECK, int(levels[0][1:]), int(levels[-1][1:]))
    figure.save_png(
        fusion_figure({node.name: node.inputs for node in cell}, recorded(base), factors, title="Factors of BiFPN"),
        arguments.out.with_suffix(".png"),
    )
    print(tables.text(rows))


def recorded(experiment: config.Experiment) -> list[int]:
    """Returns the epochs after which factors are recorded."""
    epochs = experiment.training.epochs
    return sorted({max(1, round(epochs * part / RECORDS)) for part in range(1, RECORDS + 1)})


def train(
    experiment: config.Experiment, directory: Path, caches: selection.SplitCaches, reporter: training.Reporter
) -> dict[str, np.ndarray]:
    """Trains a detector. Returns the factors [epochs, inputs] of each node of its first cell at the recorded epochs."""
    path, assemblies = directory / "factors.json", AssemblyCache()
    history = json.loads(path.read_text()) if path.is_file() else {}
    for epoch in recorded(experiment):
        workdir = training.train(
            experiment, directory, until_epoch=epoch, caches=caches, assemblies=assemblies, reporter=reporter
        )
        if str(epoch) not in history:
            history[str(epoch)] = fusion_factors(experiment, workdir)
            write(path, json.dumps(history) + "\n")
    last = history[str(experiment.training.epochs)]
    return {node: np.array([history[str(epoch)][node] for epoch in recorded(experiment)]) for node in last}


def fusion_factors(experiment: config.Experiment, workdir: training.Workdir) -> dict[str, list[float]]:
    """Returns the factors of the nodes of the first cell, from the newest checkpoint."""
    arrays, _ = checkpoint.load(workdir.checkpoints.latest())
    found = {}
    for key, weights in arrays.items():
        name = next((part for part in key.split("/") if part.endswith("_fusion")), "")
        if key.endswith("/weights") and "neck_cell1_" in name and "optimizer" not in key:
            layer = WeightedFusion(experiment.task.network.fusion)
            layer.build([(None, None, None, 1)] * len(weights))
            layer.fusion_weights.assign(weights)
            level, kind = name.removeprefix("neck_cell1_").removesuffix("_fusion").split("_")
            found[f"{level.upper()}_{kind}"] = np.asarray(layer.factors()).tolist()
    return found


def step_seconds(networks: list[tuple[config.Experiment, keras.Model]]) -> list[float]:
    """Returns the median time of a training step of each network; they take turns."""
    steps = []
    for experiment, network in networks:
        task, batch_size = tasks.create(experiment.task), experiment.training.batch_size
        step = Step(
            network, optimizers.build("sgd", network), tf.distribute.get_strategy(), task=task, batch_size=batch_size
        )
        batch = {"image": tf.zeros((batch_size, *network.size, 3)), **task.dummy_targets(batch_size, 3)}
        steps.append((step, batch))
    seconds = np.zeros((STEPS + 1, len(steps)))
    for done in range(len(seconds)):
        for index, (step, batch) in enumerate(steps):
            start = time.perf_counter()
            step.train(batch, step=0, learning_rate=0.0).numpy()
            seconds[done, index] = time.perf_counter() - start
    return np.median(seconds[1:], axis=0).tolist()


if __name__ == "__main__":
    command_line.run(main)
