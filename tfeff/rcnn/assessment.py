"""Evaluates an R-CNN run on a split: all forms side by side, with the recall of their proposals."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import training
from tfeff.boxes.assignment import Regions
from tfeff.data.images import decoding
from tfeff.durable import write
from tfeff.evaluation import DetectionReport, detection_report, to_coco_results
from tfeff.evaluation.detection import json_number, json_numbers
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.images import RunImages, record
from tfeff.rcnn.regions import RegionSet, proposal_recall
from tfeff.rcnn.run_regions import SLIDING_WINDOW, RunRegions
from tfeff.rcnn.workdir import Workdir
from tfeff.reporting import tables
from tfeff.reporting.detection import detection_figures
from tfeff.tasks.detection_galleries import galleries
from tfeff.training.assessment import publish
from tfeff.training.tensorboard import Board


@dataclass(frozen=True, eq=False)
class RegionReport:
    """How a head classifies regions: as the class with the best score, or as background below the region threshold.

    Attributes:
        accuracy: share of objects whose own box gets their class.
        called_background: share of objects whose own box is classified as background.
        background_recall: share of background proposals that are classified as background; NaN without any.
        precision: float64 [C], on the objects' own boxes; NaN for classes that are never predicted.
        recall: float64 [C]; NaN for classes without objects.
    """

    accuracy: float
    called_background: float
    background_recall: float
    precision: np.ndarray
    recall: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "accuracy": json_number(self.accuracy),
            "called_background": json_number(self.called_background),
            "background_recall": json_number(self.background_recall),
            "precision": json_numbers(self.precision),
            "recall": json_numbers(self.recall),
        }


BACKGROUND_OVERLAP = 0.5
"""In these metrics, proposals with a smaller IoU with every object are background."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """A run evaluated on a split.

    Attributes:
        split: name of the split.
        class_names: C.
        proposal_recall: form -> share of objects covered by a region, the upper bound of the form's recall.
        regions: form -> report on regions.
        detections: form -> report on detections.
        files: everything written.
        skipped: ids of the run's corrupt images, which were skipped.
        notes: what the user should know about the choice of images, one line each.
    """

    split: str
    class_names: tuple[str, ...]
    proposal_recall: Mapping[str, float]
    regions: Mapping[str, RegionReport]
    detections: Mapping[str, DetectionReport]
    files: tuple[Path, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "split": self.split,
            "class_names": list(self.class_names),
            "skipped_images": list(self.skipped),
            **({"notes": list(self.notes)} if self.notes else {}),
            "forms": {
                form: {
                    "proposal_recall": json_number(self.proposal_recall[form]),
                    "regions": self.regions[form].to_dict(),
                    "detections": report.to_dict(),
                }
                for form, report in self.detections.items()
            },
        }

    def to_text(self) -> str:
        """Tables for the terminal."""
        overall = [
            {
                "form": form,
                "mAP@.5": report.mean_ap,
                "95 % from": report.mean_ap_interval[0],
                "to": report.mean_ap_interval[1],
                "COCO AP": report.coco.ap,
                "object accuracy": self.regions[form].accuracy,
                "objects as background": self.regions[form].called_background,
                "background recall": self.regions[form].background_recall,
                "proposal recall": self.proposal_recall[form],
            }
            for form, report in self.detections.items()
        ]
        by_class = [
            {
                "form": form,
                "class": name,
                "object precision": float(self.regions[form].precision[label]),
                "object recall": float(self.regions[form].recall[label]),
                "AP@.5": float(report.ap[label]),
                "precision": float(report.at_threshold.precision[label]),
                "recall": float(report.at_threshold.recall[label]),
            }
            for form, report in self.detections.items()
            for label, name in enumerate(self.class_names)
        ]
        notes = ["\n".join(self.notes)] if self.notes else []
        parts = [*notes, tables.text(overall), tables.text(by_class)]
        parts += [f"{form}\n{report.to_text()}" for form, report in self.detections.items()]
        return "\n\n".join([*parts, "\n".join(f"wrote {path}" for path in self.files)])


def assess(
    workdir: Workdir, split: str | None, reporter: training.Reporter, run_images: RunImages | None = None
) -> Assessment:
    """Evaluates every form of a finished run; writes `evaluation_<split>.json` and detections in COCO's result format.

    Args:
        workdir: of the run.
        split: a split of the run's source; `train` and `validation` are the run's own. None: the test split, or the
            validation images if there is none.
        reporter: logs progress.
        run_images: the run's images, if they are open already.

    Raises:
        UserError: the run has not finished, or there is no such split.
    """
    settings = workdir.settings()
    run_images = run_images or RunImages(settings)
    record(workdir.dataset, run_images.training)
    notes = tuple[str, ...]()
    if split is None:
        split = run_images.test_split
        if split is None:
            missing = "data.test_split is None"
            if settings.data.test_split is not None:
                missing = f"{settings.data.source} has no test split"
            notes = (f"{missing}: evaluated on the validation images, which were used to choose the thresholds",)
            split = "validation"
        elif run_images.lacks_test_split:
            notes = (f"{settings.data.source} has no test split: evaluated on its validation split",)
    split = run_images.resolve(split)
    images = run_images.split(split)
    for note in notes:
        reporter.say(note)
    loaded = {str(form): Detector.load(workdir, form) for form in settings.forms}
    run_regions = RunRegions(settings, workdir, reporter)
    for form, (_, thresholds) in loaded.items():
        thresholds.check_backbone(form, run_regions.backbone_digest)
    name = "test" if split == run_images.test_split else split
    regions = {form: run_regions.region_set(name, images, windows=form == SLIDING_WINDOW) for form in loaded}
    detections = {form: detector.detect(regions[form]) for form, (detector, _) in loaded.items()}
    path = workdir.path / f"evaluation_{split}.json"
    files = [path]
    for form, of_form in detections.items():
        files.append(workdir.path / f"detections_{form}_{split}.json")
        write(files[-1], json.dumps(to_coco_results(of_form, list(images.ids))) + "\n")
    assessment = Assessment(
        split=split,
        class_names=images.class_names,
        proposal_recall={form: proposal_recall(images.objects, regions[form].proposals) for form in loaded},
        regions={
            form: region_report(detector.scores(regions[form].features), thresholds.region, regions[form])
            for form, (detector, thresholds) in loaded.items()
        },
        detections={
            form: detection_report(
                detections[form], images.objects, images.class_names, score_threshold=thresholds.detection
            )
            for form, (_, thresholds) in loaded.items()
        },
        files=tuple(files),
        skipped=tuple(run_images.skipped),
        notes=notes,
    )
    write(path, json.dumps(assessment.to_dict(), indent=2) + "\n")
    board = Board(workdir.tensorboard)

    @functools.cache
    def decoded(image: int) -> np.ndarray:
        return decoding.decode(images.encoded(image), images.ids[image])

    for form, report in assessment.detections.items():
        figures = {**detection_figures(report.to_dict()), **galleries(report, detections[form], images, decoded)}
        headline = {
            "mean_ap": report.mean_ap,
            "accuracy_of_objects": assessment.regions[form].accuracy,
            "background_recall": assessment.regions[form].background_recall,
        }
        files += publish(board, workdir.figures, (split, form), headline, figures, step=0)
    board.close()
    return dataclasses.replace(assessment, files=tuple(files))


def region_report(scores: np.ndarray, threshold: float, regions: RegionSet) -> RegionReport:
    """How a head classifies regions.

    Args:
        scores: of the regions' features, float [n, C].
        threshold: regions whose best score is lower are background.
        regions: n regions, with their targets.
    """
    targets, background = regions.targets, regions.images.num_classes
    predicted = np.where(scores.max(axis=1) < threshold, background, scores.argmax(axis=1))
    objects, labels = predicted[targets.is_object], targets.label[targets.is_object]
    confusion = np.zeros((background, background + 1))
    np.add.at(confusion, (labels, objects), 1)
    hits = np.diag(confusion)
    rejected = predicted[is_background(targets)] == background
    with np.errstate(invalid="ignore"):
        return RegionReport(
            accuracy=float((objects == labels).mean()),
            called_background=float((objects == background).mean()),
            background_recall=float(rejected.mean()) if len(rejected) else np.nan,
            precision=hits / confusion[:, :background].sum(axis=0),
            recall=hits / confusion.sum(axis=1),
        )


def is_background(targets: Regions) -> np.ndarray:
    """Which regions are background proposals, bool [n]."""
    return (targets.overlap < BACKGROUND_OVERLAP) & ~targets.ignored & ~targets.is_object


def conclude(
    workdir: Workdir, reporter: training.Reporter | None = None, run_images: RunImages | None = None
) -> Assessment | None:
    """Evaluates a finished run on its test split, or on its validation images if the source has no test split.

    Writes `result.json`.

    Args:
        workdir: of the run.
        reporter: logs progress.
        run_images: the run's images, if they are open already.

    Returns:
        The assessment; None if `data.test_split` is None.
    """
    settings = workdir.settings()
    if settings.data.test_split is None:
        return None
    assessment = assess(workdir, None, reporter or training.Reporter(), run_images)
    forms = {
        form: {
            "proposal_recall": json_number(assessment.proposal_recall[form]),
            "mean_ap": json_number(report.mean_ap),
            "mean_ap_interval": [json_number(end) for end in report.mean_ap_interval],
            "coco_ap": json_number(report.coco.ap),
        }
        | assessment.regions[form].to_dict()
        for form, report in assessment.detections.items()
    }
    notes = {"notes": list(assessment.notes)} if assessment.notes else {}
    result = {"split": assessment.split, **notes, "forms": forms}
    write(workdir.path / "result.json", json.dumps(result, indent=2) + "\n")
    return assessment
