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
from tfeff.data.splits import canonical_name, require_split
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
        self._read = dict[str, Dataset]()
        self.skipped = dict[str, str]()

    @cached_property
    def training(self) -> dict[str, Dataset]:
        """The images of `train` and `validation`.

        Raises:
            UserError: a missing dataset or split, splits that share images or differ in classes, images without
                objects, or fewer than two images.
        """
        data, seed = self._settings.data, self._settings.seed
        train = self.load(data.train_split)
        if data.train_examples is not None and data.train_examples < len(train):
            train = train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[: data.train_examples]))
        if data.validation_split is not None:
            validation = self.load(data.validation_split)
        else:
            held_out = max(1, round(data.validation_fraction * len(train)))
            if held_out >= len(train):
                raise UserError(
                    f"{train.name}: {len(train)} images are too few to hold out {data.validation_fraction} of them"
                )
            order = np.random.default_rng(seed).permutation(len(train))
            train, validation = train.take(np.sort(order[held_out:])), train.take(np.sort(order[:held_out]))
        require_objects(train, "train on")
        require_objects(validation, "validate on")
        require_disjoint(validation, train, "data.validation_split")
        return {"train": train, "validation": validation}

    @property
    def test_split(self) -> str | None:
        """The split on which the run is evaluated at its end, if any.

        A source without a split called `test` is evaluated on the validation images, unless the config names a split.

        Raises:
            UserError: the config names a split that the source does not have.
        """
        wanted = self._settings.data.test_split
        if wanted is None:
            return None
        if self._source.find(wanted) is None and wanted == config.DetectionData.test_split:
            return "validation"
        return require_split(self._source.name, wanted, self._source.splits)

    def split(self, name: str) -> Dataset:
        """The images that a run means by a split's name.

        The config's `data.test_split` is the source's own split. `train` is what the run trains on and `validation`
        what it holds out. Other names are the source's own splits.

        Raises:
            UserError: no such split, or other classes than the run's; for the test split also if it has no objects, or
                shares images with those that the run trained on or held out.
        """
        wanted = self._settings.data.test_split
        test = None if wanted is None else self._source.find(wanted)
        if test is not None and name in (wanted, test):
            images = self.load(name)
            require_objects(images, "test on")
            for other in self.training.values():
                require_disjoint(images, other, "data.test_split")
            return images
        if canonical_name(name) in self.training:
            return self.training[canonical_name(name)]
        images = self.load(name)
        require_same_classes(images, self.training["train"])
        return images

    def load(self, split: str) -> Dataset:
        """A split of the run's source, without corrupt images if these are to be skipped."""
        dataset = self._source.load(split)
        if self._settings.data.corrupt_images == "error":
            return dataset
        if dataset.name not in self._read:
            corrupt = corrupt_images(dataset)
            if len(corrupt) == len(dataset):
                raise UserError(f"{dataset.name}: none of its {len(dataset)} images can be decoded")
            self.skipped |= {dataset.ids[index]: reason for index, reason in corrupt.items()}
            self._read[dataset.name] = dataset.take(np.setdiff1d(np.arange(len(dataset)), list(corrupt)))
        return self._read[dataset.name]


def corrupt_images(dataset: Dataset) -> dict[int, str]:
    """Decodes every image: index -> reason, of those that cannot be decoded."""

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
    """Refuses images without any object that counts."""
    if all(objects.ignored.all() for objects in images.objects):
        raise UserError(f"{images.name}: the {len(images)} images to {purpose} have no objects")


def require_disjoint(images: Dataset, others: Dataset, key: str) -> None:
    """Refuses images that are among others, or that have other classes; `key` is the setting to change."""
    require_same_classes(images, others)
    places = {name: index for index, name in enumerate(others.ids)}
    shared = [
        name
        for index, name in enumerate(images.ids)
        if name in places and images.images.digest(index) == others.images.digest(places[name])
    ]
    if shared:
        raise UserError(
            f"{len(shared)} images of {images.name} are also in {others.name}, which the run trains on or holds out; "
            f"the first is {min(shared)}. Choose another {key} or another split to train on"
        )


def require_same_classes(images: Dataset, others: Dataset) -> None:
    """Refuses images with other classes: their labels would mean something else."""
    if images.class_names != others.class_names:
        raise UserError(
            f"{images.name} has the classes {', '.join(images.class_names)}; {others.name} has "
            f"{', '.join(others.class_names)}: all splits must have the same classes in the same order"
        )


def record(path: Path, training: Mapping[str, Dataset]) -> None:
    """Records which classes, images and objects a run trains on and holds out, when it starts.

    Args:
        path: of the record.
        training: by `train` and `validation`.

    Raises:
        UserError: the record exists, and they have changed since.
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
        raise UserError(f"{path}: missing; run tfeff.train on the workdir to its end")
    return tuple(json.loads(path.read_text())["class_names"])


def _digest(images: Dataset) -> str:
    """Of names and objects. Changed pixels are noticed when features are computed."""
    digest = hashlib.blake2b(digest_size=16)
    for name, objects in zip(images.ids, images.objects, strict=True):
        digest.update(f"{len(name)} {len(objects)} {name}".encode(errors="surrogateescape"))
        for values in (objects.boxes_yxyx, objects.labels, objects.difficult, objects.crowd):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
