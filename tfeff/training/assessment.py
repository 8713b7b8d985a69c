"""Evaluation of a finished run: report, figures, JSON."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from tfeff import tasks
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources.source import Source
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.models.cost import complexity
from tfeff.reporting import figure, tables
from tfeff.reporting.training_curves import training_figure
from tfeff.tasks.task import BatchPredictor, ImageTask
from tfeff.training import build, evaluation_split, selection
from tfeff.training.progress import Reporter
from tfeff.training.tensorboard import Board
from tfeff.training.workdir import Workdir


@dataclass(frozen=True, eq=False)
class Assessment:
    """Results of a run's network on a split.

    Attributes:
        split: name of the split.
        task: the task of the network.
        report: the report of the task, such as `tfeff.evaluation.ClassificationReport.to_json()`, and the split's name.
        files: all files written.
    """

    split: str
    task: ImageTask
    report: dict[str, Any]
    files: Sequence[Path]

    def to_text(self) -> str:
        """Tables for the terminal and the paths of the written files."""
        formats: dict[Path, list[str]] = {}
        for path in self.files:
            formats.setdefault(path.with_suffix(""), []).append(path.suffix.removeprefix("."))
        wrote = [f"wrote {path}.{_alternatives(suffixes)}" for path, suffixes in formats.items()]
        return "\n\n".join([*map(tables.text, self.task.tables(self.report)), "\n".join(wrote)])


@dataclass(frozen=True, eq=False)
class SplitImages:
    """The images on which a finished run is evaluated.

    Attributes:
        split: name of the split.
        images: its images at the size of the run's cache.
        notes: what the user should know about them, one line each.
    """

    split: str
    images: ImageCache
    notes: tuple[str, ...]


def split_images(
    workdir: Workdir, split: str | None, reporter: Reporter, source: Callable[[], Source] | None = None
) -> SplitImages:
    """Reads the images of a split of a finished run; arguments and errors as for `assess`."""
    settings, record = workdir.config(), workdir.dataset()
    opened = source() if source else selection.open_source(settings)
    note = ""
    if split is None:
        final = evaluation_split.default(settings, record, opened)
        if final is None:
            raise UserError(
                f"--workdir={workdir.path}: nothing to evaluate: {settings.data.source} has neither a test nor a "
                "validation split, and the run held out no images"
            )
        split, note = final
    images = evaluation_split.images(settings, split, record, reporter.reading, opened)
    return SplitImages(split, images, (*([note] if note else []), *images.dataset.notes))


def assess(
    workdir: Workdir,
    split: str | None,
    reporter: Reporter,
    model: keras.Model | None = None,
    *,
    source: Callable[[], Source] | None = None,
) -> Assessment:
    """Evaluates the final weights on all images of `split`; writes `evaluation_<split>.json` and figures.

    Args:
        workdir: the workdir of the run.
        split: a split of the run's source; `validation` is what the run validated on. None: the test split; if there is
            none, the validation images.
        reporter: reports progress.
        model: `build.trained_model(workdir)`, if it is already built.
        source: opens the run's source; default `selection.open_source`.

    Raises:
        UserError: if the run is not finished, or the dataset does not have the split.
    """
    settings = workdir.config()
    task = tasks.create(settings.task)
    if model is None:
        model = build.trained_model(workdir)
    with reporter.bars():
        read = split_images(workdir, split, reporter, source)
        split, images, notes = read.split, read.images, read.notes
        pipeline = build.evaluation_pipeline(settings, images, model.size, (0, 1))
        predictions = BatchPredictor(task.predictor(model), task)(pipeline)
        evaluation = task.evaluate(predictions, pipeline, workdir.validated(task.scores))
    report = {"split": split, "skipped_images": [image.id for image in images.skipped], **evaluation.report}
    if notes:
        report["notes"] = list(notes)
    for line in notes:
        reporter.say(line)
    if images.skipped:
        reporter.say(f"skipped {len(images.skipped)} corrupt images, the first is {images.skipped[0].id}")
    path = workdir.path / f"evaluation_{split}.json"
    write(path, json.dumps(report, indent=2) + "\n")

    board = Board(workdir.tensorboard)
    last, scalars = workdir.rows()[-1]["step"], task.scalars(report)
    files = [path, *publish(board, workdir.figures, (split,), scalars, evaluation.figures, step=last)]
    board.close()
    return Assessment(split, task, report, files)


def publish(
    board: Board,
    directory: Path,
    name: Sequence[str],
    scalars: Mapping[str, float],
    figures: Mapping[str, Figure],
    *,
    step: int,
) -> list[Path]:
    """Saves figures as files, and writes scalars and figures to TensorBoard.

    Args:
        board: the event files.
        directory: of the figures.
        name: parts of the name of everything, such as the split.
        scalars: metrics by name.
        figures: figures by name.
        step: of the event files.

    Returns:
        The files of the figures.
    """
    files = list[Path]()
    for title, drawn in figures.items():
        files += figure.save(drawn, directory / "_".join((*name, title)))
    metrics = {"/".join((*name, key)): value for key, value in scalars.items()}
    board.result(step, metrics, {"/".join((*name, title)): figure.rgb(drawn) for title, drawn in figures.items()})
    return files


def conclude(
    workdir: Workdir, reporter: Reporter, model: keras.Model | None = None, source: Callable[[], Source] | None = None
) -> Assessment | None:
    """Finishes a run: training curves, evaluation on the test split (else on the validation images), `result.json`.

    Its `training_seconds` are those of the updates of all epochs, over all calls, with the time to compute stored
    features of training images. Validation, checkpoints and updates that were lost when a call was killed do not count.

    Args:
        workdir: the workdir of the run.
        reporter: reports progress.
        model: `build.trained_model(workdir)`, if it is already built.
        source: opens the run's source; default `selection.open_source`.

    Returns:
        The evaluation, or None if there is no test split and no validation set.
    """
    settings, rows, row = workdir.config(), workdir.rows(), workdir.kept_row()
    if row is None:
        raise UserError(f"{workdir.path}: metrics.jsonl has no row of the kept epoch")
    curves = figure.save(training_figure(rows, title=settings.model.name), workdir.figures / "training")
    opened = source() if source else selection.open_source(settings)
    final = evaluation_split.default(settings, workdir.dataset(), opened)
    if model is None:
        model = build.trained_model(workdir)
    assessment = assess(workdir, None, reporter, model, source=lambda: opened) if final is not None else None
    counted = complexity.count(model, regions=model.regions)
    result = {
        "model": settings.model.name,
        "resolution": model.resolution,
        "params": counted.params,
        "macs": counted.macs,
        **({} if model.regions is None else {"regions": model.regions}),
        "activation_bytes": counted.activation_bytes,
        "epochs": rows[-1]["epoch"],
        "kept_epoch": row["epoch"],
        "training_seconds": sum(row["seconds"] for row in rows),
        "images_per_second": float(np.median([row["images_per_second"] for row in rows])),
        "input_wait": float(np.median([row["input_wait"] for row in rows])),
    }
    task = tasks.create(settings.task)
    for key in (f"{part}_{name}" for part in ("train", "validation") for name in (*task.metrics, *task.scores)):
        if key in row:
            result[key] = row[key]
    if assessment is not None:
        result |= {"split": assessment.split, **assessment.task.result(assessment.report)}
    workdir.write_result(result)
    if assessment is None:
        return None
    return Assessment(assessment.split, assessment.task, assessment.report, [*curves, *assessment.files])


def _alternatives(suffixes: Sequence[str]) -> str:
    """File suffixes in shell syntax: `json`, `{png,svg}`."""
    return suffixes[0] if len(suffixes) == 1 else f"{{{','.join(suffixes)}}}"
