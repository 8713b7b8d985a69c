"""The chain of a diagnosis: which links are checked, in which order, and what is drawn."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
from matplotlib.figure import Figure

from tfeff import models
from tfeff.analysis.diagnosis import (
    assignment,
    classes,
    images,
    predicted_labels,
    predicted_objects,
    preparation,
    saliency,
)
from tfeff.analysis.diagnosis.assignment import check_assignment
from tfeff.analysis.diagnosis.boxes import check_boxes
from tfeff.analysis.diagnosis.classes import check_classes
from tfeff.analysis.diagnosis.finding import Diagnosis, Link
from tfeff.analysis.diagnosis.images import Survey, check_images, check_splits
from tfeff.analysis.diagnosis.objects import check_objects
from tfeff.analysis.diagnosis.predicted_labels import check_classifier
from tfeff.analysis.diagnosis.predicted_objects import check_detector
from tfeff.analysis.diagnosis.preparation import check_preparation
from tfeff.analysis.diagnosis.subject import TEST, TRAIN, VALIDATION, Subject
from tfeff.analysis.diagnosis.training_curve import check_training_curve
from tfeff.analysis.pixel_statistics import pixels_of
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.input.batches import Batches
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.reporting.box_drawing import draw_detections
from tfeff.reporting.diagnosis import assignment_figure, score_figure, stage_figure
from tfeff.reporting.figure import save_png
from tfeff.reporting.gallery import pictures_figure
from tfeff.reporting.training_curves import training_figure
from tfeff.tasks.object_detection import ObjectDetectionTask, detection_threshold
from tfeff.tasks.task import BatchPredictor
from tfeff.training import Plan, Workdir, trained_model
from tfeff.training.freezing import frozen_params
from tfeff.training.state import weights_for_evaluation

PREDICTED = 64
"""Images of a split for which the network predicts, at most."""
DRAWN = 6
"""Images of a split that are drawn."""
PLOTTED = 4000
"""Training objects in a scatter plot, at most."""
DPI = 130


@dataclass(frozen=True, eq=False)
class Report:
    """A diagnosis with its figures by name."""

    diagnosis: Diagnosis
    figures: dict[str, Figure]

    def save(self, out: Path) -> list[Path]:
        """Writes `analysis.json` and the figures as PNG; returns their paths."""
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / "analysis.json"]
        write(paths[0], json.dumps(self.diagnosis.to_dict(), indent=2) + "\n")
        for name, drawn in self.figures.items():
            paths.append(out / f"{name}.png")
            save_png(drawn, paths[-1], dpi=DPI)
        return paths


def diagnose(subject: Subject, split: str | None, say: Callable[[str], None]) -> Report:
    """Checks all links of a subject.

    Args:
        split: role of the images that are compared with the training images: `validation` or `test`. None: the
            validation images, else those of the test split.

    Raises:
        UserError: there is no such split.
    """
    if split is not None and split not in subject.splits:
        known = ", ".join(role for role in subject.splits if role != TRAIN) or "none"
        raise UserError(f"--split={split}: there is no such split besides the training images; known: {known}")
    settings, figures = subject.settings, dict[str, Figure]()
    say("reading images")
    surveys = {role: images.survey(each) for role, each in subject.splits.items()}
    say("checking annotations")
    links = examine_images(subject, surveys)
    if subject.detects:
        figures["objects"] = _drawn(subject.splits)
    if settings is None:
        reason = "R-CNN's stages have their own report (tfeff.evaluate)"
        return Report(Diagnosis(subject=subject.name, links=[*links, _predictions_skipped(reason)]), figures)
    say("preparing training images")
    prepared: preparation.PreparedImages | str
    try:
        prepared = preparation.prepare(subject)
    except UserError as error:
        prepared = str(error)
    links.append(check_preparation(subject, prepared, surveys[TRAIN]))
    task = subject.task
    if isinstance(task, ObjectDetectionTask):
        assigned = None
        if not isinstance(prepared, str):
            say("assigning objects")
            assigned = assignment.assign(task, subject.description, prepared)
            if len(assigned.sides):
                shown = evenly_spaced(len(assigned.sides), PLOTTED)
                figures["boxes"] = assignment_figure(
                    assigned.sides[shown],
                    assigned.overlap[shown],
                    assigned.learned[shown],
                    assigned.sizes_hw,
                    size=subject.description.size,
                )
        links.append(check_assignment(subject, assigned, prepared))
    if subject.workdir is not None:
        trained, drawn = _trained(subject, subject.workdir, split, say)
        links, figures = links + trained, figures | drawn
    return Report(Diagnosis(subject=_title(subject), links=links), figures)


def examine_images(subject: Subject, surveys: Mapping[str, Survey]) -> list[Link]:
    """The links of the dataset: images, boxes, classes, objects, splits."""
    settings, by_role = subject.settings, subject.splits
    skips = settings is not None and settings.data.corrupt_images == "skip"
    links = [check_images(by_role, surveys, subject.lost, skips=skips)]
    if subject.detects:
        links.append(check_boxes(subject.source.name, by_role))
    return [*links, check_classes(by_role), check_objects(by_role), check_splits(by_role, surveys)]


_Predictions = tuple[Link, bool | None, dict[str, Figure]]
"""The link of the predictions, whether the network has learned the training images (None: unknown), and figures."""


def _trained(
    subject: Subject, workdir: Workdir, split: str | None, say: Callable[[str], None]
) -> tuple[list[Link], dict[str, Figure]]:
    """The links of training and predictions, and their figures by name."""
    assert subject.settings is not None
    settings, task = subject.settings, subject.task
    figures = dict[str, Figure]()
    if workdir.rows():
        figures["training"] = training_figure(workdir.rows(), title=settings.model.name)
    network, frozen = _network(workdir, subject.plan), None
    found: _Predictions = _predictions_skipped("the run has no checkpoint"), None, {}
    if network is not None:
        if settings.optimizer.frozen:
            frozen = frozen_params(network, settings.optimizer.frozen) / max(network.count_params(), 1)
        say("predicting")
        other = split or next((role for role in (VALIDATION, TEST) if role in subject.splits), None)
        pipelines = {
            role: subject.plan.evaluation_pipeline(
                preparation.cached(subject.plan.images, subject.splits[role], PREDICTED), network.size
            )
            for role in (TRAIN, *([other] if other else []))
        }
        if isinstance(task, ObjectDetectionTask):
            found = _predict_objects(subject, workdir, task, network, pipelines)
        elif task.kind.annotations == "labels":
            found = _predict_labels(subject, network, pipelines)
        else:
            found = _predictions_skipped(f"task.name={settings.task.name} has no stages"), None, {}
    link, learned, drawn = found
    return [check_training_curve(subject, learned=learned, frozen=frozen), link], figures | drawn


def _predict_objects(
    subject: Subject,
    workdir: Workdir,
    task: ObjectDetectionTask,
    network: keras.Model,
    pipelines: Mapping[str, Batches],
) -> _Predictions:
    """Detections of some images of the training split and, last, of the other split."""
    names = subject.train.class_names
    threshold = detection_threshold(workdir.validated(task.scores) if workdir.final.is_file() else {})
    predictions = {role: predicted_objects.predict(task, network, each, threshold) for role, each in pipelines.items()}
    figures = {
        "recall": stage_figure(
            {role: {stage.value: value for stage, value in each.recall().items()} for role, each in predictions.items()}
        ),
        "scores": score_figure(
            {role: (each.on_objects, each.on_background) for role, each in predictions.items()},
            minimum=task.section.suppression.minimum_score,
            threshold=threshold,
        ),
    }
    if all(each.finite for each in predictions.values()):
        role, found = list(predictions.items())[-1]
        chosen = saliency.choose(found.detections, found.objects, DRAWN)
        if chosen:
            explained = saliency.explain(task, network, pipelines[role], found.detections, chosen, names)
            figures["saliency"] = pictures_figure(*explained)
    link = check_detector(task, predictions, names, classes.counts(subject.train)[:-2])
    return link, predicted_objects.learned(predictions[TRAIN]), figures


def _predict_labels(subject: Subject, network: keras.Model, pipelines: Mapping[str, Batches]) -> _Predictions:
    """Predictions of a classifier for some images of the training split and the other split."""
    predictor = BatchPredictor(subject.task.predictor(network), subject.task)
    predictions = {
        role: predicted_labels.ClassifierPredictions(each.images.dataset.labels, predictor(each)["probabilities"])
        for role, each in pipelines.items()
    }
    link = check_classifier(predictions, subject.train.class_names)
    return link, predicted_labels.learned(predictions[TRAIN]), {}


def _network(workdir: Workdir, plan: Plan) -> keras.Model | None:
    """The trained network; of an unfinished run, that of its last checkpoint; None if it has none."""
    if workdir.final.is_file():
        return trained_model(workdir, plan=plan)
    saved = workdir.checkpoints.load_latest(lambda _: None)
    if saved is None:
        return None
    keras.mixed_precision.set_dtype_policy("float32")
    network = plan.build_network()
    models.load_weights(network, weights_for_evaluation(saved.arrays))
    return network


def _drawn(by_role: Mapping[str, Dataset]) -> Figure:
    """Some images of each split with their objects and the names of their classes."""
    pictures, titles = [], []
    for role, each in by_role.items():
        for index in evenly_spaced(len(each), DRAWN).tolist():
            image = pixels_of(each, index)
            if image is None:
                continue
            present = each.objects[index]
            names = [each.class_names[label] for label in present.labels]
            pictures.append(draw_detections(image, [], [], objects_yxyx=present.boxes_yxyx, object_names=names))
            titles.append(f"{role}: {each.ids[index]}, {len(present)} objects")
    return pictures_figure(pictures, titles)


def _predictions_skipped(reason: str) -> Link:
    return Link(name="predictions", question="are the predictions correct?", skipped=reason)


def _title(subject: Subject) -> str:
    assert subject.settings is not None
    counts = ", ".join(f"{role} {len(each):,}" for role, each in subject.splits.items())
    model = subject.settings.model.name
    size = subject.description.resolution
    return f"{subject.name}: {counts} images; {subject.settings.task.name} on {model} at {size} pixels"
