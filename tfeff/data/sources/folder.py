"""Image folders: `<dir>/<split>/<class>/<image>`, or `<dir>/<class>/<image>` with splits drawn by seed."""

import os
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np

from tfeff.data.dataset import Dataset, NoImagesError
from tfeff.data.images import decoding
from tfeff.data.images.storage import ImageFiles
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, FRACTIONS, canonical_name, checked_fractions, stratified_split
from tfeff.errors import UserError, nearest


class Folder(Source):
    """An image folder. Classes and files are in the order of their names.

    Args:
        root: the folder.
        options: `channels`, `fractions` and `seed` apply.

    Raises:
        UserError: the folder is missing, or has neither layout.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(f"folder:{root}", options)
        self._root = Path(root)
        if not self._root.is_dir():
            problem = "is not a folder" if self._root.exists() else "does not exist"
            raise UserError(
                f"image folder {root} {problem}; expected {root}/<split>/<class>/ or {root}/<class>/ with images"
            )
        if not _subfolders(self._root):
            raise UserError(f"image folder {root} has no class folders; expected {root}/<class>/ with images")
        self._split_folders = _split_folders(self._root)
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

    def _load(self, split: str) -> Dataset:
        """Lists the files of one split.

        Raises:
            UserError: an empty class, a class missing from a split or unknown to the training split, or no images.
        """
        if split == ALL and self._split_folders:
            parts = [self._listing(folder) for folder in self._split_folders.values()]
            paths = [path for part in parts for path in part[0]]
            labels = np.concatenate([part[1] for part in parts])
            notes = tuple(note for part in parts for note in part[2])
        elif self._split_folders:
            paths, labels, notes = self._listing(self._split_folders[split])
        else:
            paths, labels, notes = self._listing(self._root)
            if split != ALL:
                positions = stratified_split(labels, split, self.options.fractions, self.options.seed)
                paths, labels = [paths[i] for i in positions], labels[positions]
        name = f"{self.name}/{split}"
        if not paths:
            raise NoImagesError(name)
        return Dataset(
            name=name,
            class_names=self._class_names,
            ids=paths,
            images=ImageFiles(paths),
            channels=self.options.channels,
            labels=labels,
            notes=notes,
        )

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        """The classes: those of the training split. No other split may have further ones."""
        folders = self._split_folders
        if not folders:
            return _subfolders(self._root)
        reference = "train" if "train" in folders else next(iter(folders))
        class_names = _subfolders(folders[reference])
        for folder in folders.values():
            for name in _subfolders(folder):
                if name not in class_names:
                    raise UserError(
                        f'{folder}: class "{name}" is not among the classes of {folders[reference]}; '
                        f"{nearest(name, class_names)}"
                    )
        return class_names

    def _listing(self, folder: Path) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
        """Paths of all images in the class folders, their labels, and a note on other entries."""
        paths: list[str] = []
        counts = []
        others = Counter[str]()
        known = " ".join(decoding.EXTENSIONS)
        for name in self._class_names:
            class_folder = folder / name
            if not class_folder.is_dir():
                raise UserError(f'{folder}: no folder for class "{name}"; each split needs every class')
            entries = sorted((e for e in os.scandir(class_folder) if not e.name.startswith(".")), key=lambda e: e.path)
            files = [entry.path for entry in entries if entry.is_file()]
            images = [path for path in files if path.lower().endswith(decoding.EXTENSIONS)]
            others.update(os.path.splitext(path)[1].lower() or "no extension" for path in set(files).difference(images))
            others.update("folder" for entry in entries if not entry.is_file())
            if not images:
                raise UserError(f'{folder}: class "{name}" is empty: {len(files)} files, none with one of {known}')
            paths += images
            counts.append(len(images))
        kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(others.items()))
        note = f"{folder}: skipped {others.total()} entries that are not image files ({kinds}; known: {known})"
        return paths, np.repeat(np.arange(len(counts)), counts), (note,) if others else ()


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith(".")))


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> folder, if the folder has splits; a class that happens to be called `test` is not a split."""
    found: dict[str, Path] = {}
    for name in _subfolders(root):
        split = canonical_name(name)
        if split in FRACTIONS and _subfolders(root / name):
            if split in found:
                raise UserError(f"{root}: both {found[split].name} and {name} would be the {split} split; keep one")
            found[split] = root / name
    return {split: found[split] for split in FRACTIONS if split in found}
