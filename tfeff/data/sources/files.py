"""Lists of files below folders, alike for every source and for predictions.

Ignored is what computers leave behind: hidden files and folders (`.ipynb_checkpoints`, `._photo.jpg`, `.DS_Store`),
`__MACOSX`, `Thumbs.db` and the like. Symbolic links to files and folders are followed. A folder that is reached twice,
as in a cycle of links, is listed once.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tfeff.data.defects import Defects
from tfeff.data.images import decoding
from tfeff.data.names import is_text, listed, shown
from tfeff.data.sources import foreign
from tfeff.errors import UserError

_IMAGE = re.compile(
    r"\.(apng|arw|avifs?|bmp|cr[23]|dib|dng|exr|gif|hdr|hei[cf]|hif|ico|j2k|jfif|jp2|jpe|jpe?g|jpx|jxl|mpo|nef|orf"
    r"|p[bgnp]m|pcx|png|psd|raf|rw2|svg|tga|tiff?|webp)"
)
"""Endings of files that people mean as images, whether they can be read or not."""
_DRAWN = re.compile(rf"({_IMAGE.pattern}|-[0-9a-f]{{12}})\.png$|(^|/)contact_sheet\.jpg$")
"""Ends the names of what predictions draw: images as PNG, after their own ending or a checksum, and a contact sheet."""
_CLUTTER = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})

_ANNOTATIONS = (".json", ".xml", ".csv")
_ARCHIVES = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
}


@dataclass
class Files:
    """What was found below a folder. Paths are relative to it, with `/` between their parts.

    Attributes:
        paths: the wanted files, sorted.
        unusable: what is wrong with images and wanted files that cannot be used, by path, sorted.
        others: number of other files by ending, and of folders that were not listed.
        examples: the first of each of `others`.
        linked: the folders among `others` that were listed before, by another path, with a `/` at the end.
        skipped: number of wanted files, without drawn ones, in the skipped folder and in marked ones, by folder.
        marked: the marked folders among those of `skipped`.
    """

    paths: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    linked: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)

    def report(self, defects: Defects, folder: str | Path) -> None:
        """Counts the images that cannot be used."""
        for path, problem in self.unusable.items():
            defects.add(problem, shown(os.path.join(folder, path)), lost="images")

    def note(self, folder: str | Path) -> tuple[str, ...]:
        """Returns a line about the other files, and one about each folder that was skipped with wanted files."""
        lines = tuple(
            f"{folder}: skipped {n:,} {'image' if n == 1 else 'images'} in {shown(path)}, "
            + (
                "a folder of predictions; move them out of it to include them"
                if path in self.marked
                else "the folder of --out; give another --out to include them"
            )
            for path, n in self.skipped.items()
        )
        if not self.others:
            return lines
        kinds = "; ".join(f"{kind}: {n:,}, such as {self.examples[kind]}" for kind, n in sorted(self.others.items()))
        return (f"{folder}: ignored {self.others.total():,} entries that are not images ({kinds})", *lines)

    def _skip(self, root: str, folder: str, endings: tuple[str, ...], mark: tuple[str, str] | None) -> int:
        """Counts the wanted files in a folder that is not searched, without drawn ones; returns their number."""
        inside = find(os.path.join(root, folder), endings, mark=mark)
        count = sum(not is_drawn(path) for path in inside.paths) + sum(inside.skipped.values())
        if count:
            self.skipped[folder] = count
        return count

    def _other(self, kind: str, path: str) -> None:
        self.others[kind] += 1
        self.examples.setdefault(kind, shown(path))


def find(
    folder: str | Path,
    endings: tuple[str, ...] = decoding.EXTENSIONS,
    *,
    deep: bool = True,
    skip: str | Path | None = None,
    mark: tuple[str, str] | None = None,
) -> Files:
    """Returns the files below a folder that have one of some endings, in any case.

    Args:
        folder: where to search.
        endings: endings of the wanted files, in lower case, with their dots.
        deep: search its subfolders, too.
        skip: a folder that is not searched.
        mark: beginning of the name of a file in subfolders that are not searched, because predictions were written to
            them, and what they are counted as.

    Raises:
        UserError: the folder cannot be read, or its name is not text.
    """
    found, root = Files(), os.fspath(folder)
    if not is_text(root):
        raise UserError(f"{shown(root)}: the name is not UTF-8; rename the folder")
    images = any(map(_IMAGE.fullmatch, endings))
    seen, left_out, pending = set[tuple[int, int]](), _identity(skip), [""]
    while pending:
        prefix = pending.pop()
        try:
            identity = _identity(os.path.join(root, prefix))
            entries = sorted(os.scandir(os.path.join(root, prefix)), key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise UserError(f"{shown(root)}: cannot be read ({error.strerror})") from None
            found.unusable[prefix] = "folder that cannot be read"
            continue
        marked = mark is not None and any(entry.name.startswith(mark[0]) for entry in entries)
        if identity is None:
            continue
        if identity == left_out:
            if identity not in seen:
                seen.add(identity)
                found._skip(root, prefix, endings, mark)
            continue
        if identity in seen:
            found._other("folder linked before", prefix)
            found.linked.append(prefix)
            continue
        seen.add(identity)
        if mark and prefix and marked:
            if found._skip(root, prefix, endings, mark):
                found.marked.add(prefix)
            else:
                found._other(mark[1], prefix)
            continue
        folders = list[str]()
        for entry in entries:
            name = entry.name
            low = name.lower()
            if name[0] == "." or low in _CLUTTER:
                continue
            path = prefix + name
            if low.endswith(endings) and path.isascii() and entry.is_file(follow_symlinks=False):  # nearly always
                found.paths.append(path)
            elif _is_folder(entry):
                folders.append(f"{path}/")
            elif low.endswith(endings):
                if not _is_file(entry):
                    found.unusable[path] = "link to a missing file"
                elif not is_text(path):
                    found.unusable[path] = "file name that is not UTF-8"
                else:
                    found.paths.append(path)
            elif images and _IMAGE.fullmatch(ending := os.path.splitext(low)[1]):
                found.unusable[path] = f"image of a format that cannot be read ({ending})"
            else:
                found._other(shown(os.path.splitext(low)[1]) or "no ending", path)
        if deep:
            pending += reversed(folders)
        else:
            for each in folders:
                found._other("folder", each)
    found.paths.sort()
    found.unusable = dict(sorted(found.unusable.items()))
    return found


def subfolders(folder: str | Path) -> tuple[str, ...]:
    """Returns names of the folders in a folder, and of links to folders, sorted.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        return tuple(sorted(each.name for each in os.scandir(folder) if not is_clutter(each.name) and _is_folder(each)))
    except OSError as error:
        raise UserError(f"{shown(str(folder))}: cannot be read ({error.strerror})") from None


