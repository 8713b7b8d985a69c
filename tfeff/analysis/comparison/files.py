"""The files that comparisons of any kind of run write, and the figures that they share."""

import shlex
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff.analysis.comparison.cost import Cost
from tfeff.analysis.comparison.run import ComparedRun
from tfeff.data.images import header
from tfeff.reporting import figure
from tfeff.reporting.comparison import accuracy_cost_figure
from tfeff.reporting.tables import upper
from tfeff.reporting.training_curves import runs_figure
from tfeff.training.tensorboard import Board

CaptionedFigure = tuple[Figure, str]
"""A figure and its caption."""
FORMATS = {"saved_model": "SavedModel", "litert": "LiteRT", "onnx": "ONNX", "openvino": "OpenVINO"}
"""Formats of exported models, and their names in texts."""


def cost_figures(
    points: Sequence[Mapping[str, Any]], costs: Sequence[Cost], *, metric: str, interval: str
) -> Iterator[tuple[str, CaptionedFigure]]:
    """Draws a metric of each model against its multiply-adds, and latency and size of its exports, as far as known.

    Captions name the models that a figure lacks.

    Args:
        points: models with `name`, `accuracy`, and `low` and `high`, the limits of its interval.
        metric: name of the metric.
        interval: what the intervals are.
    """

    def drawn(values: Sequence[float | None], label: str, caption: str) -> CaptionedFigure:
        rows = [{**point, "cost": value} for point, value in zip(points, values, strict=True) if value is not None]
        front = "Models on the Pareto front are filled: no other model is at least as good at a lower cost."
        shown = f"{metric.capitalize() if metric.islower() else metric} with {interval} against {caption}. {front}"
        missing = [str(point["name"]) for point, value in zip(points, values, strict=True) if value is None]
        if missing:
            shown += f" Not shown, as this cost is not known: {', '.join(missing)}."
        return accuracy_cost_figure(rows, cost=label, metric=metric), shown

    macs = [cost.macs for cost in costs]
    if any(each is not None for each in macs):
        yield "accuracy_macs", drawn(macs, "multiply-adds for one image", "multiply-adds")
    for format in timed_formats(costs):
        timed, name = [cost.latencies.get(format) for cost in costs], FORMATS[format]
        seconds = [None if each is None else 1e3 * each.seconds for each in timed]
        sizes = [None if each is None else each.size / 1e6 for each in timed]
        yield (
            f"accuracy_latency_{format}",
            drawn(seconds, f"latency of one image, {name} (ms)", f"the latency of the exported {name} on this machine"),
        )
        yield f"accuracy_size_{format}", drawn(sizes, f"size, {name} (MB)", f"the size of the exported {name}")


def training_curves(runs: Sequence[ComparedRun], metrics: Mapping[str, str]) -> dict[str, CaptionedFigure]:
    """Draws metrics of the runs against the epoch: figures `curve_<metric>`, without those that no run recorded.

    Args:
        metrics: key of a metric, as in metrics.jsonl -> its label.
    """
    rows = {run.name: run.workdir.rows() for run in runs}
    figures = {key: runs_figure(rows, key, label) for key, label in metrics.items()}
    own = ", of each run on its own validation images"
    return {
        f"curve_{key}": (drawn, f"{upper(metrics[key])} in each epoch{own if key.startswith('validation') else ''}.")
        for key, drawn in figures.items()
        if drawn is not None
    }


def _millions(macs: int) -> str:
    """Returns multiply-adds in millions, without an exponent."""
    return f"{macs / 1e6:.4g}" if macs < 1e9 else f"{macs / 1e6:,.0f}"


def cost_columns(cost: Cost, formats: Sequence[str]) -> dict[str, str | None]:
    """Returns the cost of a model, with latency and size in each format, for a table for people; None: unknown."""
    columns: dict[str, str | None] = {
        "parameters (M)": f"{cost.params / 1e6:.3g}",
        "multiply-adds (M)": None if cost.macs is None else _millions(cost.macs),
        "weights (MB)": f"{cost.weights_bytes / 1e6:.2f}",
    }
    for format in formats:
        each, name = cost.latencies.get(format), FORMATS[format]
        times = each and (1e3 * value for value in (each.seconds, each.low, each.high))
        columns[f"{name} (ms), quartiles"] = "{:.1f} ({:.1f} to {:.1f})".format(*times) if times else None
        columns[f"{name} (MB)"] = f"{each.size / 1e6:.2f}" if each else None
    return columns


def timed_formats(costs: Sequence[Cost]) -> list[str]:
    """Returns the formats in which any model was timed."""
    return list(dict.fromkeys(format for cost in costs for format in cost.latencies))


def save_figures(
    figures: Mapping[str, CaptionedFigure], directory: Path, *, raster: Container[str]
) -> tuple[dict[str, tuple[Path, str]], dict[str, np.ndarray]]:
    """Saves figures as PNG and SVG.

    Args:
        raster: names of figures whose PNG is smaller than their SVG.

    Returns:
        For each figure the file for a page, with its caption; and its pixels, uint8 [height, width, 3].
    """
    saved, images = {}, {}
    for name, (each, caption) in figures.items():
        png, svg = figure.save(each, directory / name)
        saved[name] = (png if name in raster else svg), caption
        images[name] = np.asarray(header.opened(directory / f"{name}.png").convert("RGB"))
    return saved, images


def figure_files(figures: Iterable[str], directory: Path) -> list[Path]:
    """Returns the files of figures that `save_figures` has saved."""
    return [directory / f"{name}.{suffix}" for name in figures for suffix in figure.FORMATS]


def write_board(
    directory: Path, scalars: Mapping[str, float], images: Mapping[str, np.ndarray], texts: Mapping[str, str]
) -> None:
    """Writes the results of a comparison for TensorBoard, in place of those of an earlier call."""
    for old in directory.glob("events.out.tfevents.*"):
        old.unlink()
    board = Board(directory)
    board.scalars(0, scalars)
    board.images(images)
    board.texts(texts)
    board.close()


def command(workdirs: Sequence[str | Path], out: str | Path, split: str | None, formats: Sequence[str]) -> str:
    """Returns the command line of a comparison, in lines."""
    flags = [f"--workdir={workdir}" for workdir in workdirs] + [f"--out={out}"]
    flags += [f"--split={split}"] if split else []
    flags += [f"--formats={','.join(formats)}"] if tuple(formats) != ("saved_model",) else []
    return " \\\n    ".join(["python -m tfeff.analyze", *map(shlex.quote, flags)])
