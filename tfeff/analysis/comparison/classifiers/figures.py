"""The figures of a comparison of classifiers."""

import numpy as np

from tfeff import evaluation
from tfeff.analysis.comparison.classifiers.insight import SHOWN, Insight
from tfeff.analysis.comparison.files import CaptionedFigure, cost_figures
from tfeff.analysis.comparison.thumbnails import Thumbnails
from tfeff.reporting import figure
from tfeff.reporting.classification import confusion_figure, reliability_figure
from tfeff.reporting.comparison import (
    class_accuracy_figure,
    class_distribution_figure,
    embedding_map_figure,
    paired_differences_figure,
    predictions_matrix_figure,
)
from tfeff.reporting.gallery import contact_sheet
from tfeff.reporting.tables import percent

GALLERIES = {
    "missed_by_all": "Examples that all models misclassify",
    "most_confidently_wrong": "The most confident errors of any model",
    "hardest": "The hardest examples: highest mean loss over the models",
    "least_certain": "The least certain examples: smallest margin of the averaged probabilities",
}
CURVES = {
    "train_loss": "training loss",
    "validation_loss": "validation loss (nats)",
    "train_accuracy": "training accuracy",
    "validation_accuracy": "validation accuracy",
}
"""Metrics whose curves are drawn, and their labels."""


def comparison_figures(insight: Insight) -> dict[str, CaptionedFigure]:
    """Returns the figures that compare models and classes, by name."""
    points = [
        {
            "name": insight.model_names[i],
            "accuracy": report["top1"],
            "low": report["top1_interval"][0],
            "high": report["top1_interval"][1],
        }
        for i, report in enumerate(insight.reports)
    ]
    figures = dict(cost_figures(points, insight.costs, metric="accuracy", interval="95 % Wilson intervals"))
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


def model_figures(insight: Insight, index: int) -> dict[str, CaptionedFigure]:
    """Returns the confusion matrix and the reliability diagram of a model."""
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
    """Returns the map of some examples by a model's features, float [n, d] of all examples."""
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
    """Returns the galleries as contact sheets by name, uint8 [h, w, 3] each; captions have the averaged predictions."""
    predicted, found = insight.mean.argmax(axis=1), insight.label_errors
    chosen = {name: (examples, predicted[examples]) for name, examples in insight.examples.items()}
    chosen["label_errors"] = found.suspects[:SHOWN], found.likely[:SHOWN]
    sheets = {}
    for name, (examples, classes) in chosen.items():
        captions = [
            f"labeled {insight.class_names[insight.labels[example]]}\n"
            f"{insight.class_names[label]} ({percent(insight.mean[example, label])})"
            for example, label in zip(examples, classes, strict=True)
        ]
        if captions:
            colored = [np.broadcast_to(each, (*each.shape[:2], 3)) for each in thumbnails.take(examples)]
            sheets[name] = contact_sheet(colored, captions)
    return sheets
