"""Measuring the final weights of a run: report, pictures, JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import evaluation
from tfeff.data import splits
from tfeff.data.pipeline import Pipeline
from tfeff.data.store import Store
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.models import complexity
from tfeff.reporting import figure, tables
from tfeff.reporting.classification import classification_figures, per_class_rows, summary_rows
from tfeff.reporting.gallery import gallery_figure
from tfeff.reporting.training_curves import training_figure
from tfeff.training import build, checkpoint
from tfeff.training.progress import Reporter
from tfeff.training.tensorboard import Board
from tfeff.training.workdir import Workdir

GALLERY = 25
"""Pictures in the gallery of mistakes."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """A run's network on a split.

    Attributes:
        split: which one.
        report: `tfeff.evaluation.ClassificationReport.to_json()` and the split's name.
        files: everything written.
    """

    split: str
    report: dict[str, Any]
    files: Sequence[Path]

    def to_text(self) -> str:
        """Tables for the terminal, and the paths of what was written."""
        formats: dict[Path, list[str]] = {}
        for path in self.files:
            formats.setdefault(path.with_suffix(""), []).append(path.suffix.removeprefix("."))
        wrote = [f"wrote {path}.{_alternatives(suffixes)}" for path, suffixes in formats.items()]
        parts = [tables.text(summary_rows(self.report)), tables.text(per_class_rows(self.report)), "\n".join(wrote)]
        return "\n\n".join(parts)


def assess(workdir: Workdir, split: str, reporter: Reporter, model: keras.Model | None = None) -> Assessment:
    """Runs the final weights over every image of `split`; writes `evaluation_<split>.json` and figures.

    Args:
        workdir: of the run.
        split: of the run's source; `validation` is what the run held out.
        reporter: says what is being read.
        model: `build.trained_model(workdir)`, where it has been built already.

    Raises:
        UserError: when the run has not finished, or for a split that its source does not have.
    """
    settings, record = workdir.config(), workdir.dataset()
    if model is None:
        model = build.trained_model(workdir)
    with reporter.bars():
        images = build.split(settings, split, record, reporter.reading)
        labels, probabilities = predict(model, build.evaluation_pipeline(settings, images, model.resolution, (0, 1)))
    scores = evaluation.classification_report(labels, probabilities, record["class_names"]).to_json()
    report = {"split": split, "skipped_images": [image.id for image in images.skipped], **scores}
    if images.skipped:
        reporter.say(f"left out {len(images.skipped)} corrupt images, the first {images.skipped[0].id}")
    path = workdir.path / f"evaluation_{split}.json"
    write(path, json.dumps(report, indent=2) + "\n")

    figures = classification_figures(report)
    wrong = evaluation.confident_errors(labels, probabilities, GALLERY)
    if len(wrong):
        figures["mistakes"] = gallery_figure(
            pixels(images, wrong),
            [record["class_names"][label] for label in labels[wrong]],
            [record["class_names"][label] for label in probabilities[wrong].argmax(axis=1)],
            probabilities[wrong].max(axis=1),
            title="The most confident mistakes",
        )
    files = [path]
    for name, drawn in figures.items():
        files += figure.save(drawn, workdir.figures / f"{split}_{name}")
    board = Board(workdir.tensorboard)
    last = workdir.rows()[-1]["step"]
    headline = {
        f"{split}/accuracy": report["top1"],
        f"{split}/top5": report["top5"],
        f"{split}/calibration_error": report["calibration"]["expected_error"],
    }
    board.result(last, headline, {f"{split}/{name}": figure.rgb(drawn) for name, drawn in figures.items()})
    board.close()
    return Assessment(split, report, files)


def conclude(workdir: Workdir, reporter: Reporter, model: keras.Model | None = None) -> Assessment | None:
    """What a run ends with: its curves, the measures of its test split (else of its validation images), `result.json`.

    Args:
        workdir: of the run.
        reporter: says what is being read.
        model: `build.trained_model(workdir)`, where it has been built already.

    Returns:
        The assessment, or None when the source has no test split and nothing was held out.
    """
    settings, rows = workdir.config(), workdir.rows()
    _, kept = checkpoint.load(workdir.final)
    row = next((row for row in rows if row["epoch"] == kept["epoch"]), None)
    if row is None:
        raise UserError(f"{workdir.path}: metrics.jsonl has no row of epoch {kept['epoch']}, whose weights were kept")
    curves = figure.save(training_figure(rows, title=settings.model.name), workdir.figures / "training")
    test = settings.data.test_split
    known = build.split_names(settings)
    split = test if test is not None and splits.canonical_name(test) in known else "validation"
    held_out = split != "validation" or workdir.dataset()["validation_examples"]
    if model is None:
        model = build.trained_model(workdir)
    assessment = assess(workdir, split, reporter, model) if held_out else None
    counted = complexity.count(model)
    result = {
        "model": settings.model.name,
        "resolution": model.resolution,
        "params": counted.params,
        "macs": counted.macs,
        "activation_bytes": counted.activation_bytes,
        "epochs": rows[-1]["epoch"],
        "kept_epoch": row["epoch"],
        "training_seconds": sum(row["seconds"] for row in rows),
        "images_per_second": float(np.median([row["images_per_second"] for row in rows])),
        "input_wait": float(np.median([row["input_wait"] for row in rows])),
        "train_accuracy": row["train_accuracy"],
    }
    if "validation_accuracy" in row:
        result["validation_accuracy"] = row["validation_accuracy"]
    if assessment is not None:
        result |= {
            "split": split,
            "accuracy": assessment.report["top1"],
            "accuracy_interval": assessment.report["top1_interval"],
            "top5": assessment.report["top5"],
            "calibration_error": assessment.report["calibration"]["expected_error"],
        }
    workdir.write_result(result)
    if assessment is None:
        return None
    return Assessment(split, assessment.report, [*curves, *assessment.files])


def predict(model: keras.Model, pipeline: Pipeline) -> tuple[np.ndarray, np.ndarray]:
    """Labels int [n] and probabilities float32 [n, classes] of every image, in the store's order."""
    forward = tf.function(lambda images: tf.nn.softmax(model(images, training=False)), jit_compile=False)
    labels, probabilities = [], []
    for batch in pipeline.evaluation_batches():
        kept = batch["weight"].numpy() > 0
        probabilities.append(forward(batch["image"]).numpy()[kept])
        labels.append(batch["label"].numpy().argmax(axis=-1)[kept])
    return np.concatenate(labels), np.concatenate(probabilities)


def pixels(images: Store, positions: np.ndarray) -> list[np.ndarray]:
    """The images at `positions`, uint8 [height, width, channels] each."""
    return [image for batch in images.take(positions).chunks(len(positions)) for image in batch]


def _alternatives(suffixes: Sequence[str]) -> str:
    """Suffixes as a shell understands them: `json`, `{png,svg}`."""
    return suffixes[0] if len(suffixes) == 1 else f"{{{','.join(suffixes)}}}"
