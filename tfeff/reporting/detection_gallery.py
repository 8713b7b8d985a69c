"""Galleries of images with detections: the best, the worst, the objects that were missed."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tfeff.reporting.detections import DetectedImage
from tfeff.reporting.figure import GRAY, caption, new, shrink

CELL = 3.6  # inches a picture takes: their letters are to be read
LEGEND = "detections red, objects green"


def detection_gallery_figure(
    images: Sequence[DetectedImage],
    captions: Sequence[str],
    *,
    columns: int = 3,
    title: str = "",
    caption_length: int = 48,
) -> Figure:
    """Images with their detections and objects in rows, each under its caption.

    Args:
        images: of any sizes; parts of images (`DetectedImage.around`) show single objects.
        captions: one an image.
        columns: images a row.
        title: what the figure is of; what the colours mean is added.
        caption_length: longest caption, in characters; longer ones lose their middle.
    """
    pictures = [image.drawn() for image in images]
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    # Pictures that are wider than high need less height.
    tallest = max((min(picture.shape[0] / picture.shape[1], 1.2) for picture in pictures), default=0.3)
    figure = new(max(CELL * columns, 4.5), (CELL * tallest + 0.35) * rows + 0.5)
    figure.suptitle(f"{caption(title, 20 * columns + 20)}\n{LEGEND}" if title else LEGEND, fontsize=10)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    if not pictures:
        grid[0].text(0.5, 0.5, "no images", ha="center", va="center")
    for axes, picture, text in zip(grid, pictures, captions, strict=False):
        axes.imshow(picture, interpolation="antialiased")
        drawn = axes.set_title(caption(text, caption_length), fontsize=8, color=GRAY)
        shrink(figure, drawn, 0.95 * CELL)
    return figure
