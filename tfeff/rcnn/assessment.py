"""What a run of R-CNN is worth on a split: both forms side by side, the proposals' ceiling beside them."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff import training
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.durable import write
from tfeff.evaluation import DetectionReport, Detections, detection_report, to_coco_results
from tfeff.evaluation.detection import json_number, json_numbers
from tfeff.evaluation.image_quality import image_quality, worst_first
from tfeff.rcnn.detector import Detector, OperatingPoint
from tfeff.rcnn.images import RunImages, record
from tfeff.rcnn.splits import Split
from tfeff.rcnn.stages import WINDOWS, Material, ceiling
from tfeff.rcnn.workdir import Workdir
from tfeff.reporting import figure, tables
from tfeff.reporting.detection import detection_figures
from tfeff.reporting.detection_gallery import detection_gallery_figure
from tfeff.reporting.detections import DetectedImage
from tfeff.training.tensorboard import Board


@dataclass(frozen=True, eq=False)
class RegionReport:
    """How a head classifies regions: the class of the best score, background where that is below the operating point.

    Attributes:
        accuracy: share of objects whose own box gets their class.
        called_background: share of objects whose own box is called background.
        background_recall: share of proposals that overlap no object by half that are called background.
        precision: float64 [C], of the objects' own boxes; NaN where none gets the class.
        recall: float64 [C]; NaN where there is no object.
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
"""Below it a proposal is background, in these tables."""
PICTURES = 6
"""In a gallery."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """A run on a split.

    Attributes:
        split: which one.
        class_names: C.
        ceilings: of each form: share of objects that some region overlaps by half, the most that it can find.
        regions: of each form.
        detections: of each form.
        files: everything written.
    """

    split: str
    class_names: tuple[str, ...]
    ceilings: Mapping[str, float]
    regions: Mapping[str, RegionReport]
    detections: Mapping[str, DetectionReport]
    files: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers."""
        return {
            "split": self.split,
            "class_names": list(self.class_names),
            "forms": {
                form: {
                    "proposal_recall": json_number(self.ceilings[form]),
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
                "accuracy of objects": self.regions[form].accuracy,
                "called background": self.regions[form].called_background,
                "background recall": self.regions[form].background_recall,
                "recall of proposals": self.ceilings[form],
            }
            for form, report in self.detections.items()
        ]
        by_class = [
            {
                "form": form,
                "class": name,
                "precision of objects": float(self.regions[form].precision[label]),
                "recall of objects": float(self.regions[form].recall[label]),
                "AP@.5": float(report.ap[label]),
                "precision": float(report.at_threshold.precision[label]),
                "recall": float(report.at_threshold.recall[label]),
            }
            for form, report in self.detections.items()
            for label, name in enumerate(self.class_names)
        ]
        parts = [tables.text(overall), tables.text(by_class)]
        parts += [f"{form}\n{report.to_text()}" for form, report in self.detections.items()]
        return "\n\n".join([*parts, "\n".join(f"wrote {path}" for path in self.files)])


def assess(
    workdir: Workdir, split: str | None, reporter: training.Reporter, run_images: RunImages | None = None
) -> Assessment:
    """Runs every form of a finished run over a split; writes `evaluation_<split>.json` and detections in COCO's format.

    Args:
        workdir: of the run.
        split: of its source; `validation` is what the run held out. None: the test split, if there is one.
        reporter: logs progress.
        run_images: the run's images, if they are open already.

    Raises:
        UserError: the run has not finished, or there is no such split.
    """
    settings = workdir.settings()
    run_images = run_images or RunImages(settings)
    record(workdir.dataset, run_images.training)
    if split is None:
        split = run_images.test_split or "validation"
        if split == "validation" != settings.data.test_split:
            reporter.say(f"{settings.data.source} has no test split: evaluated on the held-out validation images")
    images = run_images.split(split)
    detectors = {str(form): Detector.load(workdir, form) for form in settings.forms}
    material = Material(settings, workdir, reporter)
    for form, (_, point) in detectors.items():
        point.check(form, material.digest)
    part = "test" if split == settings.data.test_split else split
    of = {form: material.split(part, images, windows=form == WINDOWS) for form in detectors}
    found = {form: detector.detect(of[form]) for form, (detector, _) in detectors.items()}
    path = workdir.path / f"evaluation_{split}.json"
    files = [path]
    for form, detections in found.items():
        files.append(workdir.path / f"detections_{form}_{split}.json")
        write(files[-1], json.dumps(to_coco_results(detections, list(images.ids))) + "\n")
    assessment = Assessment(
        split=split,
        class_names=images.class_names,
        ceilings={form: ceiling(images.objects, of[form].proposals) for form in detectors},
        regions={form: region_report(*loaded, of[form]) for form, loaded in detectors.items()},
        detections={
            form: detection_report(
                detections, images.objects, images.class_names, score_threshold=detectors[form][1].detection
            )
            for form, detections in found.items()
        },
        files=tuple(files),
    )
    write(path, json.dumps(assessment.to_dict(), indent=2) + "\n")
    board = Board(workdir.tensorboard)
    for name, report in assessment.detections.items():
        drawn = {**detection_figures(report.to_dict()), **galleries(report, found[name], images)}
        for what, made in drawn.items():
            files += figure.save(made, workdir.figures / f"{split}_{name}_{what}")
        headline = {
            f"{split}/{name}/mean_ap": report.mean_ap,
            f"{split}/{name}/accuracy_of_objects": assessment.regions[name].accuracy,
            f"{split}/{name}/background_recall": assessment.regions[name].background_recall,
        }
        board.result(0, headline, {f"{split}/{name}/{what}": figure.rgb(made) for what, made in drawn.items()})
    board.close()
    return dataclasses.replace(assessment, files=tuple(files))


def galleries(report: DetectionReport, detections: Sequence[Detections], images: Dataset) -> dict[str, Figure]:
    """The images that were done best and worst, and objects that were missed; by name."""
    names = images.class_names

    def picture(image: int) -> DetectedImage:
        believed = detections[image].take(detections[image].scores >= report.score_threshold)
        return DetectedImage(
            image=decoding.decode(images.encoded(image), images.ids[image]),
            boxes_yxyx=believed.boxes_yxyx,
            names=[names[label] for label in believed.labels],
            scores=believed.scores,
            objects_yxyx=images.objects[image].boxes_yxyx,
        )

    quality = image_quality(report.matching, report.score_threshold)
    order = worst_first(quality)
    made = {}
    for what, chosen in (("worst", order[:PICTURES]), ("best", order[::-1][:PICTURES])):
        captions = [f"{images.ids[image]}, quality {quality[image]:.2f}" for image in chosen]
        made[what] = detection_gallery_figure(
            [picture(int(image)) for image in chosen], captions, title=f"The {what} images"
        )
    missed = np.flatnonzero(report.errors.missed)[:PICTURES]
    matching, pictures, captions = report.matching, list[DetectedImage](), list[str]()
    for number in missed:
        image = int(matching.object_image[number])
        pictures.append(picture(image).crop(images.objects[image].boxes_yxyx[matching.object_index[number]]))
        captions.append(f"{names[matching.object_label[number]]} in {images.ids[image]}")
    if pictures:
        made["missed"] = detection_gallery_figure(pictures, captions, title="Objects that were missed")
    return made


def region_report(detector: Detector, point: OperatingPoint, split: Split) -> RegionReport:
    """How a head classifies the regions of a split."""
    threshold, regions = point.region, split.regions
    scores = detector.scores(split.features)
    background = len(split.images.class_names)
    said = np.where(scores.max(axis=1) < threshold, background, scores.argmax(axis=1))
    objects, right = said[regions.is_object], regions.label[regions.is_object]
    elsewhere = said[(regions.overlap < BACKGROUND_OVERLAP) & ~regions.ignored & ~regions.is_object]
    confusion = np.zeros((background, background + 1))
    np.add.at(confusion, (right, objects), 1)
    hits = np.diag(confusion)
    with np.errstate(invalid="ignore"):
        return RegionReport(
            accuracy=float((objects == right).mean()),
            called_background=float((objects == background).mean()),
            background_recall=float((elsewhere == background).mean()),
            precision=hits / confusion[:, :background].sum(axis=0),
            recall=hits / confusion.sum(axis=1),
        )


def conclude(
    workdir: Workdir, reporter: training.Reporter | None = None, run_images: RunImages | None = None
) -> Assessment | None:
    """What a run ends with: its measures on the test split, and `result.json`; None if its config names none."""
    settings = workdir.settings()
    if settings.data.test_split is None:
        return None
    assessment = assess(workdir, None, reporter or training.Reporter(), run_images)
    result = {
        form: {
            "proposal_recall": json_number(assessment.ceilings[form]),
            "mean_ap": json_number(report.mean_ap),
            "mean_ap_interval": [json_number(end) for end in report.mean_ap_interval],
            "coco_ap": json_number(report.coco.ap),
        }
        | assessment.regions[form].to_dict()
        for form, report in assessment.detections.items()
    }
    said = {"split": assessment.split, "forms": result}
    write(workdir.path / "result.json", json.dumps(said, indent=2) + "\n")
    return assessment
