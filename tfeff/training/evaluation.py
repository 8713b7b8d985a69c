"""Evaluation of a finished run: report, figures, JSON."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from tfeff import reports, selection
from tfeff.data.contents import Contents
from tfeff.data.dataset import Dataset
from tfeff.data.input.cache import ImageCache
from tfeff.data.sources.source import Source
from tfeff.data.splits import file_part
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.evaluation.retrieval import sample
from tfeff.models.cost import complexity
from tfeff.reporting import figure
from tfeff.reporting.spreadsheet import table_text
from tfeff.reporting.training_curves import training_figure
from tfeff.reports import Evaluation, Picture
from tfeff.reports.activation import explained
from tfeff.reports.classification import classified_lines
from tfeff.tasks.task import CLASSIFICATION, Batches, BatchPredictor, Predictions
from tfeff.training import exposure
from tfeff.training.card import write_card
from tfeff.training.findings import RunEvaluation, commands, trust
from tfeff.training.page import write_page
from tfeff.training.plan import Plan, trained_model
from tfeff.training.process import as_before
from tfeff.training.progress import Reporter
from tfeff.training.tensorboard import Board
from tfeff.training.workdir import Workdir

MOST_CLASSES = 100
"""With more classes, TensorBoard gets no scalars of each."""
EXPLAINED = 4
"""Mistakes, and correct predictions, with class activation maps."""
GALLERY = 10_000
"""Training images at most that images are compared with, or one of each class if there are more classes."""

Runtime = Callable[[BatchPredictor, Batches, int], tuple[Callable[[Batches], Predictions], str]]
"""From what predicts in TensorFlow, the images of a split and their number: what predicts, and one line about it."""


@dataclass(frozen=True, eq=False)
class SplitImages:
    """The images on which a finished run is evaluated.

    Attributes:
        split: name of the split, see `selection.split_name`.
        images: its images at the size of the run's cache.
        notes: what the user should know about them, one line each.
        found: what the split holds; None of a part of the training split, which has been said.
        replaces: the one of the notes that says why these images stand in for a test split; empty if they do not.
    """

    split: str
    images: ImageCache
    notes: tuple[str, ...]
    found: Contents | None
    replaces: str = ""


def split_images(
    workdir: Workdir, wanted: selection.Request, split: str | None, reporter: Reporter, source: Source | None = None
) -> SplitImages:
    """Reads the images of a split of a finished run; arguments and errors as for `evaluate_run`."""
    record = workdir.dataset()
    opened = source or selection.open_source(wanted)
    note = ""
    if split is None:
        final = selection.final_split(wanted, record, opened)
        if final is None:
            raise UserError(
                f"--workdir={workdir.path}: nothing to evaluate: {wanted.data.source} has neither a test nor a "
                "validation split, and the run held out no images"
            )
        split, note = final
    images = selection.evaluation_images(wanted, split, record, workdir.fingerprint, reporter.reading, opened)
    held_out = images.dataset.name == record["found"]["train"]["name"]
    found = None if held_out else selection.contents(wanted, images.dataset, images)
    skipped = selection.skipped_note([image.id for image in images.skipped]) if held_out else ()
    notes = [*([note] if note else []), *images.dataset.notes, *skipped, *_grouped(images.dataset)]
    return SplitImages(selection.split_name(wanted, split, record, opened), images, tuple(notes), found, note)


def _grouped(images: Dataset) -> list[str]:
    """Returns a note on intervals if images belong together."""
    images = images.uncut
    groups = 0 if images.groups is None else len(np.unique(images.groups))
    if groups in (0, len(images)):
        return []
    many = f"{len(images):,} images of {groups:,} groups"
    return [f"intervals count {many} as independent, so they are too narrow if images of a group are alike"]


def evaluate_run(
    workdir: Workdir,
    split: str | None,
    reporter: Reporter,
    model: keras.Model | None = None,
    *,
    plan: Plan | None = None,
    source: Source | None = None,
    runtime: Runtime | None = None,
) -> RunEvaluation:
    """Evaluates the final weights on all images of `split`.

    Writes `evaluation_<split>.json`, `predictions_<split>.csv` and figures.

    Args:
        workdir: the workdir of the run.
        split: a split of the run's source; `validation` is what the run validated on. None: the test split; if there is
            none, the validation images.
        reporter: reports progress.
        model: `trained_model(workdir)`, if it is already built.
        plan: the plan of the run, if it is already open.
        source: the source of its images, if it is already open.
        runtime: what predicts; None: TensorFlow.

    Raises:
        UserError: if the run is not finished, or the dataset does not have the split.
    """
    plan = plan or Plan.opened(workdir)
    task = plan.task
    evaluator = reports.evaluator(task.kind)
    if model is None:
        model = trained_model(workdir, plan=plan)
    source = source or selection.open_source(plan.images)
    with as_before(deterministic=plan.training.deterministic), reporter.bars():
        # Known unreadable images are listed there, so not all images have to be decoded to find them.
        wanted = dataclasses.replace(plan.images, directory=workdir.unreadable)
        read = split_images(workdir, wanted, split, reporter, source)
        split, images, notes = read.split, read.images, read.notes
        role = selection.role(plan.images, workdir.dataset(), source, split)
        if role != "train":
            notes = *notes, *exposure.notes(plan.settings.sources, images.dataset, split)
        pipeline = plan.batches(images, model, "evaluation", reporter.reading)
        tensorflow = BatchPredictor(task.predictor(model), task)
        predictor, note = (tensorflow, "") if runtime is None else runtime(tensorflow, pipeline, len(images))
        if note:
            notes = (*notes, note)
        predictions = predictor(pipeline)

        def training() -> tuple[Predictions, np.ndarray] | None:
            if not (images.dataset.labels < len(plan.class_names)).any() or workdir.dataset().get("given"):
                return None
            dataset, places = selection.trained_part(plan.images, source)
            labels = dataset.labels[places]
            if np.isin(np.array(dataset.ids)[places], images.dataset.ids).any():  # each would be its own neighbor
                return None
            places = places[sample(labels, max(GALLERY, len(np.unique(labels))), per_class=1)]
            train = selection.cache_part(plan.images, dataset, places, reporter.reading)
            return predictor(plan.batches(train, model, "evaluation", reporter.reading)), train.dataset.labels

        evaluation = evaluator.evaluate_against(predictions, pipeline, workdir.validated(task.scores), training)
        activation = _activation(plan, model, images, evaluation) if task.kind is CLASSIFICATION else []
    report = {"split": split, "skipped_images": [image.id for image in images.skipped], **evaluation.report}
    if read.found is not None:
        report["found"] = read.found.to_dict()
        reporter.found({split: read.found})
    if notes:
        report["notes"] = list(notes)
    others = [line for line in notes if line != read.replaces]  # which `trust` says
    for line in others:
        reporter.note(line)
    named = file_part(split)
    path = workdir.path / f"evaluation_{named}.json"
    write(path, json.dumps(report, indent=2) + "\n")

    board = Board(workdir.tensorboard)
    last, scalars = max((row["step"] for row in workdir.rows()), default=0), evaluator.scalars(report)
    if len(images.dataset.class_names) <= MOST_CLASSES:
        scalars |= {name: value for name, value in evaluator.class_scalars(report).items() if value is not None}
    files = [path, *publish(board, workdir.figures, named, scalars, evaluation.figures, step=last)]
    board.close()
    evaluated = RunEvaluation(
        report,
        evaluation.figures,
        evaluation.galleries,
        evaluation.predictions,
        evaluation.mistakes,
        split=split,
        evaluator=evaluator,
        workdir=workdir.path,
        files=files,
        answer=evaluator.answer(report),
        trust=trust(plan, workdir, report, evaluator, role),
        notes=others,
        drawn=selection.how_drawn(plan.images, workdir.dataset(), source),
        activation=activation,
        commands=commands(workdir.path, plan),
    )
    if evaluated.predictions:
        write(evaluated.listing, table_text(evaluated.predictions))
        files.insert(0, evaluated.listing)
    return evaluated


def evaluate_again(
    workdir: Workdir, split: str | None, reporter: Reporter, runtime: Runtime | None = None
) -> RunEvaluation:
    """Does what `evaluate_run` does, and updates the result, the page and the card, unless they show another split.

    Training images never become the result: what a network knows of them says nothing about others.
    """
    plan = Plan.opened(workdir)
    source = selection.open_source(plan.images)
    evaluated = evaluate_run(workdir, split, reporter, plan=plan, source=source, runtime=runtime)
    result = workdir.result()
    role = selection.role(plan.images, workdir.dataset(), source, evaluated.split)
    if role == "train" or result.get("split", evaluated.split) != evaluated.split:
        return evaluated
    if result:
        result.pop("not_evaluated", None)
        workdir.write_result({**result, "split": evaluated.split, **evaluated.evaluator.result(evaluated.report)})
    write_card(workdir, evaluated, plan)
    return dataclasses.replace(evaluated, page=write_page(workdir, evaluated, plan))


def _activation(plan: Plan, model: keras.Model, images: ImageCache, evaluation: Evaluation) -> list[Picture]:
    """Returns the class activation maps of the most confident mistakes and correct predictions."""
    rows, names = evaluation.predictions, list(images.dataset.class_names)
    order = sorted(range(len(rows)), key=lambda index: -rows[index]["probability"])
    chosen = [
        index
        for right in (False, True)
        for index in [each for each in order if rows[each]["correct"] is right][:EXPLAINED]
    ]
    chosen.sort(key=lambda index: (rows[index]["correct"], -rows[index]["probability"]))
    pixels = plan.inputs(images.take(np.array(chosen, np.int64)), model.size)
    classes = [names.index(rows[index]["prediction"]) for index in chosen]
    return explained(model, pixels, classes, [classified_lines(rows[index]) for index in chosen])


def publish(
    board: Board,
    directory: Path,
    split: str,
    scalars: Mapping[str, float],
    figures: Mapping[str, Figure],
    *,
    step: int,
) -> list[Path]:
    """Saves figures as files, and writes scalars and figures to TensorBoard.

    Args:
        board: the event files.
        directory: where the figures are saved.
        split: name of the split, for names of files and tags.
        scalars: metrics by name.
        figures: figures by name.
        step: the step under which TensorBoard shows them.

    Returns:
        The files of the figures.
    """
    files = list[Path]()
    for title, drawn in figures.items():
        files += figure.save(drawn, directory / f"{split}_{title}")
    # The curves of the training have tags of their own.
    group = f"evaluation_{split}" if split in ("train", "validation") else split
    metrics = {f"{group}/{key}": value for key, value in scalars.items()}
    board.result(step, metrics, {f"{group}/{title}": figure.rgb(drawn) for title, drawn in figures.items()})
    return files


def finish_run(
    workdir: Workdir, reporter: Reporter, model: keras.Model | None = None, source: Callable[[], Source] | None = None
) -> RunEvaluation | None:
    """Finishes a run: training curves, evaluation on the test split (else on the validation images), `result.json`.

    Its `training_seconds` are those of the updates of all epochs, over all calls, with the time to compute stored
    features of training images. Validation, checkpoints and updates that were lost when a call was killed do not count.

    Args:
        workdir: the workdir of the run.
        reporter: reports progress.
        model: `trained_model(workdir)`, if it is already built.
        source: opens the run's source; default `selection.open_source`.

    Returns:
        The evaluation, or None if there is no test split and no validation set, or no object in it.
    """
    plan, rows, row = Plan.opened(workdir), workdir.rows(), workdir.kept_row()
    if not rows:
        raise UserError(f"{workdir.path / 'metrics.jsonl'}: no metrics are left of any epoch; train in a new --workdir")
    curves = figure.save(training_figure(rows, title=plan.settings.model.name), workdir.figures / "training")
    opened = source() if source else selection.open_source(plan.images)
    final = selection.final_split(plan.images, workdir.dataset(), opened)
    if model is None:
        model = trained_model(workdir, plan=plan)
    evaluation, reason = None, "there is neither a test split nor a validation set"
    if final is not None:
        try:
            evaluation = evaluate_run(workdir, None, reporter, model, plan=plan, source=opened)
        except selection.NoObjectsError as error:
            reason = str(error)
    if evaluation is None:
        reporter.say(f"not evaluated: {reason}")
    costs = {"params": model.predictor().count_params()}
    try:
        counted = complexity.count(model, regions=model.regions)
        costs["macs"] = counted.macs
        if not plan.settings.task.CUTS_REGIONS:  # their heads are trained on stored features
            costs["activation_bytes"] = counted.activation_bytes
    except UserError as error:  # a layer of an own backbone
        reporter.say(f"{workdir.path}: result.json has no multiply-adds and activation memory: {error}")
    result = {
        "model": plan.settings.model.name,
        "resolution": model.resolution,
        **costs,
        **({} if model.regions is None else {"regions": model.regions}),
        "epochs": rows[-1]["epoch"],
        "kept_epoch": row["epoch"],
        "training_seconds": sum(row["seconds"] for row in rows),
        "images_per_second": float(np.median([row["images_per_second"] for row in rows])),
        "input_wait": float(np.median([row["input_wait"] for row in rows])),
        **({"not_evaluated": reason} if evaluation is None else {}),
    }
    if lost := sorted(set(range(1, rows[-1]["epoch"])) - {each["epoch"] for each in rows}):
        result["epochs_without_metrics"] = lost  # their seconds are missing in the sum
    task = plan.task
    for key in (f"{part}_{name}" for part in ("train", "validation") for name in (*task.metrics, *task.scores)):
        if key in row:
            result[key] = row[key]
    if evaluation is not None:
        result |= {"split": evaluation.split, **evaluation.evaluator.result(evaluation.report)}
    workdir.write_result(result)
    page = write_page(workdir, evaluation, plan)
    write_card(workdir, evaluation, plan)
    return evaluation and dataclasses.replace(evaluation, files=[*curves, *evaluation.files], page=page)
