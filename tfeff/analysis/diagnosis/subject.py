"""What is diagnosed: a dataset before training, or a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfeff import config, selection
from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.defects import Defects
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, canonical_name
from tfeff.errors import UserError
from tfeff.tasks.task import ImageTask
from tfeff.training import Plan, Workdir, exposure

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True, eq=False)
class Subject:
    """The images of a diagnosis, and, if there is one, the run.

    Attributes:
        splits: images by role: train, validation, test, as far as they exist.
        lost: splits all images of which were dropped because of defects, by role.
        settings: the experiment; None for R-CNN, of which only the dataset is examined.
        workdir: workdir of the run; None before training.
    """

    name: str
    source: Source
    splits: Mapping[str, Dataset]
    settings: config.Experiment | None
    workdir: Workdir | None = None
    lost: Mapping[str, Defects] = field(default_factory=dict)

    @property
    def train(self) -> Dataset:
        """The training images."""
        return self.splits[TRAIN]

    @cached_property
    def annotated(self) -> dict[str, Dataset]:
        """Images by role, as they are annotated: not their tiles, but the images that these were cut from."""
        return {role: images.uncut for role, images in self.splits.items()}

    @property
    def detects(self) -> bool:
        """Whether images have objects with boxes."""
        return self.train.has_objects

    @property
    def is_trained_classifier(self) -> bool:
        """Whether this is a finished run of a classifier."""
        finished = self.workdir is not None and self.workdir.final.is_file()
        return finished and self.settings is not None and self.settings.task.IS_CLASSIFIER

    @cached_property
    def plan(self) -> Plan:
        """What the run does, with what it takes from the training images."""
        assert self.settings is not None
        return Plan.of(self.settings).learned(self.record)

    def asked(self, split: str) -> tuple[str, str]:
        """Returns the role of a split that the user names, and its name in the source; either may be given.

        A split that is called validation, but is not what validates, has its own name as its role. A split that
        validates and tests has the role `test`.
        """
        role, name = canonical_name(split), self.source.find(split)
        if self.settings is None:
            return role, split
        data = self.settings.data
        test, validation = (each and self.source.find(each) for each in (data.test_split, data.validation_split))
        if name is None and role == VALIDATION:
            name = validation
        if name is None:
            return role, data.test_split if role == TEST and data.test_split else split
        if name in (test, validation):
            return TEST if name == test else VALIDATION, split
        return split if role == VALIDATION and validation else role, split

    def including(self, split: str) -> tuple["Subject", str]:
        """Returns the subject with a split that the user names, and its role; see `asked`.

        The images of a split that the run does not use are loaded, if the source has it.

        Raises:
            UserError: the run was trained on some of them.
        """
        role, name = self.asked(split)
        if self.settings is None or role in self.splits or self.source.find(name) is None:
            return self, role
        images = selection.load(selection.request(self.settings), self.source, name)
        if self.workdir is not None:
            known = int(np.isin(images.origins, self.workdir.fingerprint().trained).sum())
            if known:
                raise UserError(
                    f"--split={split}: the run was trained on {known:,} of its {len(images):,} images; choose another "
                    f"split: {', '.join(each for each in self.splits if each != TRAIN) or 'there is none'}"
                )
            images = _noted(images, *exposure.notes(self.settings.sources, images, role))
        return replace(self, splits={**self.splits, role: images}), role

    @property
    def task(self) -> ImageTask:
        """The task of the experiment."""
        return self.plan.task

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the network takes from the training images; see `Plan.learned`."""
        assert self.settings is not None
        if self.workdir is not None:
            return self.workdir.dataset()
        plan = Plan.of(self.settings)
        measured, _ = plan.task.measured(self.train, plan.network)
        return {"mean": [], "std": [], "class_names": list(self.train.class_names), "measured": measured}

    @property
    def description(self) -> Any:
        """The description of the network."""
        return self.plan.network


