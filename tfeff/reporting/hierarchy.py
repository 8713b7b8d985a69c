"""Figure and animation of hierarchical region merging."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from tfeff.reporting.figure import new

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
