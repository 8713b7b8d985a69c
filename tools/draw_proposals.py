"""Draws selective search on an image: `python tools/draw_proposals.py --image=FILE --out=DIR`.

Writes the best boxes on the image (`boxes.png`), and the hierarchy of the mode's first strategy as a strip of images
(`hierarchy.png`) and as an animation (`hierarchy.gif`).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import command_line
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tfeff.data.images import decoding
from tfeff.proposals import MODES, selective_search
from tfeff.proposals.selective import hierarchies, shrink
from tfeff.reporting import figure
from tfeff.reporting.figure import BLUE, GRAY, GREEN, VERMILION, caption, new

BOUNDARY = (255, 255, 255)


def frames(
    image: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32], parents: npt.NDArray[np.int32], counts: Sequence[int]
) -> list[npt.NDArray[np.uint8]]:
    """Draws each region in its mean color with white borders, after merging to each of the given numbers of regions.

    Args:
        image: uint8 [height, width, 3].
        labels: int32 [height, width], the R initial regions.
        parents: int32 [M], parent of each initial and merged region, in the order of merging; -1 at the root.
        counts: numbers of regions; those above R show all R regions.
    """
    regions = int(labels.max()) + 1
    pictures = []
    for count in counts:
        # After R - count merges, the regions are the topmost nodes with an index below `nodes`.
        nodes = regions + (regions - min(count, regions))
        top = np.arange(nodes)
        for node in reversed(range(nodes)):
            if 0 <= parents[node] < nodes:
                top[node] = top[parents[node]]
        present = top[labels]
        names, flat = np.unique(present, return_inverse=True)
        flat = flat.reshape(labels.shape)
        sizes = np.bincount(flat.ravel(), minlength=len(names))
        means = [np.bincount(flat.ravel(), weights=image[..., c].ravel()) / sizes for c in range(3)]
        picture = np.stack(means, axis=-1)[flat].astype(np.uint8)
        border = np.zeros(labels.shape, bool)
        border[:, 1:] |= flat[:, 1:] != flat[:, :-1]
        border[1:] |= flat[1:] != flat[:-1]
        picture[border] = BOUNDARY
        pictures.append(picture)
    return pictures


def hierarchy_figure(
    image: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32], parents: npt.NDArray[np.int32], counts: Sequence[int]
) -> Figure:
    """Draws the image and its regions at several states of merging, four per row. Arguments as in `frames`."""
    pictures = [image, *frames(image, labels, parents, counts)]
    titles = ["image", *(f"{count:,} region{'s' * (count != 1)}" for count in counts)]
    columns = min(4, len(pictures))
    rows = -(-len(pictures) // columns)
    width = 3.0
    height = width * image.shape[0] / image.shape[1] + 0.3
    figure = new(columns * width, rows * height)
    for axes, picture, title in zip(figure.subplots(rows, columns, squeeze=False).flat, pictures, titles, strict=False):
        axes.imshow(picture)
        axes.set_title(title, fontsize=10)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def save_animation(pictures: Sequence[npt.NDArray[np.uint8]], path: Path) -> None:
    """Writes images, uint8 [height, width, 3], as a looping GIF, two a second."""
    first, *others = (Image.fromarray(picture) for picture in pictures)
    first.save(path, save_all=True, append_images=others, duration=500, loop=0)


REGION_COUNTS = (200, 100, 50, 20, 10, 5, 2)
"""Numbers of regions in the strip."""


def main() -> None:
    """Draws the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True, help="Image file.")
    parser.add_argument("--out", type=Path, required=True, help="Output directory.")
    parser.add_argument("--mode", choices=list(MODES), default="fast")
    parser.add_argument("--boxes", type=int, default=60, help="Number of boxes to draw.")
    arguments = parser.parse_args()
    image = decoding.decode(arguments.image.read_bytes(), str(arguments.image))
    arguments.out.mkdir(parents=True, exist_ok=True)

    boxes = selective_search(image, arguments.mode, max_proposals=arguments.boxes)
    title = f"the best {len(boxes)} proposals of {arguments.image.name}"
    figure.save(boxes_figure(image, boxes, title=title), arguments.out / "boxes")

    mode = MODES[arguments.mode]
    small, factor = shrink(image, mode.side)
    labels, _, parents = next(iter(hierarchies(small, mode, factor)))
    regions = int(labels.max()) + 1
    figure.save(
        hierarchy_figure(small, labels, parents, [count for count in REGION_COUNTS if count <= regions]),
        arguments.out / "hierarchy",
    )
    counts = sorted({max(1, round(regions * 0.8**step)) for step in range(40)}, reverse=True)
    save_animation(frames(small, labels, parents, counts), arguments.out / "hierarchy.gif")
    print(f"wrote {arguments.out / 'boxes'}.{{png,svg}}, {arguments.out / 'hierarchy'}.{{png,svg,gif}}")


def boxes_figure(
    image: npt.NDArray[np.uint8],
    boxes_yxyx: npt.ArrayLike,
    *,
    objects_yxyx: npt.ArrayLike = (),
    title: str = "",
) -> Figure:
    """Draws proposals (blue, the first one red, fading by rank) and objects (green) on an image.

    Args:
        image: uint8 [height, width, 3].
        boxes_yxyx: float [n, 4], best first.
        objects_yxyx: float [m, 4].
        title: title of the figure.
    """
    height, width = image.shape[:2]
    side = 7.0 / max(height, width)
    figure = new(max(3.0, width * side), max(2.0, height * side) + (0.4 if title else 0.0))
    axes = figure.add_subplot()
    axes.imshow(image)
    axes.set_axis_off()
    boxes = np.asarray(boxes_yxyx, np.float64).reshape(-1, 4)
    for index, box in reversed(list(enumerate(boxes))):
        strength = 1.0 - index / max(1, len(boxes))
        _rectangle(axes, box, VERMILION if index == 0 else BLUE, 0.6 + 1.2 * strength, 0.25 + 0.75 * strength)
    for box in np.asarray(objects_yxyx, np.float64).reshape(-1, 4):
        _rectangle(axes, box, GREEN, 2.0, 1.0)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    if title:
        figure.suptitle(caption(title, 80), fontsize=11, color=GRAY)
    return figure


def _rectangle(axes: Axes, box: npt.NDArray[np.float64], color: str, width: float, alpha: float) -> None:
    top, left, bottom, right = box - 0.5
    axes.plot(
        [left, right, right, left, left],
        [top, top, bottom, bottom, top],
        color=color,
        linewidth=width,
        alpha=alpha,
        solid_joinstyle="miter",
    )


if __name__ == "__main__":
    command_line.run(main)
