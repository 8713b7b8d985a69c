"""The links of a run: training and predictions, and the labels and boxes that its network contradicts."""

from collections.abc import Mapping

import keras
import numpy as np
from matplotlib.figure import Figure

from tfeff import models
from tfeff.analysis.diagnosis import classes, predicted_labels, predicted_objects, preparation, saliency, suspects
from tfeff.analysis.diagnosis.finding import Link
from tfeff.analysis.diagnosis.predicted_labels import check_classifier
from tfeff.analysis.diagnosis.predicted_objects import check_detector
from tfeff.analysis.diagnosis.subject import TEST, TRAIN, VALIDATION, Subject
from tfeff.analysis.diagnosis.suspects import Suspects
from tfeff.analysis.diagnosis.training_curve import check_training_curve
from tfeff.analysis.quality import Survey
from tfeff.data.input.batches import Batches
from tfeff.errors import UserError
from tfeff.models.network import in_policy
from tfeff.reporting.diagnosis import score_figure, stage_figure
from tfeff.reporting.gallery import pictures_figure
from tfeff.reporting.training_curves import training_figure
from tfeff.tasks.object_detection import ObjectDetectionTask, detection_threshold
from tfeff.tasks.task import EMBEDDING, BatchPredictor, ImageTask
from tfeff.training import Plan, Reporter, Workdir, trained_model
from tfeff.training.freezing import frozen_params
from tfeff.training.state import weights_for_evaluation

PREDICTED = 256
"""Training images for which the network predicts, at most."""
EXPLAINED = 6
"""Detections that are explained."""
UNABLE = "The network predicts even its training images badly, so it cannot show which annotations are wrong."
WITHOUT_OBJECTS = "The examined training images have no objects, so the network cannot show which boxes are wrong."
"""Why there are no suspects."""

_Predictions = tuple[Link, bool | None, dict[str, Figure], Suspects]
"""The link of the predictions, whether the network has learned the training images (None: unknown), figures, and
suspects."""


def examine_network(
    subject: Subject, workdir: Workdir, split: str | None, reporter: Reporter, surveys: Mapping[str, Survey]
) -> tuple[list[Link], dict[str, Figure], Suspects]:
    """Returns the links of training and predictions, their figures by name, and suspects.

    Args:
        surveys: the examined images of each split, for which the network predicts; of the training images, for
            PREDICTED at most.
    """
    assert subject.settings is not None
    settings, task = subject.settings, subject.task
    figures = dict[str, Figure]()
    if workdir.rows():
        figures["training"] = training_figure(workdir.rows(), title=settings.model.name)
    network, frozen = _network(workdir, subject.plan), None
    if network is not None and settings.optimizer.frozen and not task.section.CUTS_REGIONS:
        frozen = frozen_params(network, settings.optimizer.frozen) / max(network.count_params(), 1)
    reason = _why_skipped(network, task)
    if network is None or reason:
        found: _Predictions = predictions_skipped(reason), None, {}, Suspects()
    else:
        try:
            pipelines = _pipelines(subject, network, surveys, reporter)
        except UserError as error:  # no image fits, which must not prevent the other links
            found = predictions_skipped(str(error)), None, {}, Suspects()
        else:
            other = split or next((role for role in (VALIDATION, TEST) if role in pipelines), None)
            compared = [role for role in (TRAIN, other) if role in pipelines]
            if isinstance(task, ObjectDetectionTask):
                found = _predict_objects(subject, workdir, task, network, pipelines, compared)
            else:
                found = _predict_labels(subject, network, pipelines, compared)
    link, learned, drawn, suspected = found
    return [check_training_curve(subject, learned=learned, frozen=frozen), link], figures | drawn, suspected


def _pipelines(
    subject: Subject, network: keras.Model, surveys: Mapping[str, Survey], reporter: Reporter
) -> dict[str, Batches]:
    """Returns examined images of the splits that have any which can be read.

    Raises:
        UserError: no training image can be read.
    """
    counts = {role: len(each) for role, each in surveys.items() if len(each) or role == TRAIN}
    counts[TRAIN] = min(counts[TRAIN], PREDICTED)
    reporter.say(f"predicting {', '.join(f'{count:,} images of {role}' for role, count in counts.items())} ...")
    plan = subject.plan
    return {
        role: plan.evaluation_pipeline(preparation.cached(plan.images, surveys[role], count), network.size)
        for role, count in counts.items()
    }


