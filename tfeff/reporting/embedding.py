"""Figures of vectors of images: ROC curve and similarities of pairs, and images with their nearest neighbors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from tfeff.reporting.figure import BLUE, GRAY, GREEN, ORANGE, VERMILION, caption, literal, new, shrink, style

CELL = 1.5  # inches per image
NAME_LENGTH = 16  # characters; longer names are shortened in the middle


def roc_figure(
    false_accept_rate: npt.ArrayLike, true_accept_rate: npt.ArrayLike, auc: float, equal_error_rate: float
) -> Figure:
    """Draws the share of accepted pairs of one class against that of different classes, and the equal error rate.

    Args:
        false_accept_rate: float [m], along the curve.
        true_accept_rate: float [m].
        auc: area under the curve.
        equal_error_rate: where the curve crosses the falling diagonal.
    """
    figure = new(5.0, 5.0)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="chance")
    axes.plot(false_accept_rate, true_accept_rate, color=BLUE, label=f"area {auc:.4f}")
    axes.plot(
        [equal_error_rate],
        [1 - equal_error_rate],
        "o",
        color=VERMILION,
        label=f"equal error rate {100 * equal_error_rate:.1f} %",
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("accepted pairs of different classes")
    axes.set_ylabel("accepted pairs of one class")
    axes.set_title("ROC curve of pairs")
    axes.legend(loc="lower right", frameon=False)
    style(axes, grid="both")
    return figure


def similarity_figure(
    edges: npt.ArrayLike, same: npt.ArrayLike, different: npt.ArrayLike, thresholds: Sequence[tuple[str, float]]
) -> Figure:
    """Draws histograms of the similarities of pairs of one class and of different ones, each with an area of 1.

    Args:
        edges: float [bins + 1], of bins of equal width.
        same: [bins], pairs of one class in each bin.
        different: [bins], pairs of different classes.
        thresholds: name and value of each vertical line.
    """
    edge = np.asarray(edges, np.float64)
    figure = new(6.5, 4.0)
    axes = figure.add_subplot()
    for counts, color, label in (
        (same, GREEN, "pairs of one class"),
        (different, ORANGE, "pairs of different classes"),
    ):
        values = np.asarray(counts, np.float64)
        density = values / max(values.sum(), 1) / np.diff(edge)
        axes.stairs(density, edge, fill=True, alpha=0.5, color=color, label=label)
    for (name, value), line in zip(thresholds, ("-", "--"), strict=False):
        axes.axvline(value, color=GRAY, linestyle=line, linewidth=1.2, label=f"{name} {value:.3f}")
    occupied = np.flatnonzero(np.asarray(same) + np.asarray(different))
    if len(occupied):
        axes.set_xlim(edge[occupied[0]], edge[occupied[-1] + 1])
    axes.set_xlabel("cosine similarity")
    axes.set_ylabel("density")
    axes.set_title("Similarity of pairs")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    style(axes)
    return figure


@dataclass(frozen=True, eq=False)
class Neighbors:
    """An image with its nearest neighbors.

    Attributes:
        images: [height, width, 1 or 3] each, in [0, 255]: the image itself, then the nearest, next ...
        names: class name of each image.
        similarity: cosine similarity of each neighbor to the image.
    """

    images: Sequence[npt.NDArray[np.uint8]]
    names: Sequence[str]
    similarity: Sequence[float]


def neighbors_figure(rows: Sequence[Neighbors], *, title: str) -> Figure:
    """Draws a row for each image: itself, and its nearest neighbors with their classes, green if it is the same."""
    columns = max(len(row.images) for row in rows)
    figure = new(max(CELL * columns, 0.1 * len(title)), (CELL + 0.35) * len(rows) + 0.4)
    figure.suptitle(literal(title))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for cell in grid.ravel():
        cell.set_axis_off()
    for row, axes in zip(rows, grid, strict=True):
        for place, (cell, image, name) in enumerate(zip(axes, row.images, row.names, strict=False)):
            gray = image.shape[-1] == 1
            cell.imshow(image[..., 0] if gray else image, cmap="gray" if gray else None, vmin=0, vmax=255)
            color = GRAY if place == 0 else GREEN if name == row.names[0] else VERMILION
            below = "query" if place == 0 else f"{row.similarity[place - 1]:.2f}"
            text = f"{caption(name, NAME_LENGTH)}\n{below}"
            shrink(figure, cell.set_title(text, fontsize=8, color=color), 0.9 * CELL)
    return figure
