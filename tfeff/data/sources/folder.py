"""Image folders: `<dir>/<split>/<class>/<image>`, or `<dir>/<class>/<image>` with splits drawn by seed.

Images in subfolders of a class folder belong to the class, unless these look like splits or classes themselves. If
`<dir>` or a split contains nothing but one folder of folders, as in many archives, that one is read. Splits may have
longer names, such as `seg_train` and `seg_test`. Splits besides the training split may lack classes, and have further
ones if `Options.further_classes`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.defects import Defects
from tfeff.data.images.storage import ImageFiles
from tfeff.data.names import listed, shown
from tfeff.data.sources import csv_file, csv_table, files
from tfeff.data.sources.source import FURTHER_CLASSES, Options, Source
from tfeff.data.splits import ALL, FRACTIONS, canonical_name, checked_fractions
from tfeff.errors import UserError, nearest


class _Listing(NamedTuple):
    """The images of some class folders, those that cannot be used included.

    Attributes:
        paths: paths of the images.
        labels: int64 [n].
        problems: path -> why the image cannot be used.
        notes: notes on other entries of the folders.
    """

    paths: list[str]
    labels: np.ndarray
    problems: dict[str, str]
    notes: tuple[str, ...]


class Folder(Source):
    """An image folder. Classes and files are in the order of their names.

    Args:
        root: the folder.
        options: `channels`, `fractions`, `seed`, `further_classes` and `on_defect` apply.

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
        read = {folder.relative_to(self._root).parts[0] for folder in self._split_folders.values()}
        given = Path(self.name.removeprefix("folder:"))
        wrapped = [] if given == self._root else [f"{self.name}: reading {self._root}"]
        wrapped += [
            f"{self.name}: reading {folder} as the split {split}"
            for split, folder in self._split_folders.items()
            if folder.parent != self._root or canonical_name(folder.name) != split
        ]
        others = [name for name in files.subfolders(self._root) if name not in read] if read else []
        return (
            *wrapped,
            *((f"{self._root}: ignored folders that are not splits: {listed(others)}",) if others else ()),
        )

    def _load(self, split: str) -> Dataset:
        """Lists the files of one split.

        Raises:
            UserError: a class without training images or unknown to the training split, folders of splits or classes
                within those of classes, or no images.
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
        """The classes: those of the training split, then those that only other splits have, if they may."""
        folders = self._split_folders
        if not folders:
            return files.subfolders(self._root)
        class_names = files.subfolders(self._reference)
        known, further = set(class_names), set[str]()
        for folder in folders.values():
            for name in files.subfolders(folder):
                if name not in known and not self.options.further_classes:
                    raise UserError(
                        f'{folder}: class "{shown(name)}" is not among the classes of {self._reference}; '
                        f"{nearest(name, class_names)}; {FURTHER_CLASSES}"
                    )
                if name not in known:
                    further.add(name)
        return *class_names, *sorted(further)

    @property
    def _reference(self) -> Path:
        """The folder whose folders are the classes, each with images."""
        folders = self._split_folders
        return folders.get("train", next(iter(folders.values()), self._root))

    def _listing(self, folder: Path) -> _Listing:
        """Returns all images in the class folders of a folder."""
        found = files.find(folder)
        numbers = {name: number for number, name in enumerate(self._class_names)}
        members = sorted([*found.paths, *found.unusable]) if found.unusable else found.paths
        inside = [path for path in members if "/" in path]
        owners = [path.partition("/")[0] for path in inside]
        labels = np.array([numbers[owner] for owner in owners], np.int64)
        repeated = [path.rstrip("/") for path in found.linked if path.count("/") == 1]
        if repeated:
            raise UserError(
                f'{folder}: the class folder "{shown(repeated[0])}" is the same as another one, by a link; remove the '
                "link, or put the images of the class there"
            )
        _require_classes(folder, inside)
        usable = Counter(owners)
        usable.subtract(path.partition("/")[0] for path in found.unusable)
        folders = files.subfolders(folder) if folder == self._reference else ()
        lacking = [name for name in folders if usable[name] <= 0]
        notes = found.note(folder)
        if lacking:
            raise UserError(
                f'{folder}: class "{shown(lacking[0])}" has no images that can be read: '
                f"{files.contents(folder / lacking[0])}"
            )
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
    """Returns what to do about a folder with images and a table of their labels, as of Hugging Face and Roboflow."""
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


def _unwrapped(root: Path, split: str = "") -> Path:
    """Returns the folder itself, or the only one in it if that contains folders.

    The folder of a split may contain one of the same name.
    """
    while True:
        inner = files.subfolders(root)
        if len(inner) != 1 or canonical_name(inner[0]) in {*FRACTIONS} - {split}:
            return root
        if not files.subfolders(root / inner[0]):
            return root
        if files.find(root, deep=False).paths or files.find(root / inner[0], deep=False).paths:
            return root
        root = root / inner[0]


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns split -> folder, if the folder has splits; a class that happens to be called `test` is not a split.

    Without folders that are named like splits, those with a word that is, such as `seg_train` and `seg_test`.
    """
    names = files.subfolders(root)
    for words in (False, True):
        found = defaultdict[str, list[str]](list)
        for name in names:
            split = _split_in(name) if words else canonical_name(name)
            if split in FRACTIONS and files.subfolders(root / name):
                found[split].append(name)
        if not found or (words and (len(found) < 2 or "train" not in found)):
            continue
        for split, same in found.items():
            if len(same) > 1:
                raise UserError(f"{root}: both {same[0]} and {same[1]} would be the {split} split; keep one")
        return {split: _unwrapped(root / found[split][0], split) for split in FRACTIONS if split in found}
    return {}


def _split_in(name: str) -> str:
    """Returns the split that a word of a name names; "" if none or several do."""
    splits = {canonical_name(word) for word in re.split(r"[\W_]+", name)} & {*FRACTIONS}
    return splits.pop() if len(splits) == 1 else ""


def _require_classes(folder: Path, paths: Collection[str]) -> None:
    """Refuses class folders whose folders are splits, or the classes.

    Args:
        folder: the folder of the classes.
        paths: paths of the images in them, relative to `folder`.
    """
    inner, flat = defaultdict[str, set[str]](set), set[str]()
    for path in paths:
        owner, name, *rest = path.split("/", 2)
        if rest:
            inner[owner].add(name)
        else:
            flat.add(owner)
    nested = {owner: frozenset(names) for owner, names in inner.items() if owner not in flat}
    split = [owner for owner, names in nested.items() if all(canonical_name(name) in FRACTIONS for name in names)]
    if len(split) > 1 or (split and len(split) == len({*inner, *flat})):
        one = sorted(nested[split[0]])
        raise UserError(
            f"{folder}: the splits are inside of the classes ({shown(split[0])}/ has {listed(one)}); expected "
            f"{folder}/<split>/<class>/: move {shown(split[0])}/{one[0]} to {one[0]}/{shown(split[0])}, and so on"
        )
    counts = Counter(names for names in nested.values() if len(names) > 1)
    same = [owner for owner, names in nested.items() if counts[names] > 1]
    if same:
        raise UserError(
            f"{folder}: {listed(same)} have the same folders ({listed(sorted(nested[same[0]]))}), so either may be the "
            f"classes; if the inner ones are, name the folder that has them, such as folder:{folder / same[0]}; "
            "otherwise move the images up into their class folders, or list them in a CSV file (csv:)"
        )
