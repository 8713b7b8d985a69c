"""Training curves: loss, accuracy, learning rate and speed per epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfeff.reporting.figure import BLUE, ORANGE, new, style

# One panel per row: label and scale of its y-axis, and the keys of its metrics.
PANELS = (
    ("loss", "linear", ("train_loss", "validation_loss")),
    ("accuracy", "linear", ("train_accuracy", "validation_accuracy")),
    ("mean IoU", "linear", ("train_iou", "validation_iou")),
    ("mAP, IoU 0.5", "linear", ("validation_mean_ap",)),
    ("learning rate", "log", ("learning_rate",)),
    ("images/s", "linear", ("images_per_second",)),
)
COLORS = {"train": BLUE, "validation": ORANGE}


def training_figure(rows: Sequence[Mapping[str, Any]], *, title: str = "Training") -> Figure:
    """Plots loss, accuracy, IoU, learning rate and speed against the epoch, one panel each.

    Args:
        rows: metrics of each epoch: `epoch`, and any of `train_loss`, `validation_loss`, `train_accuracy`,
            `validation_accuracy`, `train_iou`, `validation_iou`, `validation_mean_ap`, `learning_rate`,
            `images_per_second`. Keys that are missing, None or NaN in some rows leave gaps, which the curve bridges.
            Panels without values are omitted.
        title: title of the figure.
    """
    panels = [
        (label, scale, curves)
        for label, scale, keys in PANELS
        if (curves := {key: points for key in keys if (points := _points(rows, key))})
    ]
    columns = min(2, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure = new(5.0 * columns, 3.2 * lines + 0.4)
    figure.suptitle(title)
    for index, (label, scale, curves) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, index + 1)
        for key, points in curves.items():
            epochs, values = zip(*points, strict=True)
            split = key.split("_")[0]
            # Short curves have markers: a single point would be invisible without one.
            marker = "o" if len(points) <= 20 else None
            axes.plot(epochs, values, color=COLORS.get(split, BLUE), label=split, marker=marker, markersize=3)
            if key in ("validation_accuracy", "validation_iou", "validation_mean_ap"):
                best = int(np.argmax(values))
                axes.axhline(values[best], color=ORANGE, linewidth=0.8, linestyle=":")
                axes.set_title(
                    f"best validation: {values[best]:.4f} at epoch {epochs[best]:g}", fontsize=9, loc="right"
                )
        if scale == "log" and all(value > 0 for points in curves.values() for _, value in points):
            axes.set_yscale("log")
        elif label in ("loss", "images/s"):
            top = max(value for points in curves.values() for _, value in points)
            axes.set_ylim(0, 1.05 * top or 1)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(curves) > 1:
            axes.legend(frameon=False)
        style(axes)
    return figure


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    present = ((row["epoch"], row.get(key)) for row in rows)
    return [(epoch, value) for epoch, value in present if value is not None and np.isfinite(value)]
