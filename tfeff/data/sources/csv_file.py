"""Tables of labeled images: columns `image` and `label`, and optionally `split`, in the forms of `csv_table`."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.defects import Defects
from tfeff.data.images.storage import ImageFiles
from tfeff.data.names import shown
from tfeff.data.sources import csv_table
from tfeff.data.sources.csv_table import Row
from tfeff.data.sources.listing import folded
from tfeff.data.sources.source import FURTHER_CLASSES, Options, Source
from tfeff.data.splits import ALL, checked_fractions, find_split, require_distinct
from tfeff.errors import UserError

COLUMNS = ("image", "label")
_SPLIT = "split"
_MISSING = "image without a file"


@dataclass(slots=True)
class _Image:
    """An image that rows list.

    Attributes:
        path: path by which the process can open the file; "" without one.
        where: the first of its rows, for messages.
        label: name of its class.
        splits: the splits that its rows name; "" for none.
        problem: why it cannot be used; "" if it can.
        repeated: further rows of the image.
        written: how it is listed, if that lacks the ending of its file.
    """

    path: str
    where: str
    label: str
    splits: list[str]
    problem: str
    repeated: list[str] = field(default_factory=list)
    written: str = ""

    @property
    def split(self) -> str:
        return next(filter(None, self.splits), "")


class LabelTable(Source):
    """Rows that list images. Images are in the order of the rows, classes in that of their names.

    Splits are named as in the column `split`; without it, they are drawn by seed. Images that cannot be used, such as
    those without a file or with several labels, are left out and counted.

    Args:
        name: source name.
        rows: rows with `image` and `label`.
        options: `channels`, `fractions`, `seed`, `further_classes` and `on_defect` apply.
        folder: where images are searched whose names lack the ending, or differ only in case or in composed accents;
            None: nowhere.

    Raises:
        UserError: no rows; several names of one split; a class without training images.
    """

    def __init__(self, name: str, rows: Iterable[Row], options: Options, folder: Path | None = None) -> None:
        super().__init__(name, options)
        self._images = _listed(rows)
        if folder is not None:
            _find(self._images, folder)
        if not self._images:
            raise NoImagesError(self.name)
        self._class_names = tuple(sorted({image.label for image in self._images if not image.problem}))
        self._labels = np.searchsorted(self._class_names, [image.label for image in self._images])
        self._splits = tuple(dict.fromkeys(split for image in self._images for split in image.splits if split))
        self._check_splits()
        if self.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the column `split`, in the order of their first rows, or those of `fractions`."""
        return self._splits or tuple(self.options.fractions)

    @property
    def drawn(self) -> bool:
        """Whether there is no column `split`."""
        return not self._splits

    def _load(self, split: str) -> Dataset:
        """Returns the rows of one split.

        Raises:
            NoImagesError: no images.
        """
        name, defects = f"{self.name}/{split}", Defects(self.options.on_defect)
        if split == ALL:
            positions = np.arange(len(self._images))
        elif self.drawn:
            positions = self._draw([image.path for image in self._images], split, self._labels)
        else:
            positions = np.flatnonzero([image.split == split for image in self._images])
            images = ((image.where, image.splits) for image in self._images)
            csv_table.report_splits(images, split, self._splits, self.options.used_splits, defects)
        kept = list[int]()
        for position in positions.tolist():
            image = self._images[position]
            if image.problem:
                defects.add(image.problem, _place(image), lost="images")
                continue
            if image.written:
                where = f"{image.where}: {shown(image.written)}"
                defects.add(csv_table.NO_ENDING, f"{where}; reading {shown(image.path)}")
            for where in image.repeated:
                defects.add("image listed twice", f"{where}: {shown(image.path)}")
            kept.append(position)
        if not kept:
            raise NoImagesError(name, defects)
        paths = [self._images[position].path for position in kept]
        return Dataset(
            name=name,
            class_names=self._class_names,
            ids=paths,
            images=ImageFiles(paths),
            channels=self.options.channels,
            labels=self._labels[kept],
            defects=defects,
        )

    def _check_splits(self) -> None:
        """Refuses splits that cannot be told apart, and classes that cannot be learned."""
        require_distinct(self.name, self._splits)
        if ALL in self._splits:
            raise UserError(f'{self.name}: a split "{ALL}"; rename it')
        train = find_split("train", self._splits)
        if train is not None:
            learned = {image.label for image in self._images if image.split == train and not image.problem}
            unknown = [name for name in self._class_names if name not in learned]
            if unknown and not self.options.further_classes:
                raise UserError(
                    f'{self.name}: no image of the split {train} has the label "{unknown[0]}"; {FURTHER_CLASSES}'
                )


def _listed(rows: Iterable[Row]) -> list[_Image]:
    """Returns the images that rows list, each once."""
    found = dict[str, _Image]()
    for row in rows:
        label, split = (row.values.get(key, "") for key in ("label", _SPLIT))
        path = os.path.normpath(row.folder / row.image) if row.image else ""
        known = found.get(path or row.where)
        if known is None:
            found[path or row.where] = _Image(path, row.where, label, [split], _problem(row, path))
            continue
        if label != known.label and not known.problem:
            known.problem = "image with different labels"
            known.where += f" ({shown(known.label)}) and {row.where} ({shown(label) or 'none'})"
        if split in known.splits:
            known.repeated.append(row.where)
        else:
            known.splits.append(split)
    return list(found.values())


def _find(images: Sequence[_Image], folder: Path) -> None:
    """Finds missing images whose names are written without ending, in another case or with other composed accents."""
    if not any(image.problem == _MISSING for image in images):
        return
    names = {os.path.relpath(image.path, folder): image for image in images if image.path}
    for name, others in csv_table.elsewhere(folder, names).items():
        image, bare = names[name], csv_table.no_ending(name)
        if image.problem == _MISSING and len(others) == 1 and (bare or folded(others[0]) == folded(name)):
            image.path, image.problem, image.written = os.path.normpath(folder / others[0]), "", name if bare else ""


def _place(image: _Image) -> str:
    """Says where an image is listed, and which file is meant: paths are often relative to another folder."""
    return f"{image.where}: {shown(os.path.abspath(image.path))}" if image.path else image.where


def _problem(row: Row, path: str) -> str:
    """Returns why an image cannot be used; "" if it can."""
    if row.problem:
        return row.problem
    if not row.values["image"]:
        return "row without an image"
    if not row.values["label"]:
        return "image without a label"
    return "" if os.path.isfile(path) else _MISSING


class CSVFile(LabelTable):
    """A CSV file that lists images, with a header. Other columns are ignored.

    Args:
        path: the file. The paths of its images are relative to its folder.
        options: as for `LabelTable`.

    Raises:
        UserError: as for `LabelTable`, or the file is missing, not text or lacks a column.
    """

    def __init__(self, path: str | Path, options: Options) -> None:
        name, path = f"csv:{path}", Path(path)
        folder = path if path.is_dir() else path.parent
        self._guessed = list[str]()
        super().__init__(name, csv_table.rows(name, path, COLUMNS, self._guessed), options, folder)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        paths = [image.path for image in self._images if image.path]
        return (*csv_table.guessed_note(self.name, self._guessed), *csv_table.unlisted_note(self.name, paths))
