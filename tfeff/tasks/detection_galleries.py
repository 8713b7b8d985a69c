"""Galleries of what a detector found, missed and got wrong."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfeff.data.dataset import Dataset
from tfeff.evaluation import DetectionReport, Detections
from tfeff.evaluation.image_quality import image_quality, worst_first
from tfeff.reporting.detection_gallery import detection_gallery_figure
from tfeff.reporting.detections import DetectedImage

GALLERY_IMAGES = 6
"""Maximum number of images in a gallery."""


def galleries(
    report: DetectionReport,
    detections: Sequence[Detections],
    images: Dataset,
    decoded: Callable[[int], np.ndarray],
) -> dict[str, Figure]:
    """Galleries of the best and worst images and of missed objects.

    Args:
        report: on the detections.
        detections: of each image.
        images: with their objects.
        decoded: index -> pixels uint8 [height, width, 3].

    Returns:
        `worst`, `best` and, if objects were missed, `missed`.
    """
    names = images.class_names

    def detected(image: int) -> DetectedImage:
        confident = detections[image].take(detections[image].scores >= report.score_threshold)
        return DetectedImage(
            image=decoded(image),
            boxes_yxyx=confident.boxes_yxyx,
            names=[names[label] for label in confident.labels],
            scores=confident.scores,
            objects_yxyx=images.objects[image].boxes_yxyx,
        )

    quality = image_quality(report.matching, report.score_threshold)
    order = worst_first(quality)
    figures = {}
    for title, chosen in (("worst", order[:GALLERY_IMAGES]), ("best", order[::-1][:GALLERY_IMAGES])):
        captions = [f"{images.ids[image]}, quality {quality[image]:.2f}" for image in chosen]
        figures[title] = detection_gallery_figure(
            [detected(int(image)) for image in chosen], captions, title=f"{title.capitalize()} images"
        )
    matching, views, captions = report.matching, list[DetectedImage](), list[str]()
    for number in np.flatnonzero(report.errors.missed)[:GALLERY_IMAGES]:
        image = int(matching.object_image[number])
        views.append(detected(image).crop(images.objects[image].boxes_yxyx[matching.object_index[number]]))
        captions.append(f"{names[matching.object_label[number]]} in {images.ids[image]}")
    if views:
        figures["missed"] = detection_gallery_figure(views, captions, title="Missed objects")
    return figures
