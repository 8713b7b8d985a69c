"""Classified images in rows, each with its prediction."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfeff.reporting.figure import GREEN, VERMILION, caption, new, shrink

CELL = 2.0  # inches per image


def gallery_figure(
    images: Sequence[npt.ArrayLike],
    true: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    *,
    columns: int = 5,
    title: str = "",
    name_length: int = 20,
) -> Figure:
    """Images in rows; above each its predicted class and confidence, and the true class where that differs.

    Args:
        images: [height, width, 1 or 3] or [height, width] each, in [0, 255], of any sizes.
        true: name of each image's class.
        predicted: name of the class it was taken for.
        confidence: probability of that class, in [0, 1].
        columns: images a row.
        title: what the figure is of.
        name_length: longest class name shown, in characters; longer ones lose their middle.
    """
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure = new(max(CELL * columns, 0.12 * len(title)), 2.35 * rows + (0.4 if title else 0.1))
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    if not len(images):
        grid[0].text(0.5, 0.5, "no images", ha="center", va="center")
    for axes, image, is_class, said, sure in zip(grid, images, true, predicted, confidence, strict=False):
        right = is_class == said
        _show(axes, image)
        text = f"{caption(said, name_length)}, {100 * sure:.1f} %"
        if not right:
            text += f"\ntrue: {caption(is_class, name_length)}"
        drawn = axes.set_title(text, fontsize=8, color=GREEN if right else VERMILION)
        shrink(figure, drawn, 0.9 * CELL)
    return figure


def _show(axes: Axes, image: npt.ArrayLike) -> None:
    pixels = np.clip(np.rint(np.asarray(image, np.float32)), 0, 255).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[:, :, 0]
    # Small images keep their pixels' edges; a blur would hide what the network sees.
    interpolation = "nearest" if max(pixels.shape[:2]) < 100 else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
