"""The stages of R-CNN, one after the other; each keeps what it made, so that a run that was stopped goes on."""

import json
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from tfeff import config, training
from tfeff.boxes import iou
from tfeff.data.annotations import Objects
from tfeff.detection import heads
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.rcnn import classic
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.joint import Examples, JointTraining
from tfeff.rcnn.splits import Extractor, Split, backbone_experiment, propose, sources
from tfeff.rcnn.workdir import Workdir
from tfeff.training.tensorboard import Board

MOMENT_ROWS = 50_000
"""Regions from which mean and spread of the features are taken, at most."""


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
        images = sources(settings)
        for of in images.values():
            if of.report.counts:
                reporter.say(of.report.text())
        proposals = {name: propose(settings, workdir.proposals(settings), of) for name, of in images.items()}
        for name, of in images.items():
            reporter.say(f"{name}: {ceiling(of.objects, proposals[name]):.3f} of the objects have a proposal (IoU 0.5)")
        model = backbone(settings, workdir, reporter)
        extractor = Extractor(settings, model, workdir.features)
        splits = {name: extractor.split(name, of, proposals[name]) for name, of in images.items()}
        for form in settings.forms:
            if not workdir.head(form).is_file():
                fit(form, settings, workdir, splits["train"], splits["validation"], reporter)
    return workdir


def backbone(settings: config.RCNN, workdir: Workdir, reporter: training.Reporter) -> keras.Model:
    """The trained backbone with its classifier."""
    if settings.backbone_workdir is not None:
        return training.trained_model(training.Workdir(settings.backbone_workdir))
    return training.trained_model(training.train(backbone_experiment(settings), workdir.backbone, reporter=reporter))


def fit(
    form: str, settings: config.RCNN, workdir: Workdir, train_split: Split, held_out: Split, reporter: training.Reporter
) -> None:
    """Trains a form's head and writes it."""
    moments = feature_moments(train_split.features, settings.seed)
    learned = Examples(train_split.features, train_split.regions)
    names = train_split.images.class_names
    path = workdir.head(form)
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "joint":
        board = Board(workdir.tensorboard)
        work = JointTraining(
            settings.joint,
            len(names),
            learned,
            Examples(held_out.features, held_out.regions),
            moments,
            settings.seed,
        )

        def report(row: dict[str, float]) -> None:
            board.scalars(int(row["epoch"]), {f"joint/{key}": value for key, value in row.items() if key != "epoch"})
            reporter.say(
                f"joint head, epoch {row['epoch']:.0f}: loss {row['train_loss']:.4f}, accuracy "
                f"{row['train_accuracy']:.4f}; validation {row['validation_loss']:.4f}, "
                f"{row['validation_accuracy']:.4f}"
            )

        rows = work.run(report)
        board.close()
        write(workdir.path / "joint.json", json.dumps(rows, indent=2) + "\n")
        detector = heads.joint_detector(work.head)
    elif form == "classic":
        detector = classic.fit(
            settings.classic,
            names,
            learned,
            train_split.class_overlaps,
            moments,
            settings.seed,
            lambda text: reporter.say(f"classic head, {text}"),
        )
    else:
        raise UserError(f"no form {form!r} of R-CNN; joint or classic")
    partial = path.with_name(f".{path.stem}.partial.keras")
    detector.save(partial)
    partial.replace(path)
    point = Detector(workdir, form).operating_point(settings.detection, held_out)
    reporter.say(
        f"{form} head: regions count as objects from {point.region:.4f} on, detections from {point.detection:.4f}"
    )


def feature_moments(features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of each feature, float64 [D]; a feature that never changes has spread 1."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:MOMENT_ROWS])
    chosen = np.asarray(features[rows], np.float32)
    std = chosen.std(axis=0, dtype=np.float64)
    return chosen.mean(axis=0, dtype=np.float64), np.where(std > 1e-6, std, 1.0)


def ceiling(objects: Sequence[Objects], proposals: Sequence[np.ndarray], overlap: float = 0.5) -> float:
    """Share of objects (but difficult and crowd ones) that some proposal overlaps: no detector finds more."""
    best = [np.zeros(0)]
    for of, boxes in zip(objects, proposals, strict=True):
        plain = ~(of.difficult | of.crowd)
        best.append(iou(boxes, of.boxes_yxyx[plain]).max(axis=0, initial=0.0))
    return float((np.concatenate(best) >= overlap).mean())
