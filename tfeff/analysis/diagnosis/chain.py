"""The chain of a diagnosis: which links are checked, in which order, and what is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfeff.analysis.diagnosis import (
    assignment,
    classes,
    preparation,
)
from tfeff.analysis.diagnosis.assignment import check_assignment
from tfeff.analysis.diagnosis.boxes import check_boxes
from tfeff.analysis.diagnosis.classes import check_classes
from tfeff.analysis.diagnosis.finding import Diagnosis, Link
from tfeff.analysis.diagnosis.images import check_images, check_quality
from tfeff.analysis.diagnosis.network import examine_network, predictions_skipped
from tfeff.analysis.diagnosis.objects import check_objects
from tfeff.analysis.diagnosis.page import write_page
from tfeff.analysis.diagnosis.preparation import check_preparation
from tfeff.analysis.diagnosis.splits import check_splits
from tfeff.analysis.diagnosis.subject import TRAIN, Subject, with_defects_once
from tfeff.analysis.diagnosis.suspects import Suspects
from tfeff.analysis.quality import Quality, examine, survey
from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.durable import locked, write, write_listing, write_record
from tfeff.errors import UserError
from tfeff.reporting.comparison import class_distribution_figure
from tfeff.reporting.dataset import box_figures
from tfeff.reporting.diagnosis import assignment_figure
from tfeff.reporting.figure import save_png
from tfeff.reporting.spreadsheet import table_text
from tfeff.tasks.object_detection import ObjectDetectionTask
from tfeff.training import Reporter

PLOTTED = 4000
"""Training objects in a scatter plot, at most."""
DPI = 130
SUSPECTS = "suspects.csv"


@dataclass(frozen=True, eq=False)
class Report:
    """A diagnosis with its figures by name, and what it was made from.

    Attributes:
        suspects: labels and boxes that the run's network contradicts.
    """

    diagnosis: Diagnosis
    figures: Mapping[str, Figure]
    splits: Mapping[str, Dataset]
    quality: Quality
    suspects: Suspects

    @property
    def notes(self) -> list[str]:
        """What the user should know about how the images were chosen, one line each."""
        return list(dict.fromkeys(note for images in self.splits.values() for note in images.notes))

    def to_dict(self) -> dict[str, Any]:
        """Returns the links and notes for JSON, and the images that the page shows, all by name."""
        name = self.quality.id_of
        return self.diagnosis.to_dict() | {
            "near_duplicates": [
                [[role, name((role, index))] for role, index in each] for each in self.quality.copies.groups
            ],
            "odd_images": {kind: [*map(name, each.places)] for kind, each in self.quality.odd.items()},
            "separated_groups": {
                each.what: {key: [*map(name, group)] for key, group in each.across.items()}
                for each in self.quality.groupings
            },
            "suspects": self.suspects.rows(),
            "notes": self.notes,
        }

    def save(self, out: Path, command: str) -> list[Path]:
        """Writes `analysis.html`, `analysis.json`, `suspects.csv` if there are any, and the figures as PNG; returns
        their paths. Another earlier `suspects.csv` is kept, with a number.

        Args:
            command: the command line, for the page.
        """
        figures = {name: out / f"{name}.png" for name in self.figures}
        page, numbers, table = out / "analysis.html", out / "analysis.json", out / SUSPECTS
        rows = self.suspects.rows()
        with locked(out, "--out"):
            for name, path in figures.items():
                save_png(self.figures[name], path, dpi=DPI)
            write_record(numbers, self.to_dict(), figures.values())
            write(page, write_page(self.diagnosis, self.splits, self.quality, self.suspects, figures, command))
            kept = write_listing(table, table_text(rows) if rows else None)
        return [page, numbers, *([table] if rows else []), *([kept] if kept else []), *figures.values()]


def diagnose(subject: Subject, split: str | None, reporter: Reporter, *, most: int) -> Report:
    """Checks all links of a subject.

    Args:
        split: role of the images that are compared with the training images: `validation` or `test`. None: the
            validation images, else those of the test split.
        most: images of a split that are decoded, at most.

    Raises:
        UserError: there is no such split.
    """
    if split is not None and split not in subject.splits:
        known = ", ".join(role for role in subject.splits if role != TRAIN) or "none"
        raise UserError(f"--split={split}: there is no such split besides the training images; known: {known}")
    with reporter.bars():
        surveys = {
            role: survey(each, most, partial(reporter.reading, each.name)) for role, each in subject.splits.items()
        }
        for role, each in surveys.items():
            if each.examined < len(each.images):
                reporter.say(f"{role}: {each.examined:,} of {len(each.images):,} images are examined; see --images")
        quality = examine(surveys)
        links, figures, suspected = _examined(subject, quality, split, reporter)
    name = subject.name if subject.settings is None else _title(subject)
    return Report(Diagnosis(subject=name, links=links), figures, subject.splits, quality, suspected)


def _examined(
    subject: Subject, quality: Quality, split: str | None, reporter: Reporter
) -> tuple[list[Link], dict[str, Figure], Suspects]:
    """Returns the links, the figures by name, and the suspects of a trained network."""
    settings, figures, suspected = subject.settings, _dataset_figures(subject.annotated), Suspects()
    reporter.say("checking annotations ...")
    links = examine_images(subject, quality)
    if settings is None:
        return (
            [*links, predictions_skipped("R-CNN's stages have their own report (tfeff.evaluate)")],
            figures,
            suspected,
        )
    reporter.say("preparing training images ...")
    prepared: preparation.PreparedImages | str
    try:
        prepared = preparation.prepare(subject, quality.surveys[TRAIN])
    except UserError as error:
        prepared = str(error)
    links.append(check_preparation(subject, prepared, quality.surveys[TRAIN]))
    task = subject.task
    if isinstance(task, ObjectDetectionTask):
        assigned = None
        if not isinstance(prepared, str):
            reporter.say("assigning objects ...")
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
        trained, drawn, suspected = examine_network(subject, subject.workdir, split, reporter, quality.surveys)
        links, figures = links + trained, figures | drawn
    return links, figures, suspected


def examine_images(subject: Subject, quality: Quality) -> list[Link]:
    """Returns the links of the dataset: images, their quality, boxes, classes, objects, splits.

    Boxes, classes and objects are those of whole images, not of their tiles.
    """
    settings, by_role, annotated = subject.settings, subject.splits, subject.annotated
    skips = settings is not None and settings.data.corrupt_images == "skip"
    links = [
        check_images(with_defects_once(by_role), quality.surveys, subject.lost, skips=skips),
        check_quality(quality),
    ]
    if subject.detects:
        links.append(check_boxes(subject.source.box_format, annotated))
    balanced = settings is not None and (
        settings.data.class_balanced or settings.task.images_drawn_together is not None
    )
    objects = check_objects(annotated, balanced=balanced)
    open_set = settings is not None and settings.task.OPEN_SET
    return [*links, check_classes(annotated, open_set=open_set), objects, check_splits(by_role, quality)]


def _dataset_figures(splits: Mapping[str, Dataset]) -> dict[str, Figure]:
    """Returns classes and boxes of the splits with the classes of the training split."""
    train = splits[TRAIN]
    alike = {role: images for role, images in splits.items() if images.class_names == train.class_names}
    figures = dict[str, Figure]()
    if train.has_labels or train.has_objects:
        noun = "objects" if train.has_objects else "images"
        numbers = {role: classes.counts(images)[:-2] for role, images in alike.items()}
        figures["class_counts"] = class_distribution_figure(train.class_names, numbers, noun=noun)
    boxes = {role: images for role, images in splits.items() if any(map(len, images.objects)) and len(images.sizes)}
    if boxes:
        figures |= box_figures(
            {role: np.concatenate([each.boxes_yxyx for each in images.objects]) for role, images in boxes.items()},
            {
                role: np.repeat(images.sizes, [len(each) for each in images.objects], axis=0)
                for role, images in boxes.items()
            },
        )
    return figures


def _title(subject: Subject) -> str:
    assert subject.settings is not None
    counts = ", ".join(f"{role} {len(each):,}" for role, each in subject.splits.items())
    model = subject.settings.model.name
    size = subject.description.resolution
    return f"{subject.name}: {counts} images; {subject.settings.task.name} on {model} at {size} pixels"
