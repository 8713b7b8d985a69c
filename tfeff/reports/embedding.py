"""Evaluation of vectors. A report is `tfeff.evaluation.EmbeddingReport.to_json`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff import evaluation
from tfeff.data.input.batches import Batches
from tfeff.data.input.cache import ImageCache
from tfeff.evaluation.retrieval import Retrieval, retrieval, spread
from tfeff.reporting.embedding import Neighbors, neighbors_figure, roc_figure, similarity_figure
from tfeff.reporting.tables import worst_classes
from tfeff.reports.classification import pixels
from tfeff.reports.evaluator import Evaluation, Evaluator, counted, metric_row, short_names
from tfeff.tasks.embedding import THRESHOLD
from tfeff.tasks.task import Predictions

SHOWN = 8
"""Images in a gallery of nearest neighbors."""


class EmbeddingEvaluator(Evaluator):
    """Evaluator of `embedding`, [n, dimension], of length 1."""

    main = "recall_at_1"
    listed = "every image that was compared"
    captions: Mapping[str, str] = {
        "similarities": "Cosine similarities of pairs of images of one class and of different classes.",
        "roc": "Pairs of one class that are accepted, against pairs of different classes that are, at every threshold.",
        "mistakes": "Images whose nearest neighbor is of another class, the most similar first.",
        "neighbors": "Some images with their nearest neighbors.",
    }

    def evaluate(self, predictions: Predictions, pipeline: Batches, validated: Mapping[str, float]) -> Evaluation:
        """Computes an `EmbeddingReport` and its figures."""
        return self.evaluate_against(predictions, pipeline, validated, lambda: None)

    def evaluate_against(
        self,
        predictions: Predictions,
        pipeline: Batches,
        validated: Mapping[str, float],
        training: Callable[[], tuple[Predictions, np.ndarray] | None],
    ) -> Evaluation:
        """Evaluates predictions; the training images are the gallery for the classes that were trained on."""
        images, vectors = pipeline.images, predictions["embedding"]
        labels, names, compared = images.dataset.labels, images.dataset.class_names, training()
        gallery = None
        if compared is not None:
            gallery = evaluation.gallery_accuracy(vectors, labels, compared[0]["embedding"], compared[1])
        found = retrieval(vectors, labels)
        report = evaluation.embedding_report(
            vectors, labels, names, threshold=validated.get(THRESHOLD), gallery=gallery, found=found
        ).to_json()
        rows = nearest_rows(found, images)
        short = short_names(images.dataset.ids)
        wrong = sorted((row for row in rows if not row["correct"]), key=lambda row: -row["similarity"])
        return Evaluation(
            report,
            embedding_figures(report) | galleries(found, images),
            predictions=rows,
            mistakes=[
                f"{short[row['image']]}: {row['truth']}, nearest is {short[row['nearest']]} ({row['prediction']}, "
                f"similarity {row['similarity']:.2f})"
                for row in wrong
            ],
        )

    def answer(self, report: Mapping[str, Any]) -> str:
        """See `Evaluator`."""
        if not report["queries"]:
            return f"nothing to measure: {report['split']} has no two classes, or no two images of one of them"
        right = round(report["recall_at_1"] * report["queries"])
        what = f"{report['split']} images have a nearest neighbor of their class"
        return counted(right, report["queries"], what, report["recall_at_1_interval"])

    def tables(self, report: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Returns metrics over all images, and per class."""
        return summary_rows(report), worst_classes(class_rows(report), "recall at 1")

    def result(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the recall at 1 and MAP@R with their intervals, the area under the ROC curve, the equal error rate,
        and the accuracy with the training images as the gallery."""
        pairs, gallery = report["pairs"], report["gallery"]
        found = {
            "recall_at_1": report["recall_at_1"],
            "recall_at_1_interval": report["recall_at_1_interval"],
            "map_at_r": report["map_at_r"],
            "map_at_r_interval": report["map_at_r_interval"],
            "auc": pairs["auc"],
            "equal_error_rate": pairs["equal_error_rate"],
            THRESHOLD: report["threshold"],
        }
        if gallery is not None:
            found |= {"accuracy": gallery["accuracy"], "accuracy_interval": gallery["accuracy_interval"]}
        return found


def summary_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per metric over all images: name, value and a note."""
    pairs, gallery = report["pairs"], report["gallery"]
    paired = pairs["images"]
    queries = f"{report['queries']:,} images among all others"
    rows = [
        metric_row("images", report["examples"], f"{len(report['class_names']):,} classes"),
        metric_row("recall at 1", report["recall_at_1"], f"{_interval(report['recall_at_1_interval'])}; {queries}"),
        metric_row("recall at 5", report["recall_at_5"], _interval(report["recall_at_5_interval"])),
        metric_row("MAP@R", report["map_at_r"], _interval(report["map_at_r_interval"], report["queries"])),
        metric_row("R-precision", report["r_precision"]),
    ]
    if gallery is not None:
        counts = (
            f"of {gallery['images']:,} images of trained classes; nearest of {gallery['gallery']:,} training images"
        )
        note = f"{_interval(gallery['accuracy_interval'])}; {counts}"
        rows.append(metric_row("accuracy", gallery["accuracy"], note))
    counts = f"{pairs['same']:,} pairs of one class, {pairs['different']:,} of different ones"
    rows += [
        metric_row("area under ROC", pairs["auc"], f"{_interval(pairs['auc_interval'], paired)}; {counts}"),
        metric_row(
            "equal error rate", pairs["equal_error_rate"], _interval(pairs["equal_error_rate_interval"], paired)
        ),
        metric_row("its threshold", pairs["threshold"], "cosine similarity"),
    ]
    if report["threshold"] is not None:
        at = f"at the threshold of the validation images, {report['threshold']:.4f}"
        rows += [
            metric_row("false accepts", report["false_accept_rate"], f"of pairs of different classes, {at}"),
            metric_row("false rejects", report["false_reject_rate"], f"of pairs of one class, {at}"),
        ]
    return rows


def class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row per class: name, recall and number of images; the lowest recall first."""
    rows = [
        {"class": name, "recall at 1": recall, "images": images}
        for name, recall, images in zip(
            report["class_names"], report["class_recall"], report["class_images"], strict=True
        )
    ]
    return sorted(rows, key=lambda row: np.inf if row["recall at 1"] is None else row["recall at 1"])


def nearest_rows(found: Retrieval, images: ImageCache) -> list[dict[str, Any]]:
    """Returns one row per query: its class, its nearest image, and the class of that."""
    labels, names, ids = images.dataset.labels, images.dataset.class_names, images.dataset.ids
    return [
        {
            "image": ids[query],
            "truth": names[labels[query]],
            "prediction": names[labels[nearest]],
            "similarity": round(float(similarity), 4),
            "correct": bool(labels[query] == labels[nearest]),
            "nearest": ids[nearest],
        }
        for query, nearest, similarity in zip(found.queries, found.nearest[:, 0], found.similarity[:, 0], strict=True)
    ]


def embedding_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Returns the figures `roc` and `similarities`, by name.

    There are none without pairs of one class and of different ones.
    """
    pairs = report["pairs"]
    if pairs["auc"] is None:
        return {}
    thresholds = [("equal error rate at", pairs["threshold"])]
    if report["threshold"] is not None:
        thresholds.append(("threshold of the run", report["threshold"]))
    return {
        "roc": roc_figure(
            pairs["false_accept_rate"], pairs["true_accept_rate"], pairs["auc"], pairs["equal_error_rate"]
        ),
        "similarities": similarity_figure(pairs["edges"], pairs["same_counts"], pairs["different_counts"], thresholds),
    }


def galleries(found: Retrieval, images: ImageCache) -> dict[str, Figure]:
    """Returns images with their nearest neighbors: `neighbors` of some, and `mistakes`.

    Mistakes are the images with the most similar neighbor of another class.
    """
    wrong = np.flatnonzero(~found.found_within(1))
    worst = wrong[np.argsort(-found.similarity[wrong, 0], kind="stable")[:SHOWN]]
    some = spread(np.arange(len(found.queries)), SHOWN)
    titles = {"neighbors": (some, "Nearest neighbors"), "mistakes": (worst, "The most similar images of other classes")}
    labels, names = images.dataset.labels, images.dataset.class_names
    figures = {}
    for key, (rows, title) in titles.items():
        if not len(rows):
            continue
        positions = np.concatenate([found.queries[rows, np.newaxis], found.nearest[rows]], axis=1)
        shown = iter(pixels(images, positions.ravel()))
        figures[key] = neighbors_figure(
            [
                Neighbors([next(shown) for _ in row], [names[labels[place]] for place in row], similarity)
                for row, similarity in zip(positions, found.similarity[rows].tolist(), strict=True)
            ],
            title=title,
        )
    return figures


def _interval(interval: Sequence[float | None], images: int | None = None) -> str:
    """Returns an interval in words.

    Args:
        images: number of resampled images, for the interval of a bootstrap.
    """
    if interval[0] is None:
        return "undefined"
    narrow = "" if images is None else evaluation.caveat(interval, images)
    return f"95 % interval {interval[0]:.4f} to {interval[1]:.4f}{narrow}"
