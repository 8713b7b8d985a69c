"""Galleries of images with detections, such as the best and worst images and missed objects."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tfeff.reporting.detections import DetectedImage
from tfeff.reporting.figure import GRAY, caption, new, shrink

CELL = 3.6  # inches per image, large enough to read the labels
LEGEND = "red: detections, green: ground truth"
CAPTION_LENGTH = 48  # characters; longer captions are shortened in the middle


def detection_gallery_figure(
    images: Sequence[DetectedImage],
    captions: Sequence[str],
    *,
    columns: int = 3,
    title: str = "",
) -> Figure:
    """Draws images with their detections and objects, each with a caption.

    Args:
        images: images of any sizes. To show single objects, pass crops (`DetectedImage.crop`).
        captions: caption of each image.
        columns: images per row.
        title: title of the figure; the legend of colors is added.
    """
    pictures = [image.draw() for image in images]
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    # Rows of landscape images need less height.
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
        drawn = axes.set_title(caption(text, CAPTION_LENGTH), fontsize=8, color=GRAY)
        shrink(figure, drawn, 0.95 * CELL)
    return figure
