"""What R-CNN's ratios and thresholds are worth: one setting changed at a time, measured on the validation images.

Features are on disk, so that a point costs the training of a head alone.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tfeff import config, training
from tfeff.durable import write
from tfeff.evaluation import average_precisions, match, mean_average_precision
from tfeff.models.heads import region
from tfeff.rcnn import classic
from tfeff.rcnn.assessment import region_report
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.images import RunImages, record
from tfeff.rcnn.joint import Examples, JointTraining
from tfeff.rcnn.splits import Split
from tfeff.rcnn.stages import Material, feature_moments
from tfeff.rcnn.workdir import Workdir
from tfeff.reporting import figure, tables
from tfeff.reporting.progress import Bar
from tfeff.reporting.sensitivity_curves import sensitivity_figure

JOINT: Mapping[str, Sequence[float]] = {
    "positives": (16, 32, 64, 100, 120),
    "positive_overlap": (0.5, 0.6, 0.7),
    "negative_overlap": (0.2, 0.3, 0.4, 0.5),
}
"""Key of `config.Joint` -> values. `positives` is of batches of the config's size: the rest is background."""
CLASSIC: Mapping[str, Sequence[float]] = {
    "negative_overlap": (0.1, 0.2, 0.3, 0.4, 0.5),
    "penalty": (1e-4, 1e-3, 1e-2),
    "positive_weight": (1.0, 2.0, 5.0, 10.0),
    "box_overlap": (0.4, 0.5, 0.6, 0.7, 0.8),
    "ridge": (1.0, 10.0, 100.0, 1000.0, 10_000.0),
}
"""Key of `config.Classic` -> values."""
MEASURES = ("mAP@.5", "accuracy of objects", "called background", "background recall")


@dataclass(frozen=True)
class Point:
    """One setting and what it gave on the validation images.

    Attributes:
        form: `joint` or `classic`.
        key: of the form's section.
        value: of the key; everything else is as the run's config says.
        measures: by the names in MEASURES.
    """

    form: str
    key: str
    value: float
    measures: Mapping[str, float]

    def row(self) -> dict[str, Any]:
        """For tables and JSON."""
        return {"form": self.form, "key": self.key, "value": self.value, **self.measures}


def points(settings: config.RCNN, form: str) -> list[tuple[str, float, Any]]:
    """(key, value, the form's section with it) of each point of a sweep."""
    section: Any = getattr(settings, form)
    made = []
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
            made.append((key, value, dataclasses.replace(section, **changes)))
    return made


def sweep(workdir: Workdir, reporter: training.Reporter | None = None) -> list[Point]:
    """Measures every point of the trained forms of a finished run; writes `sweep.json` and a figure.

    What was measured before is taken from `sweep.json`.
    """
    settings, reporter = workdir.settings(), reporter or training.Reporter()
    path = workdir.path / "sweep.json"
    rows = json.loads(path.read_text()) if path.is_file() else []
    known = {(row["form"], row["key"], row["value"]): row for row in rows}
    points_of = {form: Detector.load(workdir, form)[1] for form in settings.forms}
    images = RunImages(settings).training
    record(workdir.dataset, images)
    material = Material(settings, workdir, reporter)
    for form, point in points_of.items():
        point.check(form, material.digest)
    train, held_out = (material.split(name, images[name], windows=False) for name in ("train", "validation"))
    wanted = [(form, *of) for form in settings.forms if form in ("joint", "classic") for of in points(settings, form)]
    found, measured = list[Point](), dict[Any, dict[str, float]]()
    with Bar("sweep", len(wanted), "points") as bar:
        heads_of = _Heads(settings, train, held_out, [section for form, _, _, section in wanted if form == "classic"])
        for number, (form, key, value, section) in enumerate(wanted):
            bar.show(number)
            if (row := known.pop((form, key, value), None)) is not None:
                found.append(Point(form, key, value, {name: row[name] for name in MEASURES}))
                continue
            if section not in measured:  # the config's own point comes with every key
                head = heads_of.joint(section) if form == "joint" else heads_of.classic(section)
                measured[section] = measure(Detector(head, settings.detection), held_out)
            found.append(Point(form, key, value, measured[section]))
            write(path, json.dumps([*(point.row() for point in found), *known.values()], indent=2) + "\n")
        bar.show(len(wanted))
    rows = [point.row() for point in found]
    write(path, json.dumps(rows, indent=2) + "\n")
    reporter.say(tables.text(rows))
    for saved in figure.save(sensitivity_figure(rows, MEASURES[0], MEASURES[3]), workdir.figures / "sweep"):
        reporter.say(f"wrote {saved}")
    return found


def measure(detector: Detector, held_out: Split) -> dict[str, float]:
    """The MEASURES of a head, at the scores that its run would choose."""
    objects, classes = held_out.images.objects, len(held_out.images.class_names)
    matching = match(detector.detect(held_out), objects, classes)
    regions = region_report(detector, detector.operating_point(held_out), held_out)
    values = (
        float(mean_average_precision(average_precisions(matching))),
        regions.accuracy,
        regions.called_background,
        regions.background_recall,
    )
    return dict(zip(MEASURES, values, strict=True))


class _Heads:
    """Trains heads on the same features; machines and regressors are trained once for each of their settings."""

    def __init__(self, settings: config.RCNN, train: Split, held_out: Split, wanted: Sequence[config.Classic]) -> None:
        self._seed, self._names, self._train = settings.seed, train.images.class_names, train
        self._examples = Examples(train.features, train.regions)
        self._held_out = Examples(held_out.features, held_out.regions)
        self._moments = feature_moments(train.features, settings.seed)
        self._machines: dict[config.Classic, classic.Linear] = {}
        self._penalties: dict[float, set[float]] = {}
        for section in wanted:
            self._penalties.setdefault(section.box_overlap, set()).add(section.ridge)
        self._regressors: dict[tuple[float, float], classic.Linear] = {}

    def joint(self, section: config.Joint) -> keras.Model:
        work = JointTraining(section, len(self._names), self._examples, self._held_out, self._moments, self._seed)
        work.run()
        return region.joint_detector(work.head)

    def classic(self, section: config.Classic) -> keras.Model:
        usual = config.Classic()
        without_boxes = dataclasses.replace(section, box_overlap=usual.box_overlap, ridge=usual.ridge)
        if without_boxes not in self._machines:
            self._machines[without_boxes] = classic.fit_machines(
                section, self._names, self._examples, self._train.class_overlaps, self._moments, self._seed
            )
        if (section.box_overlap, section.ridge) not in self._regressors:
            penalties = sorted(self._penalties[section.box_overlap])
            found = classic.fit_regressors(
                section.box_overlap, penalties, len(self._names), self._examples, self._moments, self._seed
            )
            self._regressors |= {
                (section.box_overlap, penalty): of for penalty, of in zip(penalties, found, strict=True)
            }
        regressors = self._regressors[section.box_overlap, section.ridge]
        return classic.head(self._machines[without_boxes], regressors, self._moments)
