"""Class activation maps of several models for the same examples, as a figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfeff.analysis.comparison.classifiers.insight import Insight
from tfeff.analysis.comparison.run import ComparedRun
from tfeff.data.input.cache import ImageCache
from tfeff.reporting.class_activation import Explanation, class_activation_figure
from tfeff.reporting.tables import percent
from tfeff.reports.activation import cam, grad_cam

MAPS = {"Grad-CAM": False, "CAM": True}
"""Names of the maps -> whether they are signed."""
CAPTION = (
    "Evidence for the predicted class. Each image is shown as the model sees it, with its prediction "
    "(green: correct). Grad-CAM keeps positive evidence; CAM also shows evidence against the class, in blue. With "
    "global pooling and one dense layer, Grad-CAM is CAM without its negative values, on another scale."
)


def explain(
    run: ComparedRun, images: ImageCache, insight: Insight, index: int, examples: np.ndarray
) -> list[Explanation]:
    """Explains the predictions of a network for some examples.

    Args:
        images: all images, at the size of the run's cache.
        examples: int [k], indices of the examples.
    """
    if not len(examples):
        return []
    pixels = run.plan.inputs(images.take(examples), run.network.size)
    classes = insight.matrix.predicted[index, examples]
    maps = zip(grad_cam(run.network, pixels, classes), cam(run.network, pixels, classes), strict=True)
    confidence = insight.probabilities[index, examples].max(axis=1)
    return [
        Explanation(
            np.clip(np.rint(image), 0, 255).astype(np.uint8),
            f"{insight.class_names[label]} ({percent(probability)})",
            bool(insight.matrix.correct[index, example]),
            heat,
        )
        for image, label, probability, example, heat in zip(pixels, classes, confidence, examples, maps, strict=True)
    ]


def explanation_figure(
    insight: Insight, indices: Sequence[int], explained: Sequence[Sequence[Explanation]], examples: np.ndarray
) -> Figure:
    """Draws the explanations side by side, one list for each of the models at `indices`."""
    rows = [
        (f"true: {insight.class_names[insight.labels[example]]}", [each[row] for each in explained])
        for row, example in enumerate(examples)
    ]
    return class_activation_figure(rows, [insight.model_names[i] for i in indices], MAPS)