def contents(folder: str | Path) -> str:
    """Describes a folder for messages: its subfolders, files by ending, and files of formats that are not read."""
    folders, endings = subfolders(folder), Counter[str]()
    for entry in os.scandir(folder):
        if not is_clutter(entry.name) and not _is_folder(entry):
            endings[os.path.splitext(entry.name.lower())[1] or "no ending"] += 1
    parts = [f"{name}/" for name in folders] + [f"{n:,} x {ending}" for ending, n in sorted(endings.items())]
    hints = (f"; {shown(path)}: {text}" for path in _samples(folder) if (text := foreign.hint(Path(folder, path))))
    return f"it has {listed(parts, 8)}{next(hints, '')}" if parts else "it is empty"


def _samples(folder: str | Path) -> list[str]:
    """Returns a few annotation files in a folder or in folders in it, from each of them."""
    chosen = dict[tuple[str, str], str]()
    for path in find(folder, _ANNOTATIONS).paths:
        chosen.setdefault((os.path.dirname(path), os.path.splitext(path)[1]), path)
    return list(chosen.values())[:10]


def archive(path: str | Path) -> str:
    """Returns the kind of archive that a file is; "" if it is none."""
    if not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        start = file.read(8)
    return next((kind for mark, kind in _ARCHIVES.items() if start.startswith(mark)), "")


def is_drawn(path: str) -> bool:
    """Returns whether a file in a folder of predictions has the name of a picture that predictions draw."""
    return _DRAWN.search(path.lower()) is not None


def is_clutter(name: str) -> bool:
    """Returns whether a file or folder is hidden, or is one that programs leave behind."""
    return name.startswith(".") or name.lower() in _CLUTTER


def _identity(folder: str | Path | None) -> tuple[int, int] | None:
    """Returns what a folder and all links to it share; None if there is no such folder."""
    if folder is None or not os.path.isdir(folder):
        return None
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
