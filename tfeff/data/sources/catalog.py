"""From a dataset's name to a `Source`: the one table of schemes."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfeff.data.sources import (
    coco,
    crops,
    csv_boxes,
    csv_file,
    embedded,
    files,
    folder,
    given,
    hub,
    placed_digits,
    records,
    tfds,
    tiles,
    voc,
    yolo,
)
from tfeff.data.sources.source import Options, Source
from tfeff.errors import UserError, nearest

Opener = Callable[[str, Options], Source]
"""What follows the scheme's colon, and how to read it -> the source."""


@dataclass(frozen=True)
class Scheme:
    """A kind of source.

    Attributes:
        usage: how it is written.
        labels: opens it as images with one label each, if it has such.
        objects: opens it as images with objects, if it has such.
    """

    usage: str
    labels: Opener | None = None
    objects: Opener | None = None


def open_labels(name: str, options: Options | None = None) -> Source:
    """Opens a source of images with one label each.

    Args:
        name: `embedded:<name>`, `folder:<directory>`, `csv:<file>`, `tfds:<name>`, `hf:<directory>`,
            `records:<directory>`, or `crops:<name of a source with objects>`.
        options: how to read it.

    Raises:
        UserError: an unknown name, a missing folder, data that is not prepared.
    """
    return _open(name, options, "labels")


def open_objects(name: str, options: Options | None = None) -> Source:
    """Opens a source of images with objects.

    Args:
        name: `voc:<directory>`, `yolo:<directory or YAML file>`, `coco:<directory or JSON file>`, `csv:<file>`,
            `tfds:<name>`, `hf:<directory>`, `records:<directory>`, `embedded:placed_digits` or
            `embedded:single_digits`; the latter two also with the side of their canvas: `embedded:placed_digits:96`.
        options: how to read it.

    Raises:
        UserError: an unknown name, a missing folder, data that is not prepared.
    """
    source = _open(name, options, "objects")
    return source if options is None or options.grid is None else tiles.Tiles(source, options)


def why_without_objects(name: str, options: Options | None = None) -> str:
    """Returns why a source has no objects; empty if it has.

    Only sources that may have labels instead are opened to find out.

    Args:
        name: name of the source.
        options: how to read it.
    """
    scheme = SCHEMES.get(name.partition(":")[0])
    if scheme is None or scheme.objects is None:
        return "the images have labels"
    if scheme.labels is None:
        return ""
    try:
        open_objects(name, options)
    except UserError as error:
        return f"the images have no boxes: {error}"
    return ""


def has_objects(name: str, options: Options | None = None) -> bool:
    """Returns whether a source has objects; arguments as for `why_without_objects`."""
    return not why_without_objects(name, options)


def _open_crops(name: str, options: Options) -> Source:
    return crops.Crops(open_objects(name, dataclasses.replace(options, grid=None)), options)


SCHEMES: Mapping[str, Scheme] = {
    "embedded": Scheme("embedded:<name>", labels=embedded.Embedded, objects=placed_digits.PlacedDigits),
    "folder": Scheme("folder:<directory>", labels=folder.Folder),
    "csv": Scheme("csv:<file>", labels=csv_file.CSVFile, objects=csv_boxes.CSVBoxes),
    "tfds": Scheme("tfds:<name>", labels=tfds.TfdsLabeledImages, objects=tfds.TfdsAnnotatedImages),
    "hf": Scheme("hf:<directory>", labels=hub.HubLabeledImages, objects=hub.HubAnnotatedImages),
    "records": Scheme(
        "records:<directory>",
        labels=functools.partial(records.Records, objects=False),
        objects=functools.partial(records.Records, objects=True),
    ),
    "crops": Scheme("crops:<dataset with objects>", labels=_open_crops),
    "voc": Scheme("voc:<directory>", objects=voc.VOC),
    "yolo": Scheme("yolo:<directory or YAML file>", objects=yolo.YOLO),
    "coco": Scheme("coco:<directory or JSON file>", objects=coco.COCO),
    "python": Scheme(
        "python:<name of images given in Python>",
        labels=functools.partial(given.open_given, objects=False),
        objects=functools.partial(given.open_given, objects=True),
    ),
}


def _open(name: str, options: Options | None, kind: str) -> Source:
    scheme, colon, rest = name.partition(":")
    openers = {key: getattr(each, kind) for key, each in SCHEMES.items() if getattr(each, kind) is not None}
    usages = ", ".join(SCHEMES[key].usage for key in openers)
    if not colon or not rest:
        meant = f"did you mean folder:{name}? Or " if kind == "labels" and Path(name).is_dir() else ""
        raise UserError(f'dataset "{name}": no scheme; {meant}write one of {usages}')
    if scheme not in SCHEMES:
        raise UserError(f'dataset "{name}": unknown scheme "{scheme}"; {nearest(scheme, openers)}')
    if scheme not in openers:
        wanted = "a label per image" if kind == "labels" else "objects with boxes"
        raise UserError(f'dataset "{name}" does not have {wanted}; write one of {usages}')
    rest = os.path.expanduser(rest)
    if kind_of_archive := files.archive(rest):
        raise UserError(f"{rest} is {kind_of_archive}; unpack it, and name the folder: {scheme}:FOLDER")
    return openers[scheme](rest, options or Options())
