"""The chain of a diagnosis: which links are checked, in which order, and what is drawn."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
from matplotlib.figure import Figure

from tfeff import models
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.reporting.detections import draw_detections
from tfeff.reporting.diagnosis import assignment_figure, examples_figure, score_figure, stage_figure
from tfeff.reporting.training_curves import training_figure
from tfeff.tasks.object_detection import DEFAULT_THRESHOLD, ObjectDetection
from tfeff.tasks.task import BatchPredictor
from tfeff.training import Workdir, build
from tfeff.training.freezing import frozen_params
from tfeff.workbench.diagnosis import (
    assignment,
    boxes,
    classes,
    classifications,
    detections,
    images,
    preparation,
    saliency,
    training_curve,
)
from tfeff.workbench.diagnosis.finding import Diagnosis, Link
from tfeff.workbench.diagnosis.images import Survey
from tfeff.workbench.diagnosis.splits import check as check_splits
from tfeff.workbench.diagnosis.subject import TEST, TRAIN, VALIDATION, Subject, evenly

PREDICTED = 64
"""Images of a split for which the network predicts, at most."""
DRAWN = 6
"""Images of a split that are drawn."""
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
            drawn.savefig(paths[-1], dpi=DPI, metadata={"Software": None})
        return paths


def diagnose(subject: Subject, split: str | None, say: Callable[[str], None]) -> Report:
    """Checks all links of a subject.

    Args:
        subject: a dataset or a run.
        split: role of the images that are compared with the training images: `validation` or `test`. None: the
            validation images, else those of the test split.
        say: called with the name of each check.

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
        return Report(Diagnosis(subject=subject.name, links=[*links, _skipped("predictions", reason)]), figures)
    say("preparing training images")
    prepared: preparation.Prepared | str
    try:
        prepared = preparation.prepare(subject)
    except UserError as error:
        prepared = str(error)
    links.append(preparation.check(subject, prepared, surveys[TRAIN]))
    task = subject.task
    if isinstance(task, ObjectDetection):
        assigned = None
        if not isinstance(prepared, str):
            say("assigning objects")
            assigned = assignment.assign(task, subject.description, prepared)
            if len(assigned.sides):
                figures["boxes"] = assignment_figure(
                    assigned.sides, assigned.overlap, assigned.learned, assigned.sizes_hw, size=subject.description.size
                )
        links.append(assignment.check(subject, assigned, prepared))
    if subject.workdir is not None:
        links += _trained(subject, subject.workdir, split, surveys[TRAIN], figures, say)
    return Report(Diagnosis(subject=_title(subject), links=links), figures)


def examine_images(subject: Subject, surveys: Mapping[str, Survey]) -> list[Link]:
    """The links of the dataset: images, boxes, classes, objects, splits.

    Args:
        subject: a dataset or a run.
        surveys: its images by role, decoded.
    """
    settings, splits = subject.settings, subject.splits
    skips = settings is not None and settings.data.corrupt_images == "skip"
    links = [images.check(splits, surveys, skips=skips)]
    if subject.detects:
        links.append(boxes.check(subject.source.name, splits, surveys))
    return [*links, classes.check_labels(splits), classes.check_objects(splits), check_splits(splits, surveys)]


