"""Draws a dataset with boxes: `python tools/draw_annotations.py --dataset=voc:DIR --out=DIR2`.

Writes a selection of images with the boxes of their objects (`annotated.png`) and the distribution of classes, sizes
and shapes (`objects.png`). Prints the defects of the annotations.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import command_line
import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.reporting import figure
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
    """Returns bin edges that enclose all values, with `parts` bins per octave."""
    low, high = (np.log2(values.min()), np.log2(values.max())) if len(values) else (0.0, 1.0)
    return 2.0 ** (np.arange(np.floor(low * parts), np.floor(high * parts) + 2) / parts)


SIDE = 480
"""Maximum length in pixels of the longer side of a drawn image."""


def main() -> None:
    """Draws the dataset that the flags name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="voc:DIR, yolo:DIR, coco:DIR, tfds:NAME or embedded:NAME.")
    parser.add_argument("--split", default="all", help="Split of the dataset.")
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    parser.add_argument("--images", type=int, default=12, help="Number of images to draw, evenly spaced.")
    arguments = parser.parse_args()
    source = catalog.open_objects(arguments.dataset).load(arguments.split)
    print(source.defects.text() or "no defects")

    images, boxes, labels = [], [], []
    for index in np.unique(np.linspace(0, len(source) - 1, arguments.images).astype(int)):
        image = decoding.decode(source.encoded(index), source.ids[index])
        factor = min(1.0, SIDE / max(image.shape[:2]))
        size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        images.append(small)
        scale = np.tile(np.array(small.shape[:2]) / image.shape[:2], 2)
        boxes.append(source.objects[index].boxes_yxyx * scale)
        labels.append(source.objects[index].labels)
    drawn = annotated_figure(images, boxes, labels, source.class_names, title=source.name)
    figure.save(drawn, arguments.out / "annotated", dpi=110)

    all_boxes = np.concatenate([objects.boxes_yxyx for objects in source.objects])
    drawn = objects_figure(
        np.concatenate([objects.labels for objects in source.objects]),
        all_boxes[:, 2] - all_boxes[:, 0],
        all_boxes[:, 3] - all_boxes[:, 1],
        [len(objects) for objects in source.objects],
        source.class_names,
        title=f"{source.name}: {len(all_boxes):,} objects in {len(source):,} images",
    )
    figure.save(drawn, arguments.out / "objects")
    print(f"wrote {arguments.out / 'annotated'}.{{png,svg}}, {arguments.out / 'objects'}.{{png,svg}}")


if __name__ == "__main__":
    command_line.run(main)
