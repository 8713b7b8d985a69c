"""The stages of R-CNN, one after the other; each keeps what it made, so that a run that was stopped goes on."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from tfeff import config, training
from tfeff.boxes import iou
from tfeff.data.dataset import Dataset, Objects
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.models.heads import region
from tfeff.models.heads.classifier import CLASSIFIER
from tfeff.rcnn import backbone, classic
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.images import RunImages, record
from tfeff.rcnn.joint import Examples, JointTraining
from tfeff.rcnn.splits import Extractor, Split, propose, slide
from tfeff.rcnn.workdir import Workdir
from tfeff.training.tensorboard import Board

WINDOWS = "sliding_window"
"""The form that is not trained: the backbone's classifier at every place."""
MOMENT_ROWS = 50_000
"""Regions from which mean and spread of the features are taken, at most."""
CHUNK = 4096
"""Of them in memory at once."""


class Material:
    """The regions of a run and their features, made as they are asked for.

    Args:
        settings: the run.
        workdir: of the run.
        reporter: says how it goes.
        images: `train` and `validation`, on which the backbone is trained if it is not yet; without them it must be.
    """

    def __init__(
        self,
        settings: config.RCNN,
        workdir: Workdir,
        reporter: training.Reporter,
        images: Mapping[str, Dataset] | None = None,
    ) -> None:
        self._settings, self._workdir, self._reporter, self._images = settings, workdir, reporter, images
        self._made: dict[tuple[str, bool], Split] = {}

    @cached_property
    def backbone(self) -> backbone.Backbone:
        """What sees the regions."""
        if self._images is None:
            return backbone.finished(self._settings, self._workdir)
        settings, store = self._settings, self._workdir.proposals(self._settings)
        return backbone.trained(
            settings, self._workdir, self._reporter, self._images, lambda dataset: propose(settings, store, dataset)
        )

    def proposals(self, name: str, images: Dataset, *, windows: bool) -> list[np.ndarray]:
        """Where objects are looked for in each image of a split: boxes_yxyx [n, 4]."""
        settings = self._settings
        found = slide(settings, images) if windows else propose(settings, self._workdir.proposals(settings), images)
        what = "window" if windows else "proposal"
        self._reporter.say(f"{name}: {ceiling(images.objects, found):.3f} of the objects have a {what} (IoU 0.5)")
        return found

    def split(self, name: str, images: Dataset, *, windows: bool) -> Split:
        """The regions of a split with their features."""
        if (name, windows) not in self._made:
            found = self.proposals(name, images, windows=windows)
            self._made[name, windows] = self._extractors[windows].split(name, images, found)
        return self._made[name, windows]

    @property
    def digest(self) -> str:
        """Of the backbone's weights."""
        return self._extractors[0].digest

    @cached_property
    def _extractors(self) -> tuple[Extractor, Extractor]:
        """Of proposals, and of windows: a classifier looks at the mean over a region."""
        model, directory = self.backbone.model, self._workdir.features
        return (
            Extractor(self._settings, model, directory, self._settings.features.grid),
            Extractor(self._settings, model, directory / WINDOWS, None),
        )


def train(settings: config.RCNN, directory: str | Path, reporter: training.Reporter | None = None) -> Workdir:
    """Runs every stage that is not done yet.

    Args:
        settings: the run.
        directory: the workdir; see `rcnn.workdir` for what it will hold.
        reporter: says how it goes.

    Raises:
        UserError: for bad images, annotations or settings, or a workdir of another run.
        Interrupted: after Ctrl-C or SIGTERM, while the backbone is trained.
    """
    workdir, reporter = Workdir(directory), reporter or training.Reporter()
    with workdir.claimed(settings):
        backbone.check(settings)
        if settings.backbone_workdir is not None and settings.backbone != config.Experiment():
            reporter.say("backbone_workdir brings the backbone: the section `backbone` has no effect")
        run_images = RunImages(settings)
        images = run_images.training
        if run_images.test_split is not None:
            run_images.split(run_images.test_split)  # reports its mistakes before hours of work
        record(workdir.dataset, images)
        for dataset in images.values():
            if dataset.defects.counts:
                reporter.say(f"{dataset.name}: annotations fixed or skipped:\n{dataset.defects.text()}")
        for reason in run_images.skipped.values():
            reporter.say(f"skipped {reason}")
        material = Material(settings, workdir, reporter, images)
        for form in settings.forms:
            if not workdir.point(form).is_file():
                fit(form, settings, workdir, material, images, reporter)
    return workdir


