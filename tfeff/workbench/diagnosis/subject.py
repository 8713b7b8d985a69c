"""What is diagnosed: a dataset before training, or a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfeff import config, tasks
from tfeff.data.dataset import Dataset, Defects, NoImagesError
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import canonical_name
from tfeff.errors import UserError
from tfeff.tasks.task import ImageTask
from tfeff.training import Workdir, build, selection, split_plan

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True, eq=False)
class Subject:
    """The images of a diagnosis, and, if there is one, the run.

    Attributes:
        name: how the report refers to it.
        source: the source of the images.
        splits: images by role: train, validation, test, as far as they exist.
        lost: splits all images of which were dropped because of defects, by role.
        settings: the experiment; None for R-CNN, of which only the dataset is examined.
        workdir: of the run; None before training.
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

    @property
    def detects(self) -> bool:
        """Whether images have objects with boxes."""
        return self.train.has_objects

    @property
    def is_trained_classifier(self) -> bool:
        """Whether this is a finished run of a classifier."""
        finished = self.workdir is not None and self.workdir.final.is_file()
        return finished and self.settings is not None and isinstance(self.settings.task, config.Classification)

    @cached_property
    def task(self) -> ImageTask:
        """The task of the experiment."""
        assert self.settings is not None
        return tasks.create(self.settings.task)

    @cached_property
    def options(self) -> dict[str, Any]:
        """What the network takes from the training images; see `ImageTask.measured`."""
        assert self.settings is not None
        if self.workdir is not None:
            return dict(self.workdir.dataset().get("options", {}))
        return build.measured(self.settings, self.train)[0]

    @cached_property
    def description(self) -> Any:
        """The description of the network."""
        assert self.settings is not None
        model = self.settings.model
        options = model.options() | self.options
        return self.task.describe(model.name, resolution=model.resolution, **options)


def open_dataset(name: str, overrides: Sequence[str], base: config.Experiment | None = None) -> Subject:
    """A dataset, with the settings with which it would be trained.

    Args:
        name: of the dataset, such as `voc:<directory>`.
        overrides: of the config, `key=value`.
        base: the config; default: YOLO for images with boxes, a classifier for others.

    Raises:
        UserError: an unknown dataset or key, or no images.
    """
    if base is None:
        data = config.override(config.Experiment(), [each for each in overrides if each.startswith("data.")]).data
        if catalog.has_objects(name, Options(data_dir=data.directory, download=data.download)):
            base = config.Experiment(task=config.Yolo(), model=config.Model(name="efficientnet-b0"))
        else:
            base = config.Experiment(task=config.Classification(), model=config.Model(name="resnet"))
    given = {each.partition("=")[0] for each in overrides}
    settings = config.override(base, [f"data.source={name}", *overrides])
    source = selection.open_source(settings, keep_written=True)
    if source.find(settings.data.train_split) is None and "data.train_split" not in given:
        settings = config.override(settings, [f"data.train_split={source.splits[0]}"])
    splits, lost = _splits(settings, source)
    return Subject(name, source, splits, settings, lost=lost)


def open_run(directory: Path) -> Subject:
    """The run of a workdir, finished or not.

    Raises:
        UserError: there is no run, or it has not begun to train.
    """
    settings = config.saved(directory, config.Experiment, config.RCNN)
    if isinstance(settings, config.RCNN):
        return _open_staged(directory, settings)
    assert isinstance(settings, config.Experiment)
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
    settings = config.resolve_family(settings)
    source = selection.open_source(settings, keep_written=True)
    (splits, lost), record = _splits(settings, source), workdir.dataset()
    if not record.get("given"):
        splits = _chosen(settings, source, splits, record.get("skipped_images", ()))
    return Subject(f"{directory} ({settings.data.source})", source, splits, settings, workdir, lost)


def _open_staged(directory: Path, settings: config.RCNN) -> Subject:
    """The images of a run of R-CNN."""
    data = settings.data
    source = catalog.open_objects(data.source, Options(seed=settings.seed, keep_written=True))
    wanted = {TRAIN: data.train_split, VALIDATION: data.validation_split, TEST: data.test_split}
    names = {role: source.find(split) for role, split in wanted.items() if split is not None}
    if names[TRAIN] is None:
        raise UserError(f'{source.name}: no split "{data.train_split}"')
    splits = {role: source.load(split) for role, split in names.items() if split is not None}
    return Subject(f"{directory} ({data.source})", source, splits, None)


def _chosen(
    settings: config.Experiment, source: Source, splits: Mapping[str, Dataset], skipped: Sequence[str]
) -> dict[str, Dataset]:
    """The images that a run trained and validated on; the skipped ones are added to the former, for the report."""
    chosen, train = dict(splits), splits[TRAIN]
    validates = split_plan.plan(settings, source).validation is not None
    if not validates:
        chosen.pop(VALIDATION, None)
    corrupt = np.isin(train.ids, list(skipped))
    readable = np.flatnonzero(~corrupt)
    part = selection.fold(settings, train.take(readable), validates=validates)
    if part is not None:
        chosen[TRAIN] = train.take(np.concatenate([readable[part.train], np.flatnonzero(corrupt)]))
        if len(part.validation):
            chosen[VALIDATION] = train.take(readable[part.validation])
    return {role: chosen[role] for role in (TRAIN, VALIDATION, TEST) if role in chosen}


def _splits(settings: config.Experiment, source: Source) -> tuple[dict[str, Dataset], dict[str, Defects]]:
    """Images by role, and the defects of splits without any image left. Splits that share images are kept: that is a
    finding, not an error."""
    data = settings.data
    train = source.find(data.train_split)
    if train is None:
        raise UserError(f'config: data.train_split: {source.name} has no split "{data.train_split}"')
    found, lost = {TRAIN: selection.load(settings, source, train)}, dict[str, Defects]()
    wanted = {VALIDATION: data.validation_split or VALIDATION, TEST: data.test_split}
    for role, split in wanted.items():
        name = None if split is None else source.find(split)
        if name is None or name == train or (role == VALIDATION and canonical_name(train) == "trainval"):
            continue
        try:
            found[role] = selection.load(settings, source, name)
        except NoImagesError as error:
            if error.defects.counts:
                lost[role] = error.defects
    return found, lost
