"""Accuracy of the choice in its exported form, by its own runtime: on the test images, and against the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tfeff import reports, selection, training
from tfeff.budget.probing import paired_difference
from tfeff.budget.race import SLACK
from tfeff.budget.study import Study
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.evaluation import (
    average_precisions,
    bootstrap_average_precisions,
    match,
    mean_average_precision,
    percentile_interval,
)
from tfeff.serving.batch_predictors import batch_predictor
from tfeff.tasks.object_detection import detections
from tfeff.tasks.task import BatchPredictor, Predictions

IMAGES = 500
"""Training images at most on which the two are compared: so many that a loss of a point, `race.SLACK`, is clear."""


@dataclass(frozen=True)
class Loss:
    """Accuracy (detectors: mAP) of the trained network minus that of the exported one, on the same training images.

    Test images must not decide which network is chosen, and all others may have been trained on. The network knows
    these images, so it probably loses less than on new ones.

    Attributes:
        value: the difference.
        low: lower end of its 95 % interval.
        high: upper end.
        images: number of images.
    """

    value: float
    low: float
    high: float
    images: int

    def matters(self, study: Study) -> bool:
        """Returns whether it is certain that something is lost, and more than networks may differ in the race.

        That is a point, or `objective.margin` if that is of the same metric.
        """
        margin = study.settings.objective.margin if is_objective(study) else None
        return self.low > 0 and self.value > (margin or SLACK)

    @property
    def text(self) -> str:
        """The loss in words.

        >>> Loss(0.04, 0.021, 0.059, 500).text
        '4.0 points (95 % interval 2.1 to 5.9, on 500 training images)'
        """
        value, low, high = (f"{100 * each:.1f}" for each in (self.value, self.low, self.high))
        return f"{value} points (95 % interval {low} to {high}, on {self.images:,} training images)"


def is_objective(study: Study) -> bool:
    """Returns whether networks are compared by the metric of a `Loss`, so that another one can be better than it."""
    metric = "validation_mean_ap" if study.detects else "validation_accuracy"
    return study.objective.metric == metric and not study.objective.exponent


@dataclass(frozen=True)
class Verification:
    """What the exported network predicts.

    Attributes:
        report: its evaluation on the images on which the run was evaluated, by the same evaluator; None without any.
        loss: what it loses against the network.
    """

    report: Mapping[str, Any] | None
    loss: Loss


def verify(
    workdir: training.Workdir, model: keras.Model, exported: Path, split: str | None, reporter: training.Reporter
) -> Verification:
    """Predicts with an exported classifier or detector in its own runtime.

    Args:
        workdir: workdir of the run that was exported.
        model: `trained_model(workdir)`.
        exported: folder of the export; in other formats than `saved_model` it takes images that fit its input.
        split: the split on which the run was evaluated; None: none.
        reporter: reports progress.

    Raises:
        UserError: the export is damaged, its runtime is not installed, or the images cannot be read.
    """
    plan = training.Plan.opened(workdir)
    task, source, predictor = plan.task, selection.open_source(plan.images), batch_predictor(exported)
    report = None
    with reporter.bars():
        if split is not None:
            images = training.split_images(workdir, plan.images, split, reporter, source).images
            pipeline = plan.batches(images, model, "evaluation", reporter.reading)
            evaluator = reports.evaluator(task.kind)
            report = evaluator.evaluate(predictor(pipeline), pipeline, workdir.validated(task.scores)).report
        train, places = selection.trained_part(plan.images, source)
        places = places[evenly_spaced(len(places), IMAGES)]  # they may come class by class
        images = selection.cache_part(plan.images, train, places, reporter.reading)
        pipeline = plan.batches(images, model, "evaluation", reporter.reading)
        trained = BatchPredictor(task.predictor(model), task)(pipeline)
    return Verification(report, export_loss(trained, predictor(pipeline), images.dataset))


def export_loss(trained: Predictions, exported: Predictions, images: Dataset) -> Loss:
    """Compares the predictions of a network and of its export for the same images.

    Intervals are `paired_difference`, of mAPs `percentile_interval` of the differences in the same resamples of the
    images.
    """
    count = len(images)
    if "boxes" not in trained:
        one, other = (each["probabilities"].argmax(axis=1) == images.labels for each in (trained, exported))
        difference, half = paired_difference(one, other, 0.975, images.groups)
        return Loss(difference, difference - half, difference + half, count)
    matchings = [match(detections(each), images.objects, images.num_classes) for each in (trained, exported)]
    resampled = mean_average_precision(bootstrap_average_precisions(matchings))
    means = [float(mean_average_precision(average_precisions(each))) for each in matchings]
    interval = percentile_interval(resampled[0] - resampled[1], matchings[0].images_with_objects)
    return Loss(means[0] - means[1], *interval, count)