def fit(
    form: str,
    settings: config.RCNN,
    workdir: Workdir,
    material: Material,
    images: Mapping[str, Dataset],
    reporter: training.Reporter,
) -> None:
    """Trains a form's head, writes it, and chooses the scores from which on it is believed."""
    held_out = material.split("validation", images["validation"], windows=form == WINDOWS)
    names = images["train"].class_names
    if form == WINDOWS:
        head = classifier_head(material.backbone, names)
    else:
        learned = material.split("train", images["train"], windows=False)
        examples = Examples(learned.features, learned.regions)
        moments = feature_moments(learned.features, settings.seed)
        if form == "joint":
            validation = Examples(held_out.features, held_out.regions)
            work = JointTraining(settings.joint, len(names), examples, validation, moments, settings.seed)
            head = region.joint_detector(run_joint(work, workdir, reporter))
        else:
            head = classic.fit(
                settings.classic,
                names,
                examples,
                learned.class_overlaps,
                moments,
                settings.seed,
                lambda text: reporter.say(f"classic head, {text}"),
            )
    path = workdir.head(form)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.keras")
    head.save(partial)
    partial.replace(path)
    point = Detector(head, settings.detection).operating_point(held_out)
    point = dataclasses.replace(point, backbone=material.digest)
    write(workdir.point(form), json.dumps(asdict(point), indent=2) + "\n")
    reporter.say(
        f"{form}: regions are objects from a score of {point.region:.4f} on, detections count from "
        f"{point.detection:.4f}"
    )


def run_joint(work: JointTraining, workdir: Workdir, reporter: training.Reporter) -> keras.Model:
    """Trains the joint head, tells of each epoch, and keeps the epochs' rows."""
    board = Board(workdir.tensorboard)

    def report(row: dict[str, float]) -> None:
        board.scalars(int(row["epoch"]), {f"joint/{key}": value for key, value in row.items() if key != "epoch"})
        reporter.say(
            f"joint head, epoch {row['epoch']:.0f}: loss {row['train_loss']:.4f}, accuracy "
            f"{row['train_accuracy']:.4f}; validation {row['validation_loss']:.4f}, {row['validation_accuracy']:.4f}"
        )

    rows = work.run(report)
    board.close()
    write(workdir.path / "joint.json", json.dumps(rows, indent=2) + "\n")
    return work.head


def classifier_head(of: backbone.Backbone, class_names: Sequence[str]) -> keras.Model:
    """The backbone's own classifier as a head.

    Raises:
        UserError: it does not know a class.
    """
    unknown = [name for name in class_names if name not in of.class_names]
    if unknown:
        raise UserError(
            f"the backbone's classes are {', '.join(of.class_names)}; a sliding window needs {unknown[0]} among them"
        )
    kernel, biases = of.model.get_layer(CLASSIFIER).get_weights()
    return region.classifier_detector(kernel, biases, [of.class_names.index(name) for name in class_names])


def feature_moments(features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of each feature, float64 [D]; a feature that never changes has spread 1."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:MOMENT_ROWS])
    parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    mean = np.sum([np.sum(features[part], axis=0, dtype=np.float64) for part in parts], axis=0) / len(rows)
    squares = [np.sum((features[part].astype(np.float64) - mean) ** 2, axis=0) for part in parts]
    std = np.sqrt(np.sum(squares, axis=0) / len(rows))
    return mean, np.where(std > 1e-6, std, 1.0)


def ceiling(objects: Sequence[Objects], proposals: Sequence[np.ndarray], overlap: float = 0.5) -> float:
    """Share of objects (but difficult and crowd ones) that some proposal overlaps: no detector finds more."""
    best = [np.zeros(0)]
    for of, boxes in zip(objects, proposals, strict=True):
        plain = ~of.ignored
        best.append(iou(boxes, of.boxes_yxyx[plain]).max(axis=0, initial=0.0))
    return float((np.concatenate(best) >= overlap).mean())
