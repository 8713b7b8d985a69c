"""Which images a run learns from, which it holds out, and on which it is measured."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfeff import config
from tfeff.data.annotations import AnnotatedSource
from tfeff.data.sources import catalog
from tfeff.durable import write
from tfeff.errors import UserError


def sources(settings: config.RCNN) -> dict[str, AnnotatedSource]:
    """The images of `train` and `validation`.

    Raises:
        UserError: a data set or a split that is not there, splits that share images or differ in classes, images
            without objects, or fewer than two images.
    """
    data = settings.data
    train = load(settings, data.train_split)
    if data.train_examples is not None and data.train_examples < len(train):
        train = train.take(np.sort(np.random.default_rng(settings.seed).permutation(len(train))[: data.train_examples]))
    if data.validation_split is not None:
        validation = load(settings, data.validation_split)
    else:
        held_out = max(1, round(data.validation_fraction * len(train)))
        if held_out >= len(train):
            raise UserError(
                f"{train.name}: {len(train)} images are too few to hold out {data.validation_fraction} of them"
            )
        order = np.random.default_rng(settings.seed).permutation(len(train))
        train, validation = train.take(np.sort(order[held_out:])), train.take(np.sort(order[:held_out]))
    with_objects(train, "train on")
    with_objects(validation, "validate on")
    apart(validation, train, "data.validation_split")
    return {"train": train, "validation": validation}


def images_of(settings: config.RCNN, split: str, learned: Mapping[str, AnnotatedSource]) -> AnnotatedSource:
    """What a run calls a split: `data.test_split` is the data set's own; `train` is what the run learns from and
    `validation` what it holds out; others are the data set's own.

    Args:
        settings: the run.
        split: its name.
        learned: the run's `sources`.

    Raises:
        UserError: there is no such split, or it has other classes than the run; and for the test split, if it has no
            objects or shares images with those that the run learned from or held out.
    """
    if split == settings.data.test_split:
        images = load(settings, split)
        with_objects(images, "test on")
        for of in learned.values():
            apart(images, of, "data.test_split")
        return images
    if split in learned:
        return learned[split]
    images = load(settings, split)
    same_classes(images, learned["train"])
    return images


def load(settings: config.RCNN, split: str) -> AnnotatedSource:
    """A split of the run's data set."""
    data = settings.data
    return catalog.load_annotated(data.source, split, seed=settings.seed, on_defect=data.on_defect)


def with_objects(images: AnnotatedSource, what: str) -> None:
    """Refuses images of which none has an object that counts."""
    if not any((~(objects.difficult | objects.crowd)).any() for objects in images.objects):
        raise UserError(f"{images.name}: the {len(images)} images to {what} have no objects")


def apart(images: AnnotatedSource, others: AnnotatedSource, key: str) -> None:
    """Refuses images that are among others, or whose classes are others; `key` is what to change."""
    same_classes(images, others)
    places = {name: index for index, name in enumerate(others.ids)}
    both = [
        name
        for index, name in enumerate(images.ids)
        if name in places and images.encoded(index) == others.encoded(places[name])
    ]
    if both:
        raise UserError(
            f"{len(both)} images of {images.name} are among those of {others.name} that the run learns from or holds "
            f"out; the first is {min(both)}: give another {key}, or other splits to learn from"
        )


def same_classes(images: AnnotatedSource, others: AnnotatedSource) -> None:
    """Refuses images whose classes are others: labels would mean other things."""
    if images.class_names != others.class_names:
        raise UserError(
            f"{images.name} has the classes {', '.join(images.class_names)}; {others.name} has "
            f"{', '.join(others.class_names)}: the splits of a data set must list the same ones in the same order"
        )


def remember(path: Path, learned: Mapping[str, AnnotatedSource]) -> None:
    """Keeps which classes, images and objects a run learns from and holds out.

    Args:
        path: of the record.
        learned: by `train` and `validation`.

    Raises:
        UserError: the record is there, and they have changed since.
    """
    now = {"class_names": list(learned["train"].class_names)} | {
        name: {"images": len(images), "digest": _digest(images)} for name, images in learned.items()
    }
    if not path.is_file():
        write(path, json.dumps(now, indent=2) + "\n")
    elif json.loads(path.read_text()) != now:
        raise UserError(
            f"{learned['train'].name}: its images, objects or classes are not those with which the run in "
            f"{path.parent} began; put them back, or train in a new --workdir"
        )


def class_names(path: Path) -> tuple[str, ...]:
    """Those of a run's record.

    Raises:
        UserError: there is none.
    """
    if not path.is_file():
        raise UserError(f"{path}: not there; run tfeff.train on the workdir to its end")
    return tuple(json.loads(path.read_text())["class_names"])


def _digest(images: AnnotatedSource) -> str:
    """Of names and objects; that a file has changed its pixels is noticed where they are read."""
    made = hashlib.blake2b(digest_size=16)
    for name, objects in zip(images.ids, images.objects, strict=True):
        made.update(f"{len(name)} {len(objects)} {name}".encode(errors="surrogateescape"))
        for of in (objects.boxes_yxyx, objects.labels, objects.difficult, objects.crowd):
            made.update(np.ascontiguousarray(of).tobytes())
    return made.hexdigest()
