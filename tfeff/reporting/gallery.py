"""Gallery of classified images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfeff.reporting.figure import GREEN, VERMILION, caption, new, shrink

CELL = 2.0  # inches per image
NAME_LENGTH = 20  # characters; longer names are shortened in the middle


def gallery_figure(
    images: Sequence[npt.ArrayLike],
    true: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    *,
    columns: int = 5,
    title: str = "",
) -> Figure:
    """Draws images titled with predicted class and confidence, and with the true class if they differ.

    Args:
        images: [height, width, 1 or 3] or [height, width] each, in [0, 255]; sizes may differ.
        true: name of the true class of each image.
        predicted: name of the predicted class of each image.
        confidence: probability of the predicted class, in [0, 1].
        columns: images per row.
        title: title of the figure.
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
    for axes, image, label, prediction, probability in zip(grid, images, true, predicted, confidence, strict=False):
        correct = label == prediction
        _show(axes, image)
        text = f"{caption(prediction, NAME_LENGTH)}, {100 * probability:.1f} %"
        if not correct:
            text += f"\ntrue: {caption(label, NAME_LENGTH)}"
        drawn = axes.set_title(text, fontsize=8, color=GREEN if correct else VERMILION)
        shrink(figure, drawn, 0.9 * CELL)
    return figure


def _show(axes: Axes, image: npt.ArrayLike) -> None:
    pixels = np.clip(np.rint(np.asarray(image, np.float32)), 0, 255).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[:, :, 0]
    # Small images are shown without interpolation, as the network sees them.
    interpolation = "nearest" if max(pixels.shape[:2]) < 100 else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
