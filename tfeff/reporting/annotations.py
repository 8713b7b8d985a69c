"""Annotated images, and what a detection data set's objects are like."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from tfeff.reporting.figure import BLUE, GRAY, GREEN, ORANGE, SKY_BLUE, VERMILION, caption, captions, new, style

COLOURS = (VERMILION, BLUE, GREEN, ORANGE, SKY_BLUE)
CELL = 3.0  # inches an image takes
LIMITS = (32, 96)  # pixels: where COCO's small and medium objects end
MOST_CLASSES = 25
MOST_TICKS = 8  # of powers of two along an axis


def annotated_figure(
    images: Sequence[npt.NDArray[np.uint8]],
    boxes_yxyx: Sequence[npt.ArrayLike],
    labels: Sequence[npt.ArrayLike],
    class_names: Sequence[str],
    *,
    columns: int = 4,
    title: str = "",
) -> Figure:
    """Images in rows with the boxes of their objects, a colour a class; beneath each the number of objects by class.

    Args:
        images: uint8 [height, width, 3] each, of any sizes.
        boxes_yxyx: float [n, 4] of each, pixels, bottom and right exclusive.
        labels: int [n] of each, indices into class_names.
        class_names: one a class.
        columns: images a row.
        title: what the figure is of.
    """
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure = new(CELL * columns, (CELL + 0.3) * rows + (0.4 if title else 0.1))
    figure.suptitle(caption(title, 30 * columns))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, boxes, of in zip(grid, images, boxes_yxyx, labels, strict=False):
        axes.imshow(image)
        numbers = np.asarray(of, np.int64)
        for (top, left, bottom, right), label in zip(
            np.reshape(np.asarray(boxes, float), (-1, 4)), numbers, strict=True
        ):
            # imshow puts the middle of the first pixel at 0, so that its edge lies at -0.5.
            corner, sides = (left - 0.5, top - 0.5), (right - left, bottom - top)
            colour = COLOURS[label % len(COLOURS)]
            axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=colour, linewidth=1.2))
        found, counts = np.unique(numbers, return_counts=True)
        words = [f"{count} × {class_names[label]}" for label, count in zip(found, counts, strict=True)]
        axes.set_title(caption(", ".join(words) or "no objects", 44), fontsize=8, color=GRAY)
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
    """How many objects each class has and each image; their sizes, and how wide they are against their height.

    Args:
        labels: int [n], indices into class_names.
        heights: float [n], pixels, positive.
        widths: float [n], pixels, positive.
        per_image: int [m], number of objects of each image.
        class_names: one a class; the most frequent 25 are shown.
        title: what the figure is of.
    """
    heights, widths = np.asarray(heights, np.float64), np.asarray(widths, np.float64)
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(class_names))
    shown = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    figure = new(10.5, max(6.5, 2.8 + 0.17 * len(shown)))
    figure.suptitle(caption(title, 90))
    (classes, sizes), (images, aspects) = figure.subplots(2, 2)

    classes.barh(np.arange(len(shown)), counts[shown], color=BLUE)
    classes.set_yticks(np.arange(len(shown)), captions([class_names[place] for place in shown], 20), fontsize=7)
    classes.invert_yaxis()
    more = f" (the most frequent of {len(counts)})" if len(counts) > len(shown) else ""
    classes.set_xlabel(f"objects by class{more}")
    style(classes, grid="x")

    sides = np.sqrt(heights * widths)
    _histogram(sizes, sides, _octaves(sides, 4))
    sizes.set_xlabel("square root of the box's area (pixels; 32 and 96 dashed)")
    for limit in LIMITS:
        sizes.axvline(limit, color=VERMILION, linestyle="--", linewidth=1)

    most = int(np.max(per_image, initial=0))
    _histogram(images, np.asarray(per_image, np.float64), np.arange(-0.5, most + 1.0, max(1, most // 40)))
    images.set_xlabel("objects an image (number)")
    images.set_ylabel("images")
    images.xaxis.set_major_locator(MaxNLocator(integer=True))

    ratios = widths / heights
    _histogram(aspects, ratios, _octaves(ratios, 4))
    aspects.set_xlabel("width / height")
    return figure


def _histogram(axes: Axes, values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> None:
    axes.hist(values, bins=edges.tolist(), color=SKY_BLUE, edgecolor="white", linewidth=0.5)
    axes.set_ylabel("objects")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if edges[0] > 0:
        axes.set_xscale("log", base=2)
        first, last = np.floor(np.log2(edges[0])), np.ceil(np.log2(edges[-1]))
        powers = 2.0 ** np.arange(first, last + 1, np.ceil((last - first) / MOST_TICKS))
        axes.xaxis.set_major_locator(FixedLocator(powers.tolist()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
        )
    style(axes)


def _octaves(values: npt.NDArray[np.float64], parts: int) -> npt.NDArray[np.float64]:
    """Edges around all values, `parts` of them from a power of two to the next."""
    low, high = (np.log2(values.min()), np.log2(values.max())) if len(values) else (0.0, 1.0)
    return 2.0 ** (np.arange(np.floor(low * parts), np.floor(high * parts) + 2) / parts)
