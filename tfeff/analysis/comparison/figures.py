"""The figures of a comparison."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from PIL import Image

from tfeff import evaluation
from tfeff.analysis.comparison.insight import SHOWN, Insight
from tfeff.data.dataset import Dataset
from tfeff.reporting import figure
from tfeff.reporting.classification import confusion_figure, reliability_figure
from tfeff.reporting.comparison import (
    accuracy_cost_figure,
    class_accuracy_figure,
    class_distribution_figure,
    embedding_map_figure,
    paired_differences_figure,
    predictions_matrix_figure,
)
from tfeff.reporting.gallery import contact_sheet

SIDE = 224
"""Maximum side of a thumbnail, in pixels."""


class Thumbnails:
    """Thumbnails of the images of a dataset; each is read once."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._kept = dict[int, np.ndarray]()

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [h, w, 1 or 3], at most `SIDE` pixels a side; the whole image, not as a network sees it."""
        if index not in self._kept:
            pixels = self._dataset.read(tf.constant(index, tf.int64)).numpy()
            self._kept[index] = resized(pixels, SIDE / max(*pixels.shape[:2], SIDE))
        return self._kept[index]

    def take(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Several thumbnails."""
        return [self[int(index)] for index in indices]


def resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    """An image at another scale, uint8 [h, w, 1 or 3]; unchanged at a scale of 1."""
    if scale == 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return fitted(pixels, (height, width))


def fitted(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image stretched to (height, width), uint8 [h, w, 1 or 3]."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(*size, pixels.shape[2])


CaptionedFigure = tuple[Figure, str]
"""A figure and its caption."""
GALLERIES = {
    "missed_by_all": "Examples that all models misclassify",
    "most_confidently_wrong": "The most confident errors of any model",
    "hardest": "The hardest examples: highest mean loss over the models",
    "least_certain": "The least certain examples: smallest margin of the averaged probabilities",
}


def comparison_figures(insight: Insight) -> dict[str, CaptionedFigure]:
    """The figures that compare models and classes, by name."""
    figures = {
        "accuracy_macs": (
            _accuracy_cost(insight, "macs", 1.0, "multiply-adds for one image"),
            "Accuracy with 95 % Wilson intervals against multiply-adds. Models on the Pareto front are filled: no "
            "other model is at least as accurate with fewer multiply-adds.",
        ),
        "accuracy_latency": (
            _accuracy_cost(insight, "latency", 1e3, "latency of one image (ms)"),
            "Accuracy with 95 % Wilson intervals against the latency on this machine.",
        ),
    }
    if insight.differences:
        figures["differences"] = (
            paired_differences_figure(insight.differences),
            "Differences of accuracies on the same examples, with 95 % intervals (Bonett and Price), not adjusted for "
            "the number of pairs.",
        )
    recall = np.array([report["per_class"]["recall"] for report in insight.reports], np.float64)
    figures["class_distribution"] = (
        class_distribution_figure(
            insight.class_names,
            {
                insight.split: np.bincount(insight.labels, minlength=len(insight.class_names)),
                "training": insight.training_counts,
            },
        ),
        "Images of each class, in this split and in training (of the first model).",
    )
    figures["class_accuracy"] = (
        class_accuracy_figure(
            insight.class_names, [insight.model_names[i] for i in insight.ranking], recall[insight.ranking]
        ),
        "Share of each class's images that a model classifies correctly, the most difficult class on top.",
    )
    figures["predictions_matrix"] = (
        predictions_matrix_figure(
            [insight.model_names[i] for i in insight.ranking],
            insight.matrix.correct[insight.ranking][:, insight.matrix.missed_by_any],
            examples=len(insight.labels),
        ),
        "The predictions matrix: a row per model, a column per example that at least one model misclassifies.",
    )
    return figures


def _accuracy_cost(insight: Insight, key: str, scale: float, label: str) -> Figure:
    points = [
        {
            "name": row["name"],
            "cost": row[key] * scale,
            "accuracy": row["accuracy"],
            "low": row["accuracy_interval"][0],
            "high": row["accuracy_interval"][1],
        }
        for row in insight.model_rows()
    ]
    return accuracy_cost_figure(points, cost=label)


def model_figures(insight: Insight, index: int) -> dict[str, CaptionedFigure]:
    """The confusion matrix and the reliability diagram of a model."""
    report, name = insight.reports[index], figure.caption(insight.model_names[index], 40)
    bins = report["calibration"]
    return {
        "confusion": (
            confusion_figure(report["confusion"], insight.class_names, title=f"Confusion matrix of {name}"),
            f"Confusion matrix of {insight.model_names[index]}.",
        ),
        "reliability": (
            reliability_figure(
                bins["edges"], bins["weight"], bins["confidence"], bins["accuracy"], bins["expected_error"], title=name
            ),
            f"Reliability diagram of {insight.model_names[index]}: accuracy against confidence.",
        ),
    }


def embedding_figure(insight: Insight, index: int, features: np.ndarray, examples: np.ndarray) -> CaptionedFigure:
    """The map of some examples by a model's features, float [n, d] of all examples."""
    projected = evaluation.principal_components(features[examples])
    drawn = embedding_map_figure(
        projected.coordinates,
        insight.labels[examples],
        insight.matrix.correct[index, examples],
        insight.class_names,
        explained=projected.explained.tolist(),
        title=insight.model_names[index],
    )
    shown = f"{len(examples):,} of {len(insight.labels):,}" if len(examples) < len(insight.labels) else "All"
    return drawn, f"{shown} examples by the pooled features of {insight.model_names[index]}: principal components."


def galleries(insight: Insight, thumbnails: Thumbnails) -> dict[str, np.ndarray]:
    """The galleries as contact sheets by name, uint8 [h, w, 3] each; captions have the averaged predictions."""
    predicted, found = insight.mean.argmax(axis=1), insight.label_errors
    chosen = {name: (examples, predicted[examples]) for name, examples in insight.examples.items()}
    chosen["label_errors"] = found.suspects[:SHOWN], found.likely[:SHOWN]
    sheets = {}
    for name, (examples, classes) in chosen.items():
        captions = [
            f"labeled {insight.class_names[insight.labels[example]]}\n"
            f"{insight.class_names[label]}, {100 * insight.mean[example, label]:.0f} %"
            for example, label in zip(examples, classes, strict=True)
        ]
        if captions:
            colored = [np.broadcast_to(each, (*each.shape[:2], 3)) for each in thumbnails.take(examples)]
            sheets[name] = contact_sheet(colored, captions)
    return sheets
