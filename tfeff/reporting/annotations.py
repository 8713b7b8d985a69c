"""Figures of a detection dataset: annotated images and statistics of the objects."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from tfeff.reporting.figure import BLUE, GRAY, GREEN, ORANGE, SKY_BLUE, VERMILION, caption, captions, new, style

COLORS = (VERMILION, BLUE, GREEN, ORANGE, SKY_BLUE)
CELL = 3.0  # inches per image
COLUMNS = 4
SIZE_LIMITS = (32, 96)  # pixels: upper limits of COCO's small and medium objects
MAX_CLASSES = 25
MAX_TICKS = 8  # powers of two on an axis


def annotated_figure(
    images: Sequence[npt.NDArray[np.uint8]],
    boxes_yxyx: Sequence[npt.ArrayLike],
    labels: Sequence[npt.ArrayLike],
    class_names: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draws images with the boxes of their objects, one color per class, titled with the objects of each class.

    Args:
        images: uint8 [height, width, 3] each; sizes may differ.
        boxes_yxyx: float [n, 4] of each image, in pixels, bottom and right exclusive.
        labels: int [n] of each image, class indices.
        class_names: names of the classes.
        title: title of the figure.
    """
    columns = max(1, min(COLUMNS, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure = new(CELL * columns, (CELL + 0.3) * rows + (0.4 if title else 0.1))
    figure.suptitle(caption(title, 30 * columns))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, boxes, indices in zip(grid, images, boxes_yxyx, labels, strict=False):
        axes.imshow(image)
        numbers = np.asarray(indices, np.int64)
        for (top, left, bottom, right), label in zip(
            np.reshape(np.asarray(boxes, float), (-1, 4)), numbers, strict=True
        ):
            # imshow puts the center of the first pixel at 0, so its edge is at -0.5.
            corner, sides = (left - 0.5, top - 0.5), (right - left, bottom - top)
            color = COLORS[label % len(COLORS)]
            axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=color, linewidth=1.2))
        present, counts = np.unique(numbers, return_counts=True)
        texts = [f"{count} × {class_names[label]}" for label, count in zip(present, counts, strict=True)]
        axes.set_title(caption(", ".join(texts) or "no objects", 44), fontsize=8, color=GRAY)
    return figure


def objects_figure(
    labels: npt.ArrayLike,
    heights: npt.ArrayLike,
    widths: npt.ArrayLike,
    per_image: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Plots the number of objects per class and per image, and the sizes and aspect ratios of their boxes.

    Args:
        labels: int [n], class indices.
        heights: float [n], in pixels, positive.
        widths: float [n], in pixels, positive.
        per_image: int [m], number of objects in each image.
        class_names: names of the classes; the 25 most frequent ones are shown.
        title: title of the figure.
    """
    heights, widths = np.asarray(heights, np.float64), np.asarray(widths, np.float64)
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(class_names))
    shown = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    figure = new(10.5, max(6.5, 2.8 + 0.17 * len(shown)))
    figure.suptitle(caption(title, 90))
    (classes, sizes), (images, aspects) = figure.subplots(2, 2)

    classes.barh(np.arange(len(shown)), counts[shown], color=BLUE)
    classes.set_yticks(np.arange(len(shown)), captions([class_names[place] for place in shown], 20), fontsize=7)
    classes.invert_yaxis()
    note = f" ({len(shown)} most frequent of {len(counts)} classes)" if len(counts) > len(shown) else ""
    classes.set_xlabel(f"objects{note}")
    style(classes, grid="x")

    sides = np.sqrt(heights * widths)
    _histogram(sizes, sides, _octaves(sides, 4))
    sizes.set_xlabel("square root of box area (pixels); dashed: COCO size limits")
    for limit in SIZE_LIMITS:
        sizes.axvline(limit, color=VERMILION, linestyle="--", linewidth=1)

    highest = int(np.max(per_image, initial=0))
    _histogram(images, np.asarray(per_image, np.float64), np.arange(-0.5, highest + 1.0, max(1, highest // 40)))
    images.set_xlabel("objects per image")
    images.set_ylabel("images")
    images.xaxis.set_major_locator(MaxNLocator(integer=True))

    ratios = widths / heights
    _histogram(aspects, ratios, _octaves(ratios, 4))
    aspects.set_xlabel("aspect ratio (width / height)")
    return figure


def _histogram(axes: Axes, values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> None:
    axes.hist(values, bins=edges.tolist(), color=SKY_BLUE, edgecolor="white", linewidth=0.5)
    axes.set_ylabel("objects")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if edges[0] > 0:
        axes.set_xscale("log", base=2)
        first, last = np.floor(np.log2(edges[0])), np.ceil(np.log2(edges[-1]))
        powers = 2.0 ** np.arange(first, last + 1, np.ceil((last - first) / MAX_TICKS))
        axes.xaxis.set_major_locator(FixedLocator(powers.tolist()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
        )
    style(axes)


def _octaves(values: npt.NDArray[np.float64], parts: int) -> npt.NDArray[np.float64]:
    """Bin edges that enclose all values, with `parts` bins per octave."""
    low, high = (np.log2(values.min()), np.log2(values.max())) if len(values) else (0.0, 1.0)
    return 2.0 ** (np.arange(np.floor(low * parts), np.floor(high * parts) + 2) / parts)
