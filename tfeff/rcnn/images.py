"""Which images a run trains on, holds out and is tested on."""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from tfeff import config
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.data.splits import ALL, canonical_name, require_split
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.reporting.progress import Bar


class RunImages:
    """The images of a run. The source is opened once, and each split is read once.

    Args:
        settings: the run.

    Attributes:
        skipped: corrupt images that were skipped: id -> reason.
    """

    def __init__(self, settings: config.RCNN) -> None:
        self._settings = settings
        data = settings.data
        self._source = catalog.open_objects(data.source, Options(seed=settings.seed, on_defect=data.on_defect))
        self._intact = dict[str, Dataset]()
        self.skipped = dict[str, str]()

    @cached_property
    def training(self) -> dict[str, Dataset]:
        """The images of `train` and `validation`.

        Raises:
            UserError: a missing dataset or split, splits that share images or differ in classes, images without
                objects, or fewer than two images.
        """
        data, seed = self._settings.data, self._settings.seed
        train = self.load(self._named("data.train_split", data.train_split))
        if data.train_examples is not None and data.train_examples < len(train):
            train = train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[: data.train_examples]))
        if data.validation_split is not None:
            validation = self.load(self._named("data.validation_split", data.validation_split))
        else:
            held_out = max(1, round(data.validation_fraction * len(train)))
            if held_out >= len(train):
                raise UserError(
                    f"config: data.validation_fraction: {train.name}: {data.validation_fraction} of {len(train)} "
                    "images leaves none to train on"
                )
            order = np.random.default_rng(seed).permutation(len(train))
            train, validation = train.take(np.sort(order[held_out:])), train.take(np.sort(order[:held_out]))
        require_objects(train, "train on")
        require_objects(validation, "validate on")
        require_disjoint(validation, train, "data.validation_split")
        return {"train": train, "validation": validation}

    @cached_property
    def test_split(self) -> str | None:
        """The source's name of the test split; None if `data.test_split` is None, or if there is none.

        If the source has no split with the default name, its validation split is the test split, unless the run trains
        or validates on it.

        Raises:
            UserError: the config names another split that the source does not have.
        """
        data = self._settings.data
        if data.test_split is None:
            return None
        if data.test_split != config.DetectionData.test_split:
            return self._named("data.test_split", data.test_split)
        found = self._source.find(data.test_split)
        if found is not None or data.validation_split is not None:
            return found
        own = self._source.find("validation")
        if own is None or data.train_split == ALL or self._source.overlap(own, data.train_split):
            return None
        return own

    @property
    def lacks_test_split(self) -> bool:
        """Whether the source has no split of the name in `data.test_split`."""
        wanted = self._settings.data.test_split
        return wanted is not None and self._source.find(wanted) is None

    def resolve(self, name: str) -> str:
        """The name of a split without aliases: `train` and `validation` are the run's own, unless the name means the
        test split; others are splits of the source."""
        found = self._source.find(name)
        if found is not None and found == self.test_split:
            return found
        return canonical_name(name) if canonical_name(name) in ("train", "validation") else found or name

    def split(self, name: str) -> Dataset:
        """The images of a split; see `resolve`.

        Raises:
            UserError: no such split, or other classes than the run's; for the test split also if it has no objects, or
                shares images with the training or validation images.
        """
        name = self.resolve(name)
        if name == self.test_split:
            images = self.load(name)
            require_objects(images, "test on")
            for other in self.training.values():
                require_disjoint(images, other, "data.test_split")
            return images
        if name in self.training:
            return self.training[name]
        images = self.load(name)
        require_same_classes(images, self.training["train"])
        return images

    def load(self, split: str) -> Dataset:
        """A split of the source; without corrupt images if `data.corrupt_images` is `skip`.

        Raises:
            UserError: no such split, no images, or only corrupt images.
        """
        dataset = self._source.load(split)
        if self._settings.data.corrupt_images == "error":
            return dataset
        if dataset.name not in self._intact:
            corrupt = corrupt_images(dataset)
            if len(corrupt) == len(dataset):
                raise UserError(f"{dataset.name}: none of its {len(dataset)} images can be decoded")
            self.skipped |= {dataset.ids[index]: reason for index, reason in corrupt.items()}
            intact = np.setdiff1d(np.arange(len(dataset)), list(corrupt))
            self._intact[dataset.name] = dataset.take(intact) if corrupt else dataset
        return self._intact[dataset.name]

    def _named(self, key: str, split: str) -> str:
        """The source's name of a split that the config names."""
        try:
            return require_split(self._source.name, split, (*self._source.splits, ALL))
        except UserError as error:
            raise UserError(f"config: {key}: {error}") from None


