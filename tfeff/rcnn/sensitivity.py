"""Sensitivity to R-CNN's ratios and thresholds: heads retrained with one setting changed at a time.

Features are cached, so each measurement costs the training of one head. Metrics are those of the validation images. The
intervals of their differences from the run's own head are bootstrap intervals over these images, paired. They do not
contain the differences between trainings of the same settings.
"""

import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, training
from tfeff.durable import write
from tfeff.evaluation import (
    average_precisions,
    bootstrap_mean_average_precision,
    bootstrap_share_below,
    match,
    mean_average_precision,
    percentile_interval,
)
from tfeff.models.heads import region
from tfeff.rcnn import joint
from tfeff.rcnn.assessment import is_background, region_report
from tfeff.rcnn.classic import ClassicTraining, LinearMaps
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.examples import Examples
from tfeff.rcnn.images import RunImages, record
from tfeff.rcnn.regions import RegionSet
from tfeff.rcnn.run_regions import RunRegions
from tfeff.rcnn.stages import feature_moments
from tfeff.rcnn.workdir import Workdir
from tfeff.reporting import figure, tables
from tfeff.reporting.progress import Bar
from tfeff.reporting.sensitivity_curves import sensitivity_figure
from tfeff.training.interruption import Interruption

JOINT: Mapping[str, Sequence[float]] = {
    "positives": (16, 32, 64, 100, 120),
    "positive_overlap": (0.5, 0.6, 0.7),
    "negative_overlap": (0.2, 0.3, 0.4, 0.5),
}
"""Key of `config.Joint` -> values. The batch size stays that of the config; `positives` changes its composition."""
CLASSIC: Mapping[str, Sequence[float]] = {
    "negative_overlap": (0.1, 0.2, 0.3, 0.4, 0.5),
    "penalty": (1e-4, 1e-3, 1e-2),
    "positive_weight": (1.0, 2.0, 5.0, 10.0),
    "box_overlap": (0.4, 0.5, 0.6, 0.7, 0.8),
    "ridge": (1.0, 10.0, 100.0, 1000.0, 10_000.0),
}
"""Key of `config.Classic` -> values."""
METRICS = ("mAP@.5", "object accuracy", "objects as background", "background recall")
COMPARED = ("mAP@.5", "background recall")
"""Metrics that are compared with those of the run's own head."""


@dataclass(frozen=True)
class Measurement:
    """One setting and its metrics on the validation images.

    Attributes:
        form: `joint` or `classic`.
        key: of the form's config section.
        value: of the key; all other settings are those of the run.
        metrics: by the names in METRICS.
        differences: by the names in COMPARED: the metric minus that of the run's own head, and both ends of its 95 %
            interval.
    """

    form: str
    key: str
    value: float
    metrics: Mapping[str, float]
    differences: Mapping[str, tuple[float, float, float]]

    def row(self) -> dict[str, Any]:
        """JSON-ready."""
        differences = {name: list(ends) for name, ends in self.differences.items()}
        return {"form": self.form, "key": self.key, "value": self.value, **self.metrics, "differences": differences}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Measurement":
        """The measurement of a row."""
        metrics = {name: row[name] for name in METRICS}
        differences = {name: tuple(ends) for name, ends in row["differences"].items()}
        return cls(row["form"], row["key"], row["value"], metrics, differences)

    def shown(self) -> dict[str, Any]:
        """For tables."""
        columns: dict[str, Any] = {"form": self.form, "key": self.key, "value": self.value}
        for name, value in self.metrics.items():
            columns[name] = value
            if name in self.differences:
                difference, low, high = self.differences[name]
                columns[f"{name}, minus the run's (95 %)"] = f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
        return columns


def variants(settings: config.RCNN, form: str) -> list[tuple[str, float, Any]]:
    """(key, value, the form's config section with it) of each measurement."""
    section: Any = getattr(settings, form)
    result = []
    for key, values in (JOINT if form == "joint" else CLASSIC).items():
        for value in sorted({*values, getattr(section, key)}):
            changes: dict[str, Any] = {key: value}
            if key == "positives" and value > section.positives + section.negatives:
                continue
            if key == "positives":
                changes = {"positives": int(value), "negatives": section.positives + section.negatives - int(value)}
            if key == "positive_overlap" and value < section.negative_overlap:
                continue
            if key == "negative_overlap" and form == "joint" and value > section.positive_overlap:
                continue
            result.append((key, value, dataclasses.replace(section, **changes)))
    return result


