"""The stages of R-CNN training. Each keeps its result, so a rerun resumes at the first incomplete stage."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfeff import config, training
from tfeff.data.dataset import Dataset
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.models.heads import region
from tfeff.models.heads.classifier import CLASSIFIER
from tfeff.rcnn import backbone, joint
from tfeff.rcnn.classic import ClassicTraining
from tfeff.rcnn.detector import Detector
from tfeff.rcnn.examples import Examples
from tfeff.rcnn.images import RunImages, record
from tfeff.rcnn.run_regions import SLIDING_WINDOW, RunRegions
from tfeff.rcnn.workdir import Workdir
from tfeff.training import distribution
from tfeff.training.interruption import Interruption

MOMENT_ROWS = 50_000
"""Maximum number of regions from which mean and standard deviation of the features are computed."""
CHUNK = 4096
"""Rows of them in memory at once."""


def train(
    settings: config.RCNN,
    directory: str | Path,
    reporter: training.Reporter | None = None,
    run_images: RunImages | None = None,
) -> Workdir:
    """Runs every stage that is not complete yet.

    Args:
        settings: the run.
        directory: the workdir; `rcnn.workdir` lists its files.
        reporter: logs progress.
        run_images: the run's images, if they are open already.

    Raises:
        UserError: invalid images, annotations or settings, or the workdir of another run.
        Interrupted: after Ctrl-C or SIGTERM while the backbone or the joint head trains.
    """
    workdir, reporter, own = Workdir(directory), reporter or training.Reporter(), settings.backbone.training
    if own.deterministic:
        tf.config.experimental.enable_op_determinism()
    with config.claimed(workdir.path, settings):
        backbone.check(settings)
        if "joint" in settings.forms:
            joint.check(settings.joint, distribution.strategy(own.strategy).num_replicas_in_sync)
        if settings.backbone_workdir is not None and settings.backbone != config.Experiment():
            reporter.say(
                "backbone_workdir provides the backbone; of the config section `backbone`, only training.strategy, "
                "training.deterministic and training.checkpoint_seconds have an effect"
            )
        run_images = run_images or RunImages(settings)
        images = run_images.training
        if run_images.test_split is not None:
            run_images.split(run_images.test_split)  # Reports errors before hours of work.
        record(workdir.dataset, images)
        for dataset in images.values():
            if dataset.defects.counts:
                reporter.say(f"{dataset.name}: annotations fixed or skipped:\n{dataset.defects.text()}")
        for reason in run_images.skipped.values():
            reporter.say(f"skipped {reason}")
        regions = RunRegions(settings, workdir, reporter, images)
        for form in settings.forms:
            if not workdir.thresholds(form).is_file():
                train_form(form, settings, workdir, regions, images, reporter)
    return workdir


def train_form(
    form: str,
    settings: config.RCNN,
    workdir: Workdir,
    regions: RunRegions,
    images: Mapping[str, Dataset],
    reporter: training.Reporter,
) -> None:
    """Trains the head of a form, saves it, and chooses its thresholds on the validation images."""
    validation = regions.region_set("validation", images["validation"], windows=form == SLIDING_WINDOW)
    names = images["train"].class_names
    if form == SLIDING_WINDOW:
        head = classifier_head(regions.backbone, names)
    else:
        train_regions = regions.region_set("train", images["train"], windows=False)
        examples = Examples(train_regions.features, train_regions.targets)
        moments = feature_moments(examples.features, settings.seed)
        if form == "joint":
            held_out = Examples(validation.features, validation.targets)
            data = joint.JointData(examples, held_out, moments, len(names), regions.backbone_digest)
            head = region.joint_detector(train_joint(settings, workdir, data, reporter))
        else:
            classic = ClassicTraining(names, examples, train_regions.class_overlaps, moments, settings.seed)
            head = classic.run(settings.classic, lambda text: reporter.say(f"classic head, {text}"))
    path = workdir.head(form)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.keras")
    head.save(partial)
    partial.replace(path)
    thresholds = Detector(head, settings.detection).choose_thresholds(validation)
    thresholds = dataclasses.replace(thresholds, backbone=regions.backbone_digest)
    write(workdir.thresholds(form), json.dumps(asdict(thresholds), indent=2) + "\n")
    reporter.say(
        f"{form}: region threshold {thresholds.region:.4f}; detection threshold {thresholds.detection:.4f} (chosen on "
        "the validation images)"
    )


def train_joint(
    settings: config.RCNN, workdir: Workdir, data: joint.JointData, reporter: training.Reporter
) -> keras.Model:
    """Trains the joint head and writes `joint.json`. Devices and checkpoint interval are those of the backbone."""
    own = settings.backbone.training
    with Interruption() as interruption:
        head = joint.train(
            settings.joint,
            data,
            workdir.joint,
            seed=settings.seed,
            strategy=distribution.strategy(own.strategy),
            checkpoint_seconds=own.checkpoint_seconds,
            reporter=reporter,
            interruption=interruption,
            hooks=[joint.Curves(workdir.tensorboard, reporter)],
        )
    rows = joint.curves(training.Workdir(workdir.joint).rows())
    write(workdir.path / "joint.json", json.dumps(rows, indent=2) + "\n")
    return head


def classifier_head(trained: backbone.Backbone, class_names: Sequence[str]) -> keras.Model:
    """The backbone's own classifier as a head.

    Raises:
        UserError: the classifier lacks a class.
    """
    unknown = [name for name in class_names if name not in trained.class_names]
    if unknown:
        raise UserError(
            f"the sliding window needs a backbone that classifies {unknown[0]}; its classes are "
            f"{', '.join(trained.class_names)}"
        )
    kernel, biases = trained.model.get_layer(CLASSIFIER).get_weights()
    return region.classifier_detector(kernel, biases, [trained.class_names.index(name) for name in class_names])


def feature_moments(features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, float64 [D]; 1 for the standard deviation of constant features."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:MOMENT_ROWS])
    parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    mean = np.sum([np.sum(features[part], axis=0, dtype=np.float64) for part in parts], axis=0) / len(rows)
    squares = [np.sum((features[part].astype(np.float64) - mean) ** 2, axis=0) for part in parts]
    std = np.sqrt(np.sum(squares, axis=0) / len(rows))
    return mean, np.where(std > 1e-6, std, 1.0)
