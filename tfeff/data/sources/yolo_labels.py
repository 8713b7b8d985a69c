"""The label files of YOLO: which one belongs to an image, and what its lines say."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tfeff.data.sources import text
from tfeff.data.sources.files import find, subfolders
from tfeff.data.sources.listing import IMAGES, Tree, folded, joined, named_split
from tfeff.data.sources.yolo_keypoints import is_track
from tfeff.data.sources.yolo_names import MAX_CLASSES, NAME_LISTS, is_list
from tfeff.data.splits import FRACTIONS, canonical_name

_LABELS = ("labels", "label", "annotations", "txt")
_SUFFIX = ".txt"
CONFIDENCE, POLYGON, KEYPOINTS, TRACK = "confidence", "polygon", "keypoints", "track"
"""Kinds of lines with more numbers than a class and a box."""


@dataclass
class LabelFile:
    """The lines of a label file.

    Attributes:
        rows: (line number, class, (center x, center y, width, height)), relative to the image, of the valid lines.
        invalid: (line number, text) of the others.
        kinds: number of lines with a confidence, of polygons, of boxes with keypoints, and with the number of a track.
        error: why the file cannot be read; "" if it can.
    """

    rows: list[tuple[int, int, tuple[float, float, float, float]]] = field(default_factory=list)
    invalid: list[tuple[int, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    error: str = ""

    @classmethod
    def read(cls, path: Path, keypoints: int = 0, *, tracked: bool = False) -> "LabelFile":
        """Reads a file.

        Args:
            path: the file.
            keypoints: how many numbers of its keypoints may follow each box.
            tracked: whether lines end with the number of a track.
        """
        found = cls()
        try:
            content = text.read(path, "replace")  # an invalid byte invalidates its line, not the file
        except OSError as error:
            found.error = str(error)
            return found
        for number, line in enumerate(content.splitlines(), 1):
            if not line.strip():
                continue
            try:
                label, box, kinds = _parsed(line, keypoints, tracked)
            except (ValueError, OverflowError):
                found.invalid.append((number, line.strip()))
                continue
            found.rows.append((number, label, box))
            found.kinds.update(kinds)
        return found


def _parsed(line: str, keypoints: int, tracked: bool) -> tuple[int, tuple[float, float, float, float], tuple[str, ...]]:
    """Returns the class, box and kinds of a line.

    A line has a class and a box, perhaps with keypoints. In datasets without keypoints, it can have the corners of a
    polygon instead of a box. A confidence and the number of a track may follow.

    Raises:
        ValueError: it is none of these.
        OverflowError: the class is not finite.
    """
    label, *values = _numbers(line)
    kinds = tuple[str, ...]()
    if tracked and (len(values) == 5 or (len(values) > 5 and len(values) % 2 == 0)):
        if is_track(values[-1]):
            values, kinds = values[:-1], (TRACK,)
        elif len(values) > 5:
            raise ValueError("neither a box nor a polygon with a confidence and the number of a track")
    if keypoints and len(values) > 5:
        if len(values) - keypoints not in (4, 5):
            raise ValueError("neither a box nor a box with its keypoints")
        values, kinds = values[:4] + values[4 + keypoints :], (KEYPOINTS,)
    if len(values) % 2 and len(values) > 4:
        *values, confidence = values
        if not 0 <= confidence <= 1:
            raise ValueError("neither a box nor a polygon, with or without a confidence")
        kinds = (*kinds, CONFIDENCE)
    if len(values) > 4:
        xs, ys = values[::2], values[1::2]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        kinds = (*kinds, POLYGON)
        box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    else:
        cx, cy, w, h = values
        box = (cx, cy, w, h)
    if label != int(label) or not label < MAX_CLASSES or not all(map(math.isfinite, values)):
        raise ValueError("not a class and finite numbers")
    return int(label), box, kinds


def _numbers(line: str) -> list[float]:
    """Returns numbers that blanks, tabs or commas separate; without a point, a comma is the decimal sign."""
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        if "." in line or len(line.split()) < 5:
            line = line.replace(",", " ")
        return [float(word) for word in line.replace(",", ".").split()]


@dataclass(frozen=True)
class _Folder:
    """A folder's folders, by split or folded name, and its label files, by name without ending."""

    folders: dict[str, str]
    labels: dict[str, str]

    @cached_property
    def folded_labels(self) -> dict[str, str]:
        return {folded(stem): name for stem, name in self.labels.items()}