def measure_sensitivity(workdir: Workdir, reporter: training.Reporter | None = None) -> list[Measurement]:
    """Measures every variant of the trained forms of a finished run; writes `sensitivity.json` and a figure.

    A rerun reads existing measurements from `sensitivity.json`.

    Raises:
        UserError: the run has not finished, or its images or backbone have changed.
    """
    settings, reporter = workdir.settings(), reporter or training.Reporter()
    path = workdir.path / "sensitivity.json"
    rows = json.loads(path.read_text()) if path.is_file() else []
    known = {(row["form"], row["key"], row["value"]): row for row in rows if "differences" in row}
    trained = {form: Detector.load(workdir, form) for form in settings.forms if form in ("joint", "classic")}
    images = RunImages(settings).training
    record(workdir.dataset, images)
    regions = RunRegions(settings, workdir, reporter)
    for form, (_, thresholds) in trained.items():
        thresholds.check_backbone(form, regions.backbone_digest)
    train, validation = (regions.region_set(name, images[name], windows=False) for name in ("train", "validation"))
    wanted = [(form, *variant) for form in trained for variant in variants(settings, form)]
    measurements, own = list[Measurement](), dict[str, Measured]()
    with Bar("sensitivity", len(wanted), "measurements") as bar:
        heads = _Heads(settings, train, validation, [section for form, _, _, section in wanted if form == "classic"])
        for number, (form, key, value, section) in enumerate(wanted):
            bar.show(number)
            if (row := known.pop((form, key, value), None)) is not None:
                measurements.append(Measurement.from_row(row))
                continue
            if form not in own:
                own[form] = measure(trained[form][0], validation, settings.detection.missed)
            measured = own[form]
            if section != getattr(settings, form):
                head = heads.joint(section) if form == "joint" else heads.classic(section)
                measured = measure(Detector(head, settings.detection), validation, settings.detection.missed)
            measurements.append(Measurement(form, key, value, measured.metrics, measured.minus(own[form])))
            write(path, json.dumps([*(each.row() for each in measurements), *known.values()], indent=2) + "\n")
        bar.show(len(wanted))
    rows = [each.row() for each in measurements]
    write(path, json.dumps(rows, indent=2) + "\n")
    reporter.say(tables.text([each.shown() for each in measurements]))
    for saved in figure.save(sensitivity_figure(rows, *COMPARED), workdir.figures / "sensitivity"):
        reporter.say(f"wrote {saved}")
    return measurements


@dataclass(frozen=True, eq=False)
class Measured:
    """A head on the validation images.

    Attributes:
        metrics: by the names in METRICS.
        resamples: by the names in COMPARED: the metric in bootstrap resamples of the images, the same for all heads.
    """

    metrics: Mapping[str, float]
    resamples: Mapping[str, np.ndarray]

    def minus(self, other: "Measured") -> dict[str, tuple[float, float, float]]:
        """By the names in COMPARED: the difference from another head, and both ends of its 95 % interval."""
        return {
            name: (
                self.metrics[name] - other.metrics[name],
                *percentile_interval(self.resamples[name] - other.resamples[name]),
            )
            for name in COMPARED
        }


def measure(detector: Detector, validation: RegionSet, missed: float) -> Measured:
    """Measures a head at the region threshold that its run would choose, in each resample anew.

    Args:
        detector: the head.
        validation: the validation regions.
        missed: share of the objects whose own boxes score below this threshold.
    """
    matching = match(detector.detect(validation), validation.images.objects, validation.images.num_classes)
    scores, targets = detector.scores(validation.features), validation.targets
    best, background = scores.max(axis=1), is_background(targets)
    regions = region_report(scores, float(np.quantile(best[targets.is_object], missed)), validation)
    values = (
        float(mean_average_precision(average_precisions(matching))),
        regions.accuracy,
        regions.called_background,
        regions.background_recall,
    )
    resamples = (
        bootstrap_mean_average_precision(matching),
        bootstrap_share_below(
            (best[background], targets.image[background]),
            (best[targets.is_object], targets.image[targets.is_object]),
            missed,
            images=len(validation.images),
        ),
    )
    return Measured(dict(zip(METRICS, values, strict=True)), dict(zip(COMPARED, resamples, strict=True)))


class _Heads:
    """Trains heads on the same features. Each setting of the SVMs and of the box regression is trained once.

    Args:
        settings: the run.
        train: the training regions.
        validation: the validation regions.
        sections: all settings of the classic head that will be measured.
    """

    def __init__(
        self, settings: config.RCNN, train: RegionSet, validation: RegionSet, sections: Sequence[config.Classic]
    ) -> None:
        self._seed = settings.seed
        self._data = joint.JointData(
            Examples(train.features, train.targets),
            Examples(validation.features, validation.targets),
            feature_moments(train.features, settings.seed),
            train.images.num_classes,
        )
        self._classic: ClassicTraining | None = None
        self._regions = train
        self._svms: dict[config.Classic, LinearMaps] = {}
        self._penalties: dict[float, set[float]] = {}
        for section in sections:
            self._penalties.setdefault(section.box_overlap, set()).add(section.ridge)
        self._boxes: dict[tuple[float, float], LinearMaps] = {}

    def joint(self, section: config.Joint) -> keras.Model:
        with tempfile.TemporaryDirectory() as directory:
            head = joint.train(
                section,
                self._data,
                Path(directory),
                seed=self._seed,
                strategy=tf.distribute.get_strategy(),
                checkpoint_seconds=math.inf,
                reporter=training.Reporter(quiet=True),
                interruption=Interruption(),  # not active: results are kept per measurement
            )
        return region.joint_detector(head)

    def classic(self, section: config.Classic) -> keras.Model:
        if self._classic is None:
            names, overlaps = self._regions.images.class_names, self._regions.class_overlaps
            self._classic = ClassicTraining(names, self._data.train, overlaps, self._data.moments, self._seed)
        default = config.Classic()
        svm_settings = dataclasses.replace(section, box_overlap=default.box_overlap, ridge=default.ridge)
        if svm_settings not in self._svms:
            self._svms[svm_settings] = self._classic.svms(section)
        if (section.box_overlap, section.ridge) not in self._boxes:
            penalties = sorted(self._penalties[section.box_overlap])
            regressions = self._classic.box_regressions(section.box_overlap, penalties)
            for penalty, boxes in zip(penalties, regressions, strict=True):
                self._boxes[section.box_overlap, penalty] = boxes
        return self._classic.head(self._svms[svm_settings], self._boxes[section.box_overlap, section.ridge])