def corrupt_images(dataset: Dataset) -> dict[int, str]:
    """Decodes every image; index -> reason for those that cannot be decoded."""

    def problem(index: int) -> str | None:
        try:
            decoding.decode(dataset.encoded(index), dataset.ids[index])
        except UserError as error:
            return str(error)
        except OSError as error:
            return f"{dataset.ids[index]}: cannot be read ({error.strerror})"
        return None

    corrupt = dict[int, str]()
    with ThreadPoolExecutor(os.cpu_count()) as threads, Bar(f"checking {dataset.name}", len(dataset), "images") as bar:
        for index, reason in enumerate(threads.map(problem, range(len(dataset)))):
            if reason is not None:
                corrupt[index] = reason
            bar.show(index + 1)
    return corrupt


def require_objects(images: Dataset, purpose: str) -> None:
    """Requires at least one object that is neither difficult nor a crowd."""
    if all(objects.ignored.all() for objects in images.objects):
        raise UserError(f"{images.name}: the {len(images)} images to {purpose} have no objects")


def require_disjoint(images: Dataset, others: Dataset, key: str) -> None:
    """Requires the same classes, and no image (name and content) in both datasets.

    Args:
        images: of the split that a setting chose.
        others: images of the run.
        key: the setting.

    Raises:
        UserError: the classes differ, or the datasets share images.
    """
    require_same_classes(images, others)
    positions = {name: index for index, name in enumerate(others.ids)}
    shared = [
        name
        for index, name in enumerate(images.ids)
        if name in positions and images.images.digest(index) == others.images.digest(positions[name])
    ]
    if shared:
        raise UserError(
            f"config: {key}: {len(shared)} images of {images.name} are also in {others.name}, on which the run trains "
            f"or validates; the first is {min(shared)}. Choose other splits"
        )


def require_same_classes(images: Dataset, others: Dataset) -> None:
    """Requires the same classes in the same order, so that labels mean the same."""
    if images.class_names != others.class_names:
        raise UserError(
            f"{images.name} has the classes {', '.join(images.class_names)}; {others.name} has "
            f"{', '.join(others.class_names)}: all splits must have the same classes in the same order"
        )


def record(path: Path, training: Mapping[str, Dataset]) -> None:
    """Records the classes, images and objects that a run trains on and holds out; on a rerun, checks them.

    Args:
        path: of the record.
        training: `train` and `validation`.

    Raises:
        UserError: they differ from an existing record.
    """
    now = {"class_names": list(training["train"].class_names)} | {
        name: {"images": len(images), "digest": _digest(images)} for name, images in training.items()
    }
    if not path.is_file():
        write(path, json.dumps(now, indent=2) + "\n")
    elif json.loads(path.read_text()) != now:
        raise UserError(
            f"{training['train'].name}: its images, objects or classes have changed since the run in {path.parent} "
            "began; restore them, or train in a new --workdir"
        )


def class_names(path: Path) -> tuple[str, ...]:
    """The classes in a run's record.

    Raises:
        UserError: there is no record.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; run tfeff.train to its end first")
    return tuple(json.loads(path.read_text())["class_names"])


def _digest(images: Dataset) -> str:
    """Digest of names and objects. The feature cache notices changed pixels."""
    digest = hashlib.blake2b(digest_size=16)
    for name, objects in zip(images.ids, images.objects, strict=True):
        digest.update(f"{len(name)} {len(objects)} {name}".encode(errors="surrogateescape"))
        for values in (objects.boxes_yxyx, objects.labels, objects.difficult, objects.crowd):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
