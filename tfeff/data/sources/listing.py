"""The files of a dataset by folder, and which of them an annotation file means by a name."""

import bisect
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from tfeff.data.images import decoding
from tfeff.data.sources import files
from tfeff.data.splits import FRACTIONS, canonical_name

IMAGES = ("images", "image", "imgs", "img", "jpegimages")
"""Names of folders for images, in any case."""
_TEXTS = (".txt", ".names", ".data", ".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Tree:
    """The images and annotation files below a folder.

    Attributes:
        folders: folder, relative to the root with `/` (the root itself is "") -> names of its files, sorted; the
            folders of these folders, too.
        unusable: what is wrong with images that cannot be used, by path.
    """

    folders: Mapping[str, list[str]]
    unusable: Mapping[str, str]

    @classmethod
    def of(cls, root: Path) -> "Tree":
        """Returns the files below a folder.

        Raises:
            UserError: it cannot be read.
        """
        found, folders = files.find(root, (*decoding.EXTENSIONS, *_TEXTS)), dict[str, list[str]]({"": []})
        for path in found.paths:
            folder, _, name = path.rpartition("/")
            if folder not in folders:
                for above in PurePosixPath(folder).parents:
                    folders.setdefault("" if above.name == "" else str(above), [])
            folders.setdefault(folder, []).append(name)
        folders = dict(sorted(folders.items()))
        return cls(folders, {path: problem for path, problem in found.unusable.items() if not path.endswith(_TEXTS)})

    def images(self, below: str = "") -> list[str]:
        """Returns paths of all images in or below a folder, sorted."""
        inner = self._sorted
        if below:  # all that starts with `below/`; the character after `/` is `0`
            first, end = (bisect.bisect_left(inner, f"{below}{character}") for character in "/0")
            inner = [below, *inner[first:end]]
        return sorted(
            joined(folder, name) for folder in inner for name in self.folders.get(folder, ()) if is_image(name)
        )

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.folders)


def is_image(name: str) -> bool:
    """Returns whether a file name has the ending of a format that can be read."""
    return name.lower().endswith(decoding.EXTENSIONS)


def joined(folder: str, name: str) -> str:
    """Returns the path of a file in a folder, which may be "", the root."""
    return f"{folder}/{name}" if folder else name


def folded(name: str) -> str:
    """Returns a name without the differences that some file systems ignore: upper and lower case, composed accents."""
    return unicodedata.normalize("NFC", name).casefold()


def entered(root: Path) -> Path:
    """Returns the folder itself; or, if all that it has is one folder, as after unpacking an archive, that folder.

    Raises:
        UserError: it cannot be read.
    """
    while len(inner := files.subfolders(root)) == 1 and not any(
        path.is_file() and not files.is_clutter(path.name) for path in root.iterdir()
    ):
        root = root / inner[0]
    return root


class Finder:
    """Finder of files by names as annotation files write them: with backslashes, in another case, in other folders.

    Args:
        paths: paths of the files, with `/`.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.files = dict.fromkeys(paths)
        self._depth = depth(self.files)

    def find(self, name: str) -> str | None:
        """Returns the only file that a name can mean: the one whose path ends with most of it.

        A file of the same name in another folder is found too, unless it is that of another split.
        """
        if name in self.files:
            return name
        for written in dict.fromkeys((name, unquote(name))):
            parts = path_parts(written)
            for tail in tails(parts, self._depth):
                if tail in self.files:
                    return tail
                if found := self._folded.get(folded(tail)):
                    return found
            found = self._by_name.get(folded(parts[-1])) if parts else None
            if found and not is_of_other_split(written, found):
                return found
        return None

    def problem(self, name: str) -> str:
        """Returns the kind of defect of a name that is not found."""
        parts = path_parts(unquote(name))
        several = bool(parts) and folded(parts[-1]) in self._shared
        return "listed name that fits several images" if several else "image without a file"

    @cached_property
    def _shared(self) -> set[str]:
        """Names that several files have."""
        counts = Counter(folded(path.rpartition("/")[2]) for path in self.files)
        return {name for name, count in counts.items() if count > 1}

    @cached_property
    def _folded(self) -> dict[str, str]:
        return _unique((folded(path), path) for path in self.files)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return _unique((folded(path.rpartition("/")[2]), path) for path in self.files)


def path_parts(name: str) -> list[str]:
    r"""Returns the folders and the file of a written path or address.

    >>> path_parts(r".\images\a.jpg"), path_parts("/data/local-files/?d=cats/b.jpg")
    (['images', 'a.jpg'], ['data', 'local-files', 'cats', 'b.jpg'])
    """
    return [part for part in re.split(r"[\\/]|\?d=", name.strip()) if part not in ("", ".", "..")]


def is_moved(written: str, path: str) -> bool:
    """Returns whether a written path has folders, and a file is in other ones.

    >>> is_moved("/data/a/x.jpg", "a/x.jpg"), is_moved("x.jpg", "a/x.jpg"), is_moved("b/x.jpg", "a/x.jpg")
    (False, False, True)
    """
    above, folders = (path_parts(folded(unquote(each)))[:-1] for each in (written, path))
    return bool(above) and above[len(above) - len(folders) :] != folders


def is_of_other_split(written: str, path: str) -> bool:
    """Returns whether the innermost folders that are named after splits differ.

    >>> is_of_other_split("train/images/x.jpg", "valid/images/x.jpg"), is_of_other_split("images/x.jpg", "val/x.jpg")
    (True, False)
    """
    own, other = _split_of(written), _split_of(path)
    return "" not in (own, other) and own != other


def _split_of(path: str) -> str:
    """Returns the split that the innermost of a file's folders is named after; "" if there is none."""
    folders = reversed(path_parts(path)[:-1])
    return next((split for folder in folders if (split := named_split(folder)) in FRACTIONS), "")


def named_split(name: str) -> str:
    """Returns the split that a folder or list is named after, also in the forms of CVAT and Ultralytics.

    These are `obj_train_data` and `autosplit_val`.
    """
    name = re.sub(r"\.txt$", "", name, flags=re.IGNORECASE)
    return canonical_name(re.sub(r"^obj_(.+)_data$|^autosplit_(.+)$", r"\1\2", name, flags=re.IGNORECASE))


def depth(paths: Iterable[str]) -> int:
    """Returns the largest number of parts of some paths."""
    return max((path.count("/") + 1 for path in paths), default=0)


def tails(parts: Sequence[str], most: int) -> Iterator[str]:
    """Yields the ends of a path that have at most `most` parts, the longest first.

    A written path can have many more parts than the files that it may mean, and all its ends would cost the square of
    its length.

    >>> list(tails(["a", "b", "c"], 2))
    ['b/c', 'c']
    """
    for start in range(max(0, len(parts) - most), len(parts)):
        yield "/".join(parts[start:])


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns the keys that belong to one value alone."""
    found = dict[str, str | None]()
    for key, value in pairs:
        found[key] = None if key in found else value
    return {key: value for key, value in found.items() if value is not None}