def _why_skipped(network: keras.Model | None, task: ImageTask) -> str:
    """Returns why there are no predictions to examine; "" if there are."""
    if network is None:
        return "the run has no checkpoint"
    if task.section.CUTS_REGIONS:
        return "the network reads stored features of regions, not images"
    if task.kind == EMBEDDING:
        return "the network predicts vectors; tfeff.evaluate measures and shows their nearest neighbors"
    if not isinstance(task, ObjectDetectionTask) and task.kind.annotations != "labels":
        return f"task.name={task.section.name} has no stages"
    return ""


def _predict_objects(
    subject: Subject,
    workdir: Workdir,
    task: ObjectDetectionTask,
    network: keras.Model,
    pipelines: Mapping[str, Batches],
    compared: list[str],
) -> _Predictions:
    """Returns detections of some images of each split; the training split and, last, another one are compared."""
    names = subject.train.class_names
    threshold = detection_threshold(_validated(workdir, task))
    predicted = {role: predicted_objects.predict(task, network, each, threshold) for role, each in pipelines.items()}
    predictions = {role: predicted[role] for role in compared}
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
        chosen = saliency.choose(found.detections, found.objects, EXPLAINED)
        if chosen:
            few = pipelines[role].images.take(np.unique([each.image for each in chosen]))
            pipeline = subject.plan.evaluation_pipeline(few, network.size)
            explained = saliency.explain(task, network, pipeline, found.detections, chosen, names)
            figures["saliency"] = pictures_figure(*explained)
    link = check_detector(task, predictions, names, classes.counts(subject.train)[:-2])
    learned = predicted_objects.learned(predictions[TRAIN])
    suspected = Suspects(why_none={None: WITHOUT_OBJECTS, False: UNABLE}.get(learned, ""))
    if learned and all(each.finite for each in predicted.values()):
        suspected = suspects.of_boxes({role: each.images.dataset for role, each in pipelines.items()}, predicted)
    return link, learned, figures, suspected


def _predict_labels(
    subject: Subject, network: keras.Model, pipelines: Mapping[str, Batches], compared: list[str]
) -> _Predictions:
    """Returns predictions of a classifier for some images of each split."""
    predictor = BatchPredictor(subject.task.predictor(network), subject.task)
    predicted = {
        role: predicted_labels.ClassifierPredictions(each.images.dataset.labels, predictor(each)["probabilities"])
        for role, each in pipelines.items()
    }
    link = check_classifier({role: predicted[role] for role in compared}, subject.train.class_names)
    learned = predicted_labels.learned(predicted[TRAIN])
    suspected = Suspects(why_none="" if learned else UNABLE)
    if learned:
        suspected = suspects.of_labels({role: each.images.dataset for role, each in pipelines.items()}, predicted)
    return link, learned, {}, suspected


def _validated(workdir: Workdir, task: ObjectDetectionTask) -> dict[str, float]:
    """Returns the validation metrics of the weights; of an unfinished run, of its last epoch that has any."""
    if workdir.final.is_file():
        return workdir.validated(task.scores)
    keys = {f"validation_{name}": name for name in task.scores}
    rows = ({keys[key]: value for key, value in row.items() if key in keys} for row in workdir.rows())
    return next(filter(None, reversed(list(rows))), {})


def _network(workdir: Workdir, plan: Plan) -> keras.Model | None:
    """Returns the trained network; of an unfinished run, that of its last checkpoint; None if it has none."""
    if workdir.final.is_file():
        return trained_model(workdir, plan=plan)
    saved = workdir.checkpoints.load_latest(lambda _: None)
    if saved is None:
        return None
    with in_policy("float32"):
        network = plan.build_network()
    models.load_weights(network, weights_for_evaluation(saved.arrays))
    return network


def predictions_skipped(reason: str) -> Link:
    """Returns the link of the predictions, if there are none."""
    return Link(name="predictions", question="are the predictions correct?", skipped=reason)
