"""The figures of a comparison of detectors."""

import numpy as np

from tfeff.analysis.comparison.detectors.insight import Insight
from tfeff.analysis.comparison.files import CaptionedFigure, cost_figures
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.reporting.box_drawing import DetectedImage
from tfeff.reporting.comparison import class_accuracy_figure, paired_differences_figure
from tfeff.reporting.detection import compared_errors_figure
from tfeff.reporting.published import published_detectors_figure
from tfeff.reports.detection import detection_figures


def comparison_figures(insight: Insight) -> dict[str, CaptionedFigure]:
    """Returns the figures that compare detectors, by name."""
    points = [
        {
            "name": name,
            "accuracy": report.mean_ap,
            "low": report.mean_ap_interval[0],
            "high": report.mean_ap_interval[1],
        }
        for name, report in zip(insight.model_names, insight.reports, strict=True)
    ]
    figures = dict(cost_figures(points, insight.costs, metric="mAP", interval="95 % bootstrap intervals"))
    figures["differences"] = (
        paired_differences_figure(insight.differences, metric="mAPs"),
        f"Differences of mAPs on the same images, with 95 % intervals of {insight.resamples:,} bootstrap resamples of "
        "these images, not adjusted for the number of pairs.",
    )
    ranked = [insight.model_names[i] for i in insight.ranking]
    if len(insight.class_names) > 1:
        values = np.stack([insight.reports[i].ap for i in insight.ranking])
        figures["class_ap"] = (
            class_accuracy_figure(insight.class_names, ranked, values, metric="average precision"),
            "Average precision (IoU 0.5) of each class, the most difficult class on top.",
        )
    figures["errors"] = (
        compared_errors_figure(ranked, [insight.errors(i) for i in insight.ranking]),
        "Types of errors (Bolya et al. 2020): their number at each detector's score threshold, and the gain in mAP if "
        "all of a type were fixed, whatever their score.",
    )
    figures["published"] = (
        published_detectors_figure([{"macs": cost.macs, "params": cost.params} for cost in insight.costs]),
        "Published detectors on COCO; dashed lines: the costs of the detectors compared here. Their mAP is of other "
        "images, so they have no height.",
    )
    return figures


def model_figures(insight: Insight, index: int) -> dict[str, CaptionedFigure]:
    """Draws precision-recall curves and confusion matrix of a detector."""
    name, drawn = insight.model_names[index], detection_figures(insight.reports[index].to_dict())
    captions = {
        "precision_recall": f"Precision against recall of {name}.",
        "confusion": f"Confusion of {name} at its score threshold: true classes in rows, predicted ones in columns.",
    }
    return {key: (drawn[key], caption) for key, caption in captions.items()}


def drawn_image(insight: Insight, images: Dataset, index: int, image: int) -> np.ndarray:
    """Returns an image with what a detector finds at its score threshold, and its objects: uint8 [height, width, 3]."""
    found, names = insight.found[index][image], insight.class_names
    shown = found.take(found.scores >= insight.reports[index].score_threshold)
    return DetectedImage(
        image=decoding.decode(images.encoded(image), images.ids[image]),
        boxes_yxyx=shown.boxes_yxyx,
        names=[names[label] for label in shown.labels],
        scores=shown.scores,
        objects_yxyx=images.objects[image].boxes_yxyx,
    ).draw()
