"""CSV files of labeled images: columns `image` and `label`, and optionally `split`; see `csv_table` for their names."""

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.images.storage import ImageFiles
from tfeff.data.sources import csv_table
from tfeff.data.sources.csv_table import Row
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, canonical_name, checked_fractions, find_split
from tfeff.errors import UserError

COLUMNS = ("image", "label")
_SPLIT = "split"


class _Image(NamedTuple):
    path: str
    label: str
    split: str


class LabelTable(Source):
    """Rows that list images. Images are in the order of the rows, classes in that of their names.

    Splits are named as in the column `split`; without it, they are drawn by seed.

    Args:
        name: of the source.
        rows: with `image` and `label`.
        options: `channels`, `fractions` and `seed` apply.

    Raises:
        UserError: no rows; a row without a value, or with an image that does not exist or was listed before; several
            names of one split; a class without training images.
    """

    def __init__(self, name: str, rows: Iterable[Row], options: Options) -> None:
        super().__init__(name, options)
        self._rows = list(self._parsed(rows))
        if not self._rows:
            raise NoImagesError(self.name)
        self._labels = np.searchsorted(self._class_names, [row.label for row in self._rows])
        self._splits = tuple(dict.fromkeys(row.split for row in self._rows if row.split))
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
        """The rows of one split."""
        if split == ALL:
            positions = np.arange(len(self._rows))
        elif self.drawn:
            positions = self._draw([str(row.path) for row in self._rows], split, self._labels)
        else:
            positions = np.flatnonzero([row.split == split for row in self._rows])
        paths = [self._rows[position].path for position in positions]
        return Dataset(
            name=f"{self.name}/{split}",
            class_names=self._class_names,
            ids=paths,
            images=ImageFiles(paths),
            channels=self.options.channels,
            labels=self._labels[positions],
        )

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        return tuple(sorted({row.label for row in self._rows}))

    def _parsed(self, rows: Iterable[Row]) -> Iterator[_Image]:
        """The rows, with the paths of their images as the process can open them."""
        seen = dict[str, str]()
        for row in rows:
            empty = [name for name, value in row.values.items() if name in (*COLUMNS, _SPLIT) and not value]
            if empty:
                raise UserError(f"{row.where}: no value for {' and '.join(empty)}; complete or delete the row")
            if row.surplus:
                raise UserError(f"{row.where}: more values than columns; write values with commas in quotation marks")
            given = row.values["image"]
            path = os.path.normpath(row.folder / given)
            if path in seen:
                raise UserError(f"{row.where}: {given} is also in {seen[path]}; list each image once")
            if not os.path.isfile(path):
                raise UserError(f"{row.where}: {path} is not a file; paths are relative to {row.folder.resolve()}")
            seen[path] = row.where.removeprefix(f"{self.name}, ")
            yield _Image(path, row.values["label"], row.values.get(_SPLIT, ""))

    def _check_splits(self) -> None:
        """Refuses splits that cannot be told apart, and classes that cannot be learned."""
        names = dict[str, str]()
        for split in self._splits:
            other = names.setdefault(canonical_name(split), split)
            if other != split or split == ALL:
                problem = f"both {other} and {split} would be the same split" if other != split else f'a split "{ALL}"'
                raise UserError(f"{self.name}: {problem}; rename it")
        train = find_split("train", self._splits)
        if train is not None:
            learned = {row.label for row in self._rows if row.split == train}
            unknown = [name for name in self._class_names if name not in learned]
            if unknown:
                raise UserError(f'{self.name}: no image of the split {train} has the label "{unknown[0]}"')


class CSVFile(LabelTable):
    """A CSV file that lists images, in UTF-8, with a header. Other columns are ignored.

    Args:
        path: the file. The paths of its images are relative to its folder.
        options: as for `LabelTable`.

    Raises:
        UserError: as for `LabelTable`, or the file is missing, not text or lacks a column.
    """

    def __init__(self, path: str | Path, options: Options) -> None:
        name = f"csv:{path}"
        super().__init__(name, csv_table.rows(name, Path(path), COLUMNS), options)
