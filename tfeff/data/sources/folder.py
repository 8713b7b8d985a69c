"""Image folders: `<dir>/<split>/<class>/<image>`, or `<dir>/<class>/<image>` with splits drawn by seed.

Images in subfolders of a class folder belong to the class. If `<dir>` contains nothing but one folder of folders, as
many archives do, that one is read.
"""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.defects import Defects
from tfeff.data.images.storage import ImageFiles
from tfeff.data.names import listed, shown
from tfeff.data.sources import csv_file, csv_table, files
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, FRACTIONS, canonical_name, checked_fractions
from tfeff.errors import UserError, nearest


class _Listing(NamedTuple):
    """The images of some class folders, those that cannot be used included.

    Attributes:
        paths: paths of the images.
        labels: int64 [n].
        problems: path -> why the image cannot be used.
        notes: on other entries of the folders.
    """

    paths: list[str]
    labels: np.ndarray
    problems: dict[str, str]
    notes: tuple[str, ...]


class Folder(Source):
    """An image folder. Classes and files are in the order of their names.

    Args:
        root: the folder.
        options: `channels`, `fractions`, `seed` and `on_defect` apply.

    Raises:
        UserError: the folder is missing, or has neither layout.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(f"folder:{root}", options)
        root = Path(root)
        if not root.is_dir():
            problem = "is not a folder" if root.exists() else "does not exist"
            raise UserError(
                f"image folder {root} {problem}; expected {root}/<split>/<class>/ or {root}/<class>/ with images"
            )
        self._root = _unwrapped(root)
        if not files.subfolders(self._root):
            raise UserError(
                f"image folder {root} has no class folders: {files.contents(root)}; "
                f"expected {root}/<class>/ with images{_advice(root, root)}"
            )
        self._split_folders = _split_folders(self._root)
        names = files.subfolders(self._root)
        if not self._split_folders and all(canonical_name(name) in FRACTIONS for name in names):
            folder = self._root / names[0]
            raise UserError(
                f"image folder {folder} has no class folders: {files.contents(folder)}; "
                f"expected {folder}/<class>/ with images{_advice(self._root, folder)}"
            )
        if not self._split_folders:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """The folder's own splits, or those of `fractions`."""
        return tuple(self._split_folders or self.options.fractions)

    @property
    def drawn(self) -> bool:
        """Whether the folder has no splits of its own."""
        return not self._split_folders

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Source`."""
        wrapped = () if self.name == f"folder:{self._root}" else (f"{self.name}: reading {self._root}",)
        read = {folder.name for folder in self._split_folders.values()}
        others = [name for name in files.subfolders(self._root) if name not in read] if read else []
        return (
            *wrapped,
            *((f"{self._root}: ignored folders that are not splits: {listed(others)}",) if others else ()),
        )

    def _load(self, split: str) -> Dataset:
        """Lists the files of one split.

        Raises:
            UserError: an empty class, a class missing from a split or unknown to the training split, or no images.
        """
        folders = self._split_folders
        if folders and split != ALL:
            paths, labels, problems, notes = self._listing(folders[split])
        elif folders:
            parts = [self._listing(folder) for folder in folders.values()]
            paths = [path for part in parts for path in part.paths]
            labels = np.concatenate([part.labels for part in parts])
            problems = {path: problem for part in parts for path, problem in part.problems.items()}
            notes = tuple(note for part in parts for note in part.notes)
        else:
            paths, labels, problems, notes = self._listing(self._root)
            if split != ALL:
                positions = self._draw([str(path) for path in paths], split, labels)
                paths, labels = [paths[i] for i in positions], labels[positions]
        name, defects = f"{self.name}/{split}", Defects(self.options.on_defect)
        if problems:
            for path in paths:
                if path in problems:
                    defects.add(problems[path], shown(path), lost="images")
            usable = [i for i, path in enumerate(paths) if path not in problems]
            paths, labels = [paths[i] for i in usable], labels[usable]
        if not paths:
            raise NoImagesError(name, defects)
        return Dataset(
            name=name,
            class_names=self._class_names,
            ids=paths,
            images=ImageFiles(paths),
            channels=self.options.channels,
            labels=labels,
            defects=defects,
            notes=notes,
        )

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        """The classes: those of the training split. No other split may have further ones."""
        folders = self._split_folders
        if not folders:
            return files.subfolders(self._root)
        reference = "train" if "train" in folders else next(iter(folders))
        class_names = files.subfolders(folders[reference])
        known = set(class_names)
        for folder in folders.values():
            for name in files.subfolders(folder):
                if name not in known:
                    raise UserError(
                        f'{folder}: class "{shown(name)}" is not among the classes of {folders[reference]}; '
                        f"{nearest(name, class_names)}"
                    )
        return class_names

    def _listing(self, folder: Path) -> _Listing:
        """All images in the class folders of a folder."""
        found = files.find(folder)
        numbers = {name: number for number, name in enumerate(self._class_names)}
        members = sorted([*found.paths, *found.unusable]) if found.unusable else found.paths
        inside = [path for path in members if "/" in path]
        owners = [path.partition("/")[0] for path in inside]
        labels = np.array([numbers[owner] for owner in owners], np.int64)
        present = set(files.subfolders(folder))
        usable = Counter(owners)
        usable.subtract(path.partition("/")[0] for path in found.unusable)
        for name in self._class_names:
            if name not in present:
                raise UserError(f'{folder}: no folder for class "{shown(name)}"; each split needs every class')
            if usable[name] <= 0:
                raise UserError(
                    f'{folder}: class "{shown(name)}" has no images that can be read: {files.contents(folder / name)}'
                )
        notes = found.note(folder)
        outside = [path for path in members if "/" not in path] if len(inside) < len(members) else []
        if outside:
            notes += (
                f"{folder}: ignored {len(outside):,} images outside of class folders, such as {shown(outside[0])}",
            )
        nested = [path for path in inside if path.count("/") > 1]
        if nested:
            notes += (
                f"{folder}: {len(nested):,} images are in subfolders of class folders, such as {shown(nested[0])}, and "
                "belong to the class",
            )
        paths = [f"{folder}/{path}" for path in inside]
        problems = {f"{folder}/{path}": problem for path, problem in found.unusable.items()}
        return _Listing(paths, labels, problems, notes)


def _advice(root: Path, folder: Path) -> str:
    """What to do about a folder with images and a table of their labels, as of Hugging Face and Roboflow."""
    tables = files.find(folder, (".csv", ".jsonl"), deep=False).paths
    if not tables:
        return ""
    lacking = {name: csv_table.lacking(folder / name, csv_file.COLUMNS) for name in tables}
    name = next((name for name in tables if not lacking[name]), tables[0])
    source = f"csv:{folder / name}" if root == folder else f"csv:{root}"
    if not lacking[name]:
        return f"; {folder / name} lists the images: use {source}"
    missing = " and ".join(lacking[name])
    return f"; {folder / name} has no column {missing}: write the columns image and label, and use {source}"


def _unwrapped(root: Path) -> Path:
    """The folder itself, or the only one in it if that contains folders."""
    while True:
        inner = files.subfolders(root)
        if len(inner) != 1 or canonical_name(inner[0]) in FRACTIONS or not files.subfolders(root / inner[0]):
            return root
        if files.find(root, deep=False).paths or files.find(root / inner[0], deep=False).paths:
            return root
        root = root / inner[0]


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> folder, if the folder has splits; a class that happens to be called `test` is not a split."""
    found: dict[str, Path] = {}
    for name in files.subfolders(root):
        split = canonical_name(name)
        if split in FRACTIONS and files.subfolders(root / name):
            if split in found:
                raise UserError(f"{root}: both {found[split].name} and {name} would be the {split} split; keep one")
            found[split] = root / name
    return {split: found[split] for split in FRACTIONS if split in found}
