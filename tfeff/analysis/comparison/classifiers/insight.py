"""What the predictions of several classifiers for the same examples say about models, classes, examples and labels."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfeff import evaluation
from tfeff.analysis.comparison.cost import Cost
from tfeff.analysis.comparison.verdict import adjust, verdict
from tfeff.evaluation.classification import plain

SHOWN = 24
"""Examples in a gallery."""
PAIRS = 20
"""Confused pairs listed for each model."""


@dataclass(frozen=True, eq=False)
class Insight:
    """Results of m models on n examples.

    Attributes:
        networks: for each model the name of its network and its resolution.
        labels: int32 [n], their labels.
        training_counts: [classes], number of training images of each class, of the first model.
        probabilities: float32 [m, n, classes].
        notes: what the user should know, one line each.
    """

    split: str
    model_names: Sequence[str]
    networks: Sequence[tuple[str, int]]
    workdirs: Sequence[str]
    class_names: Sequence[str]
    ids: Sequence[str]
    labels: np.ndarray
    training_counts: np.ndarray
    probabilities: np.ndarray
    costs: Sequence[Cost]
    notes: Sequence[str]

    @cached_property
    def reports(self) -> list[dict[str, Any]]:
        """The `ClassificationReport` of each model, as JSON."""
        return [
            evaluation.classification_report(self.labels, each, self.class_names).to_json()
            for each in self.probabilities
        ]

    @cached_property
    def matrix(self) -> evaluation.PredictionsMatrix:
        """Who errs where."""
        return evaluation.predictions_matrix(self.labels, self.probabilities)

    @cached_property
    def mean(self) -> np.ndarray:
        """float64 [n, classes], probabilities averaged over the models."""
        return self.probabilities.mean(axis=0, dtype=np.float64)

    @cached_property
    def label_errors(self) -> evaluation.LabelErrors:
        """Labels that are probably wrong, by the averaged probabilities."""
        return evaluation.label_errors(self.labels, self.mean)

    @cached_property
    def ranking(self) -> list[int]:
        """Indices of the models, the most accurate first; of equal ones, that with fewer multiply-adds."""
        return sorted(
            range(len(self.model_names)), key=lambda i: (-self.reports[i]["top1"], self.costs[i].macs or math.inf)
        )

    @cached_property
    def differences(self) -> list[dict[str, Any]]:
        """Paired comparisons of all pairs of models, with p-values adjusted for their number."""
        rows = []
        for first, second in itertools.combinations(self.ranking, 2):
            compared = evaluation.paired_accuracy(self.matrix.correct[first], self.matrix.correct[second])
            names = {"first": self.model_names[first], "second": self.model_names[second]}
            rows.append(names | asdict(compared))
        adjust(rows)
        return rows

    @cached_property
    def hardest(self) -> np.ndarray:
        """int64 [n], indices of the examples, the highest mean loss over the models first."""
        return evaluation.hardest(self.labels, self.probabilities, len(self.labels))

    @cached_property
    def missed_by_class(self) -> np.ndarray:
        """int64 [classes], number of images of each class that every model misclassifies."""
        return np.bincount(self.labels[self.matrix.missed_by_all], minlength=len(self.class_names))

    @property
    def hardest_classes(self) -> list[int]:
        """Classes with images that every model misclassifies, those with the most such images first."""
        order = np.argsort(-self.missed_by_class, kind="stable")
        return [int(c) for c in order if self.missed_by_class[c]]

    @cached_property
    def examples(self) -> dict[str, np.ndarray]:
        """Galleries: indices of examples by name of the gallery."""
        n, m = len(self.labels), len(self.model_names)
        flat = evaluation.confident_errors(np.tile(self.labels, m), self.probabilities.reshape(m * n, -1), count=m * n)
        confident = np.array(list(dict.fromkeys((flat % n).tolist())), np.int64)
        all_miss = self.hardest[np.isin(self.hardest, self.matrix.missed_by_all)]
        return {
            "missed_by_all": all_miss[:SHOWN],
            "most_confidently_wrong": confident[:SHOWN],
            "hardest": self.hardest[:SHOWN],
            "least_certain": evaluation.least_certain(self.mean, SHOWN),
        }

    @cached_property
    def to_explain(self) -> np.ndarray:
        """int64, examples for class activation maps: those on which models disagree, those that all miss, and one that
        all classify correctly."""
        hardest, misses = self.hardest, self.matrix.misses[self.hardest]
        disputed = hardest[(misses > 0) & (misses < len(self.model_names))][:4]
        missed = hardest[misses == len(self.model_names)][:3]
        clear = hardest[::-1][misses[::-1] == 0][:1]
        return np.concatenate([disputed, missed, clear])

    @property
    def summary(self) -> str:
        """The result in two or three sentences."""
        best, *others = self.ranking
        report = self.reports[best]
        low, high = report["top1_interval"]
        accuracy = (
            f"{100 * report['top1']:.1f} % on {report['examples']:,} images of {self.split} "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f})."
        )
        if not others:
            return f"{self.model_names[best]} has an accuracy of {accuracy}"
        text = f"{self.model_names[best]} has the highest accuracy, {accuracy}"
        return f"{text} {verdict(self.model_names, self.ranking, self.differences, self.costs)}"

    def model_rows(self) -> list[dict[str, Any]]:
        """Returns the numbers of each model, the most accurate first."""
        rows = []
        for i in self.ranking:
            report, (network, resolution) = self.reports[i], self.networks[i]
            rows.append(
                {
                    "name": self.model_names[i],
                    "workdir": self.workdirs[i],
                    "network": network,
                    "resolution": resolution,
                    "accuracy": report["top1"],
                    "accuracy_interval": report["top1_interval"],
                    "top5": report["top5"],
                    "balanced_accuracy": report["balanced_accuracy"],
                    "macro_roc_auc": report["macro_roc_auc"],
                    "macro_average_precision": report["macro_average_precision"],
                    "log_loss": report["log_loss"],
                    "calibration_error": report["calibration"]["expected_error"],
                    **asdict(self.costs[i]),
                    "missed_only_by_it": len(self.matrix.missed_only_by(i)),
                }
            )
        return rows

    def confused_pairs(self, index: int) -> list[dict[str, Any]]:
        """Returns the most frequent errors of a model."""
        matrix = evaluation.ConfusionMatrix.from_json(self.reports[index]["confusion"])
        pairs = evaluation.confused_pairs(matrix, PAIRS)
        return [
            {
                "true": self.class_names[pair.true],
                "predicted": self.class_names[pair.predicted],
                "images": pair.count,
                "share": pair.share,
            }
            for pair in pairs
        ]

    def suspects(self) -> list[dict[str, Any]]:
        """Returns examples with probably wrong labels, the most suspicious first."""
        found = self.label_errors
        return [
            {
                "id": self.ids[index],
                "label": self.class_names[self.labels[index]],
                "likely": self.class_names[likely],
                "label_probability": float(self.mean[index, self.labels[index]]),
                "likely_probability": float(self.mean[index, likely]),
            }
            for index, likely in zip(found.suspects, found.likely, strict=True)
        ]

    def example(self, index: int) -> dict[str, Any]:
        """Returns an example with the prediction of each model."""
        return {
            "id": self.ids[index],
            "label": self.class_names[self.labels[index]],
            "predictions": {
                name: {
                    "class": self.class_names[self.matrix.predicted[i, index]],
                    "probability": float(self.probabilities[i, index].max()),
                    "correct": bool(self.matrix.correct[i, index]),
                }
                for i, name in enumerate(self.model_names)
            },
        }

    def to_json(self) -> dict[str, Any]:
        """Returns all results, JSON-serializable."""
        recall = [report["per_class"]["recall"] for report in self.reports]
        images = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        return {
            "split": self.split,
            "images": len(self.labels),
            "summary": self.summary,
            "notes": list(self.notes),
            "models": self.model_rows(),
            "differences": self.differences,
            "classes": [
                {
                    "name": name,
                    "training_images": int(self.training_counts[c]),
                    "images": images[c],
                    "missed_by_all": int(self.missed_by_class[c]),
                    "accuracy": {model: recall[i][c] for i, model in enumerate(self.model_names)},
                }
                for c, name in enumerate(self.class_names)
            ],
            "confused_pairs": {name: self.confused_pairs(i) for i, name in enumerate(self.model_names)},
            "predictions_matrix": {
                "best_possible_accuracy": self.matrix.best_possible,
                "agreement": self.matrix.agreement().tolist(),
                "missed_by_all": [self.ids[i] for i in self.matrix.missed_by_all],
                "missed": [self.example(i) for i in self.matrix.missed_by_any],
            },
            "label_errors": {
                "estimated_share": self.label_errors.estimated_share,
                "confident_joint": plain(asdict(self.label_errors.confident_joint)),
                "suspects": self.suspects(),
            },
            "examples": {name: [self.example(i) for i in chosen] for name, chosen in self.examples.items()},
        }