class Labels:
    """Finder of the label files of images.

    Args:
        root: folder of the dataset.
        tree: the files below it.
    """

    def __init__(self, root: Path, tree: Tree) -> None:
        self._root, self._tree = root, tree
        self._folders = dict[Path, _Folder]()
        self._inner = defaultdict[str, list[str]](list)
        for folder in tree.folders:
            if folder:
                above, _, name = folder.rpartition("/")
                self._inner[above].append(name)

    def of(self, images: Sequence[Path]) -> list[Path | None]:
        """Returns the label file of each image; None if it has none."""
        by_folder = dict[Path, list[Path]]()
        for path in images:
            by_folder.setdefault(path.parent, []).append(path)
        places = {folder: self._place(folder, inside) for folder, inside in by_folder.items()}
        found = list[Path | None]()
        for path in images:
            place = places[path.parent]
            name = None if place is None else self._name(place, path)
            if name is None:  # some labels may be beside their images, though there is a folder for labels
                place, name = path.parent, self._name(path.parent, path)
            found.append(None if place is None or name is None else place / name)
        return found

    def all(self) -> list[Path]:
        """Returns all files below the root that may be label files: in folders for labels, or beside images."""
        return [
            self._root / joined(folder, name)
            for folder, names in sorted(self._tree.folders.items())
            for name in names
            if _may_label(name) and (folder or not _names_split(name))
        ]

    def _place(self, folder: Path, images: Sequence[Path]) -> Path | None:
        """Returns the folder with the label files of the images of a folder."""
        first = None
        for place in self._candidates(folder):
            if self._listing(place).labels:
                first = first or place
                if any(self._name(place, path) for path in images):
                    return place
        return first

    def _candidates(self, folder: Path) -> Iterator[Path]:
        """Yields `labels` in place of `images`; one more folder `labels`; the folder itself."""
        inside = folder.is_relative_to(self._root)
        base = self._root if inside else Path(folder.anchor)
        parts = folder.relative_to(base).parts
        for place in reversed(range(len(parts))):
            if folded(parts[place]) in IMAGES:
                yield from self._resolved(base, parts[:place], parts[place + 1 :])
        for place in range(len(parts) + 1) if inside else ():
            yield from self._resolved(base, parts[:place], parts[place:])
        yield folder

    def _resolved(self, base: Path, before: Sequence[str], after: Sequence[str]) -> Iterator[Path]:
        for labels in _LABELS:
            path: Path | None = base.joinpath(*before)
            for part in (labels, *after):
                if path is not None:
                    folders = self._listing(path).folders
                    name = folders.get(f"/{part}") or folders.get(folded(part)) or folders.get(canonical_name(part))
                    path = None if name is None else path / name
            if path is not None:
                yield path

    def _listing(self, folder: Path) -> _Folder:
        if folder not in self._folders:
            folders, labels = dict[str, str](), dict[str, str]()
            inside = folder.relative_to(self._root).as_posix() if folder.is_relative_to(self._root) else None
            inside = "" if inside == "." else inside
            for name in subfolders(folder) if inside is None else self._inner[inside]:
                folders.setdefault(canonical_name(name), name)
                folders[folded(name)] = folders[f"/{name}"] = name
            for name in (
                find(folder, (_SUFFIX,), deep=False).paths if inside is None else self._tree.folders.get(inside, ())
            ):
                if _may_label(name):
                    labels[name[: -len(_SUFFIX)]] = name
            self._folders[folder] = _Folder(folders, labels)
        return self._folders[folder]

    def _name(self, place: Path, image: Path) -> str | None:
        listing = self._listing(place)
        return listing.labels.get(image.stem) or listing.folded_labels.get(folded(image.stem))


def _may_label(name: str) -> bool:
    return folded(name).endswith(_SUFFIX) and not any(is_list(name, ending) for ending in NAME_LISTS)


def _names_split(name: str) -> bool:
    return named_split(name) in FRACTIONS
