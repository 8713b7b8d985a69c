"""Image folders: `<dir>/<split>/<class>/<image>`, or `<dir>/<class>/<image>` divided by seed."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfeff.data.dataset import Source
from tfeff.data.images import decoding, graph_decoding
from tfeff.data.splits import FRACTIONS, canonical_name, checked
from tfeff.errors import UserError, nearest


def splits(root: Path, *, fractions: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """The names of the folder's splits: its own, or those of `fractions`.

    Raises:
        UserError: the folder is missing or not one of the two layouts.
    """
    return tuple(_split_folders(_require(root)) or checked(fractions or FRACTIONS))


def load(
    root: Path, split: str, *, channels: int, fractions: Mapping[str, float] | None = None, seed: int = 0
) -> Source:
    """One split of an image folder; classes and files in the order of their names.

    Args:
        root: The folder.
        split: One of `splits(root)`.
        channels: 3 for RGB, 1 for gray.
        fractions: Shares of the splits, where the folder has none of its own.
        seed: Seed of that division.

    Raises:
        UserError: the folder or the split is missing, a class is empty, or a class of one split is unknown to the
            training split.
    """
    folders = _split_folders(_require(root))
    if folders:
        if split not in folders:
            raise UserError(f'{root}: no split "{split}"; {nearest(split, folders)}')
        class_names = _class_names(folders)
        paths, labels, notes = _listing(folders[split], class_names)
    else:
        shares = checked(fractions or FRACTIONS)
        if split not in shares:
            raise UserError(f'{root}: no split "{split}"; {nearest(split, shares)}')
        class_names = _subfolders(root)
        paths, labels, notes = _listing(root, class_names)
        positions = _division(labels, shares, seed)[split]
        paths, labels = [paths[i] for i in positions], labels[positions]
    name = f"folder:{root}/{split}"
    if not paths:
        raise UserError(f"{name}: no images")
    with tf.device("CPU:0"):
        files = tf.constant(paths)
    return Source(
        name=name,
        class_names=class_names,
        labels=labels,
        ids=paths,
        channels=channels,
        read=lambda i: graph_decoding.decode(tf.io.read_file(files[i]), channels),
        fingerprint=_fingerprint(paths, channels),
        notes=notes,
    )


def _require(root: Path) -> Path:
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"image folder {root} {what}; expected {root}/<split>/<class>/ or {root}/<class>/ with images")
    if not _subfolders(root):
        raise UserError(f"image folder {root} has no class folders; expected {root}/<class>/ with images")
    return root


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith(".")))


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> folder, where the folder is divided already; a class that happens to be called `test` is no split."""
    found: dict[str, Path] = {}
    for name in _subfolders(root):
        split = canonical_name(name.lower())
        if split in FRACTIONS and _subfolders(root / name):
            if split in found:
                raise UserError(f"{root}: both {found[split].name} and {name} would be the {split} split; keep one")
            found[split] = root / name
    return {split: found[split] for split in FRACTIONS if split in found}


def _class_names(folders: Mapping[str, Path]) -> tuple[str, ...]:
    """The classes: those of the training split, which every other split must keep to."""
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


def _listing(folder: Path, class_names: tuple[str, ...]) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Paths of all images in the class folders, their labels, and a note on what else lies there."""
    paths: list[str] = []
    counts = []
    others = Counter[str]()
    known = " ".join(decoding.EXTENSIONS)
    for name in class_names:
        class_folder = folder / name
        if not class_folder.is_dir():
            raise UserError(f'{folder}: no folder for class "{name}"; each split needs every class')
        entries = sorted((e for e in os.scandir(class_folder) if not e.name.startswith(".")), key=lambda e: e.path)
        files = [entry.path for entry in entries if entry.is_file()]
        images = [path for path in files if path.lower().endswith(decoding.EXTENSIONS)]
        others.update(os.path.splitext(path)[1].lower() or "no ending" for path in set(files).difference(images))
        others.update("a folder" for entry in entries if not entry.is_file())
        if not images:
            raise UserError(f'{folder}: class "{name}" is empty: {len(files)} files, none with one of {known}')
        paths += images
        counts.append(len(images))
    kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(others.items()))
    note = f"{folder}: left out {others.total()} entries that are no image files ({kinds}; known: {known})"
    return paths, np.repeat(np.arange(len(class_names)), counts), (note,) if others else ()


def _division(labels: np.ndarray, fractions: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Split -> sorted positions: each class, shuffled, is cut at the cumulated fractions."""
    rng = np.random.default_rng(seed)
    edges = np.concatenate([[0.0], np.cumsum(list(fractions.values()))])
    parts: dict[str, list[np.ndarray]] = {split: [] for split in fractions}
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.rint(edges * len(members)).astype(np.int64)
        for split, start, stop in zip(fractions, cuts[:-1], cuts[1:], strict=True):
            parts[split].append(members[start:stop])
    return {split: np.sort(np.concatenate(pieces)) for split, pieces in parts.items()}


def _fingerprint(paths: list[str], channels: int) -> str:
    digest = hashlib.sha256(str(channels).encode())
    for path in paths:
        status = os.stat(path)
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
