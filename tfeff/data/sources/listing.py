"""The files of a folder, and which of them an annotation file means by a name."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from tfeff.data.images import decoding
from tfeff.errors import UserError

Tree = Mapping[str, list[str]]
"""Folder, relative to the root with `/` (the root itself is "") -> names of its files, sorted."""
IMAGES = ("images", "image", "imgs", "img", "jpegimages")
"""Names of folders for images, in any case."""
_LEFT_BEHIND = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")
_SHOWN = 12
"""Folders listed in a message."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by an operating system or archiver."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def is_image(name: str) -> bool:
    """Whether a file name has the ending of a known image format."""
    return name.lower().endswith(decoding.EXTENSIONS)


def files_below(root: Path) -> Tree:
    """All files below a folder that are not hidden. Links are followed, except to folders that contain them.

    Raises:
        UserError: a folder cannot be read.
    """
    found = dict[str, list[str]]()
    waiting: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while waiting:
        folder, above = waiting.pop()
        files, folders = list[str](), list[tuple[str, tuple[str, ...]]]()
        for entry in visible(root / folder):
            if not entry.is_dir():
                files.append(entry.name)
                continue
            real = os.path.realpath(entry.path) if entry.is_symlink() else f"{above[-1]}/{entry.name}"
            if real not in above:
                folders.append((joined(folder, entry.name), (*above, real)))
        found[folder] = files
        waiting += reversed(folders)
    return found


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, sorted.

    Raises:
        UserError: it cannot be read.
    """
    try:
        entries = [entry for entry in os.scandir(folder) if not is_hidden(entry.name)]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None
    return sorted(entries, key=lambda entry: entry.name)


def images_in(tree: Tree, below: str = "") -> list[str]:
    """Paths of all images in or below a folder of a tree, sorted."""
    inside = f"{below}/" if below else ""
    return sorted(
        joined(folder, name)
        for folder, names in tree.items()
        if folder == below or folder.startswith(inside)
        for name in names
        if is_image(name)
    )


def joined(folder: str, name: str) -> str:
    """The path of a file in a folder, which may be "", the root."""
    return f"{folder}/{name}" if folder else name


def folded(name: str) -> str:
    """A name without the differences that some file systems ignore: upper and lower case, composed accents."""
    return unicodedata.normalize("NFC", name).casefold()


def entered(root: Path) -> Path:
    """The folder itself; or, if all that it has is one folder, as after unpacking an archive, that folder."""
    while True:
        entries = visible(root)
        if len(entries) != 1 or not entries[0].is_dir():
            return root
        root = root / entries[0].name


def contents(root: Path) -> str:
    """What a folder contains, for messages: each folder with its kinds of files."""
    tree = files_below(root)
    lines = []
    for folder, names in list(tree.items())[:_SHOWN]:
        kinds = Counter(Path(name).suffix for name in names)
        single = [name for name in names if kinds[Path(name).suffix] == 1]
        several = [f"{count} {kind or 'files'}" for kind, count in kinds.items() if count > 1]
        listed = ", ".join([*single, *several])
        if listed:
            lines.append(f"  {folder or '.'}: {listed}")
    if len(tree) > _SHOWN:
        lines.append(f"  and {len(tree) - _SHOWN} more folders")
    return "\n".join(lines) or "  nothing"


class Finder:
    """Finds files by names as annotation files write them: with backslashes, in another case, in other folders.

    Args:
        files: paths with `/`.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self.files = dict.fromkeys(files)

    def find(self, name: str) -> str | None:
        """The only file that a name can mean: the one whose path ends with most of it."""
        if name in self.files:
            return name
        for written in dict.fromkeys((name, unquote(name))):
            parts = path_parts(written)
            for start in range(len(parts)):
                tail = "/".join(parts[start:])
                if tail in self.files:
                    return tail
                if found := self._folded.get(folded(tail)):
                    return found
            if parts and (found := self._by_name.get(folded(parts[-1]))):
                return found
        return None

    @cached_property
    def _folded(self) -> dict[str, str]:
        return _unique((folded(path), path) for path in self.files)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return _unique((folded(path.rpartition("/")[2]), path) for path in self.files)


def path_parts(name: str) -> list[str]:
    r"""The folders and the file of a written path or address.

    >>> path_parts(r".\images\a.jpg"), path_parts("/data/local-files/?d=cats/b.jpg")
    (['images', 'a.jpg'], ['data', 'local-files', 'cats', 'b.jpg'])
    """
    return [part for part in re.split(r"[\\/]|\?d=", name.strip()) if part not in ("", ".", "..")]


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those keys that belong to one value alone."""
    found = dict[str, str | None]()
    for key, value in pairs:
        found[key] = None if key in found else value
    return {key: value for key, value in found.items() if value is not None}