def with_defects_once(splits: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Returns the splits; if some are parts of one split, only the first part has its defects."""
    found, known = dict[str, Dataset](), set[int]()
    for role, images in splits.items():
        found[role] = replace(images, defects=Defects()) if id(images.defects) in known else images
        known.add(id(images.defects))
    return found


def open_dataset(name: str, overrides: Sequence[str], base: config.Experiment | None = None) -> Subject:
    """Returns a dataset, with the settings with which it would be trained.

    Args:
        name: name of the dataset, such as `voc:<directory>`.
        overrides: config overrides, `key=value`.
        base: the config; default: YOLO for images with boxes, a classifier for others.

    Raises:
        UserError: an unknown dataset or key, or no images.
    """
    if base is None:
        data = config.override(config.Experiment(), [each for each in overrides if each.startswith("data.")]).data
        if catalog.has_objects(name, Options(data_dir=data.directory, download=data.download)):
            backbone = config.architecture("efficientnet-b0", resolution=320)
            base = config.Experiment(task=config.YoloSettings(), model=backbone)
        else:
            base = config.Experiment()
    given = {each.partition("=")[0] for each in overrides}
    settings = config.override(base, [f"data.source={name}", *overrides])
    wanted = selection.request(settings)
    source = selection.open_source(wanted, keep_raw_annotations=True)
    train = selection.find(source, "data.train_split", settings.data.train_split)
    if train is None and "data.train_split" not in given:
        settings = config.override(settings, [f"data.train_split={source.splits[0]}"])
        wanted = replace(wanted, data=settings.data)
    splits, lost = _splits(wanted, source)
    return Subject(name, source, splits, settings, lost=lost)


def open_run(directory: Path) -> Subject:
    """Returns the run of a workdir, finished or not.

    Raises:
        UserError: there is no run, or it has not begun to train.
    """
    settings = config.saved(directory, config.Experiment)
    workdir = Workdir(directory)
    if not (directory / "dataset.json").is_file():
        raise UserError(
            f"--workdir={directory}: the run has not begun to train, so there is nothing to analyze. Rerun its "
            f"tfeff.train command, or analyze the data alone: --dataset={settings.data.source}"
        )
    if not workdir.rows() and workdir.divergence() is None:
        raise UserError(
            f"--workdir={directory}: the run has not finished its first epoch. Rerun its tfeff.train command, or "
            f"analyze the data alone: --dataset={settings.data.source}"
        )
    settings = config.resolve_member(settings)
    settings = replace(settings, task=settings.task.located(directory))
    wanted = selection.request(settings)
    source = selection.open_source(wanted, keep_raw_annotations=True)
    splits, lost = _splits(wanted, source)
    if not workdir.dataset().get("given"):
        splits = _chosen(wanted, source, splits, workdir)
    for role, images in splits.items():
        if role != TRAIN:
            splits[role] = _noted(images, *exposure.notes(settings.sources, images, role))
    return Subject(f"{directory} ({settings.data.source})", source, splits, settings, workdir, lost)


def _chosen(
    wanted: selection.Request, source: Source, splits: Mapping[str, Dataset], workdir: Workdir
) -> dict[str, Dataset]:
    """Returns the images that a run trained and validated on.

    Skipped images are added to the training images, for the report. A draw from other images would be another one, so
    if names or annotations have changed, the parts that were drawn are `_recognized`.
    """
    chosen, train = dict(splits), splits[TRAIN]
    validates = selection.assign(wanted, source).validation is not None
    if not validates:
        chosen.pop(VALIDATION, None)
    part = selection.fold(wanted, train, validates=validates)
    began, now = (each.splits[TRAIN] for each in (workdir.fingerprint(), selection.Fingerprint.of({TRAIN: train})))
    if (source.drawn or part is not None) and not began.draws_as(now):
        found = _recognized(selection.load(wanted, source, ALL) if source.drawn else train, workdir)
        changes = "; ".join(selection.Fingerprint({TRAIN: began}).changes(selection.Fingerprint({TRAIN: now})))
        note = (
            f"{source.name}: the images have changed since this run began ({changes}), so its splits cannot be drawn "
            "again: its training images are those that are recognized, its validation images the others that it knew"
        )
        found[TRAIN] = _noted(found[TRAIN], note)
        if not source.drawn:
            own = (TEST,) if part is None or len(part.validation) else (VALIDATION, TEST)
            found |= {role: chosen[role] for role in own if role in chosen}
        chosen = found
    elif part is not None:
        corrupt = _skipped(train, workdir)
        chosen[TRAIN] = train.take(np.union1d(part.train, np.flatnonzero(corrupt)))
        if len(part.validation):
            chosen[VALIDATION] = train.take(part.validation[~corrupt[part.validation]])
    return {role: chosen[role] for role in (TRAIN, VALIDATION, TEST) if role in chosen}


def _skipped(images: Dataset, workdir: Workdir) -> npt.NDArray[np.bool_]:
    return np.isin(images.ids, workdir.dataset().get("skipped_images") or [])


def _recognized(images: Dataset, workdir: Workdir) -> dict[str, Dataset]:
    """Returns those of the images that a run was trained on or skipped, and, as validation images, those that it knew
    without being trained on them. Images that are new or have changed are left out.

    If it was trained on none of them, all are training images.
    """
    began, now = workdir.fingerprint(), selection.Fingerprint.of({TRAIN: images}).splits[TRAIN]
    known = {each for split in began.of_source.splits.values() for each in split.files_by_name}
    corrupt = _skipped(images, workdir)
    trained = np.isin(images.origins, began.trained)
    if not trained.any():
        return {TRAIN: images}
    held_out = np.array([each in known for each in now.files_by_name]) & ~trained & ~corrupt
    parts = {TRAIN: trained | corrupt, VALIDATION: held_out}
    return {role: images.take(np.flatnonzero(part)) for role, part in parts.items() if part.any()}


def _splits(asked: selection.Request, source: Source) -> tuple[dict[str, Dataset], dict[str, Defects]]:
    """Returns images by role, and the defects of splits without any image left. A test split that shares images with
    the training split is kept: that is a finding, not an error."""
    data = asked.data
    train = selection.find(source, "data.train_split", data.train_split)
    if train is None:
        raise UserError(f'config: data.train_split: {source.name} has no split "{data.train_split}"')
    found, lost = {TRAIN: selection.load(asked, source, train)}, dict[str, Defects]()
    wanted, others = {TEST: data.test_split, VALIDATION: data.validation_split or VALIDATION}, [train]
    for role, split in wanted.items():
        name = None if split is None else selection.find(source, f"data.{role}_split", split)
        implied = role == VALIDATION and data.validation_split is None
        if name is None or name == train or (implied and name in others):
            continue
        if name in others:  # once is enough: the images of a split would be copies of themselves
            found[TRAIN] = _noted(found[TRAIN], f'{source.name}: the validation split "{name}" is also the test split')
            continue
        try:
            if implied:
                left, notes = selection.apart(source, name, others)
                if left is None:
                    found[TRAIN] = _noted(found[TRAIN], *notes)
                    continue
            found[role] = selection.load(asked, source, name)
            others.append(name)
        except NoImagesError as error:
            if error.defects.counts:
                lost[role] = error.defects
            else:
                found[TRAIN] = _noted(found[TRAIN], str(error))
    return {role: found[role] for role in (TRAIN, VALIDATION, TEST) if role in found}, lost


def _noted(images: Dataset, *notes: str) -> Dataset:
    return replace(images, notes=(*images.notes, *notes))
