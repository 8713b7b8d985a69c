"""Images with what was said of them, and images with what augmentation makes of them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfeff.reporting.figure import GREEN, VERMILION, caption, new, shrink

CELL, SMALL_CELL = 2.0, 1.45  # inches an image takes


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


def augmentation_figure(
    originals: Sequence[npt.ArrayLike],
    augmented: Sequence[Sequence[npt.ArrayLike]],
    *,
    names: Sequence[str] | None = None,
    title: str = "Augmentation",
    name_length: int = 20,
) -> Figure:
    """One row an image: as it is, then as augmentation makes it.

    Args:
        originals: n images, [height, width, 1 or 3] or [height, width] each, in [0, 255].
        augmented: n rows of k augmented images.
        names: a name for each row, such as the class.
        title: what the figure is of.
        name_length: longest name shown, in characters; longer ones lose their middle.
    """
    rows, columns = len(originals), 1 + max(map(len, augmented))
    figure = new(SMALL_CELL * columns + 0.4, SMALL_CELL * rows + 0.8)
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for line, original, variants in zip(grid, originals, augmented, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, image in zip(line, [original, *variants], strict=False):
            _show(axes, image)
    grid[0, 0].set_title("original", fontsize=9)
    for column in range(1, columns):
        grid[0, column].set_title(f"augmented {column}", fontsize=9)
    if names is not None:
        for line, name in zip(grid, names, strict=True):
            left = line[0]
            text = caption(name, name_length)
            side = left.text(
                -0.06, 0.5, text, fontsize=8, rotation=90, ha="right", va="center", transform=left.transAxes
            )
            shrink(figure, side, 0.9 * SMALL_CELL)
    return figure


def _show(axes: Axes, image: npt.ArrayLike) -> None:
    pixels = np.clip(np.rint(np.asarray(image, np.float32)), 0, 255).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[:, :, 0]
    # Small images keep their pixels' edges; a blur would hide what the network sees.
    interpolation = "nearest" if max(pixels.shape[:2]) < 100 else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