def _trained(
    subject: Subject,
    workdir: Workdir,
    split: str | None,
    survey: Survey,
    figures: dict[str, Figure],
    say: Callable[[str], None],
) -> list[Link]:
    """The links of training and predictions."""
    assert subject.settings is not None
    settings, task = subject.settings, subject.task
    if workdir.rows():
        figures["training"] = training_figure(workdir.rows(), title=settings.model.name)
    network = _network(workdir)
    if network is None:
        return [
            training_curve.check(subject, learned=None, frozen=None),
            _skipped("predictions", "the run has no checkpoint"),
        ]
    frozen = None
    if settings.optimizer.frozen:
        frozen = frozen_params(network, settings.optimizer.frozen) / max(network.count_params(), 1)
    say("predicting")
    other = split or next((role for role in (VALIDATION, TEST) if role in subject.splits), None)
    roles = [TRAIN, *([other] if other else [])]
    pipelines = {
        role: build.evaluation_pipeline(
            settings, preparation.cached(settings, subject.splits[role], PREDICTED), network.size, (0, 1)
        )
        for role in roles
    }
    if isinstance(task, ObjectDetection):
        validated = workdir.validated(task.scores) if workdir.final.is_file() else {}
        threshold = task.threshold(validated)
        threshold = DEFAULT_THRESHOLD if threshold is None else threshold
        examined = {role: detections.examine(task, network, each, threshold) for role, each in pipelines.items()}
        counts = classes.counts(subject.train)[:-2]
        link = detections.check(task, examined, subject.train.class_names, counts, threshold)
        known = detections.learned(examined[TRAIN])
        figures["recall"] = stage_figure({role: each.recall() for role, each in examined.items()})
        figures["scores"] = score_figure(
            {role: (each.on_objects, each.on_background) for role, each in examined.items()},
            minimum=task.section.suppression.minimum_score,
            threshold=threshold,
        )
        if all(each.finite for each in examined.values()):
            found = examined[roles[-1]]
            chosen = saliency.choose(found.detections, found.objects, subject.train.num_classes, DRAWN)
            names = subject.train.class_names
            if chosen:
                explained = saliency.explain(task, network, pipelines[roles[-1]], found.detections, chosen, names)
                figures["saliency"] = examples_figure(*explained)
    elif task.annotations == "labels":
        predictor = BatchPredictor(task.predictor(network), task)
        classified = {
            role: classifications.Classified(each.images.dataset.labels, predictor(each)["probabilities"])
            for role, each in pipelines.items()
        }
        link = classifications.check(classified, subject.train.class_names)
        known = classifications.learned(classified[TRAIN])
    else:
        link, known = _skipped("predictions", f"task.name={settings.task.name} has no stages"), None
    return [training_curve.check(subject, learned=known, frozen=frozen), link]


def _network(workdir: Workdir) -> keras.Model | None:
    """The trained network; of an unfinished run, that of its last checkpoint; None if it has none."""
    if workdir.final.is_file():
        return build.trained_model(workdir)
    saved = workdir.checkpoints.load_latest(lambda _: None)
    if saved is None:
        return None
    keras.mixed_precision.set_dtype_policy("float32")
    network = build.model(workdir.config(), workdir.dataset())
    averaged = any(name.startswith("average/") for name in saved.arrays)
    prefix = "average/" if averaged else "model/"
    models.load_weights(
        network, {name.removeprefix(prefix): each for name, each in saved.arrays.items() if name.startswith(prefix)}
    )
    return network


def _drawn(splits: Mapping[str, Dataset]) -> Figure:
    """Some images of each split with their objects and the names of their classes."""
    pictures, titles = [], []
    for role, each in splits.items():
        for index in evenly(len(each), DRAWN).tolist():
            try:
                image = decoding.decode(each.encoded(index), each.ids[index])
            except (UserError, OSError):
                continue
            objects = each.objects[index]
            names = [each.class_names[label] for label in objects.labels]
            pictures.append(draw_detections(image, [], [], objects_yxyx=objects.boxes_yxyx, object_names=names))
            titles.append(f"{role}: {each.ids[index]}, {len(objects)} objects")
    return examples_figure(pictures, titles)


def _skipped(name: str, reason: str) -> Link:
    return Link(name=name, question="where do objects get lost?", skipped=reason)


def _title(subject: Subject) -> str:
    assert subject.settings is not None
    counts = ", ".join(f"{role} {len(each):,}" for role, each in subject.splits.items())
    model = subject.settings.model.name
    size = subject.description.resolution
    return f"{subject.name}: {counts} images; {subject.settings.task.name} on {model} at {size} pixels"
