"""YOLO text: one file per image with lines `class cx cy w h`, relative to the image's width and height.

`<dir>/images/` and `<dir>/labels/` mirror each other. Both may be divided into `<split>/`; otherwise splits are drawn
by seed. Class names come from `data.yaml` (`names`), `classes.txt` or `obj.names`; without these, classes are called by
their numbers. The files state no sizes; boxes belong to the upright image (EXIF orientation applied), which labeling
tools show.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from tfeff.data.dataset import Dataset
from tfeff.data.defects import Defects
from tfeff.data.images import decoding
from tfeff.data.images.decoding import Headers
from tfeff.data.images.storage import ImageFiles
from tfeff.data.sources.annotations import AnnotatedSplit, ObjectCollector
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL, canonical_name, checked_fractions, drawn_split
from tfeff.errors import UserError

MAX_CLASSES = 100_000
_Line = tuple[int, int, tuple[float, float, float, float]]
"""(line number, class, (cx, cy, w, h))."""


class YOLO(Source):
    """A YOLO dataset, in the order of the images' names. An image without a label file has no objects.

    Args:
        root: the folder.
        options: `channels`, `fractions`, `seed` and `on_defect` apply.

    Raises:
        UserError: the folder is missing, or has no images and labels.
    """

    def __init__(self, root: str | Path, options: Options) -> None:
        super().__init__(f"yolo:{root}", options)
        self._root, self._headers = Path(root), Headers()
        if not (self._root / "images").is_dir() or not (self._root / "labels").is_dir():
            problem = "has no folders images and labels" if self._root.exists() else "does not exist"
            raise UserError(f"YOLO dataset {root} {problem}; expected {root}/images/ and {root}/labels/")
        self._images = self._root / "images"
        self._folders = {
            canonical_name(path.name): path.name for path in sorted(self._images.iterdir()) if path.is_dir()
        }
        if self.drawn:
            checked_fractions(options.fractions)

    @property
    def splits(self) -> tuple[str, ...]:
        """The dataset's own folders, or the splits of `fractions`."""
        return tuple(self._folders or self.options.fractions)

    @property
    def drawn(self) -> bool:
        """Whether it has no folders of splits."""
        return not self._folders

    def _load(self, split: str) -> Dataset:
        """Reads the labels of one split.

        Raises:
            UserError: the class names cannot be read, no images, or (with `on_defect="stop"`) an invalid annotation.
        """
        found, class_names = AnnotatedSplit(f"{self.name}/{split}", self.options), self._class_names
        for name in self._members(split):
            lines = _lines(self._labels(name), found.defects)
            header = found.header(self._headers, self._images / name)
            if header is not None:
                collector = _collected(lines, str(self._labels(name)), header.size, len(class_names), found.defects)
                found.add(name, header.size, collector)
        return found.dataset(class_names, ImageFiles([self._images / name for name in found.ids]))

    def _members(self, split: str) -> Sequence[str]:
        if split == ALL:
            return self._names
        if self._folders:
            return [name for name in self._names if name.startswith(f"{self._folders[split]}/")]
        return drawn_split(self._names, split, self.options.fractions, self.options.seed)

    def _labels(self, name: str) -> Path:
        return self._root / "labels" / Path(name).with_suffix(".txt")

    @cached_property
    def _names(self) -> list[str]:
        return sorted(
            path.relative_to(self._images).as_posix()
            for path in self._images.rglob("*")
            if path.name.lower().endswith(decoding.EXTENSIONS)
        )

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        """The given names, or as many numbers as all splits together have classes."""
        given = _given_names(self._root)
        if given is not None:
            return given
        labels = (label for name in self._names for _, label, _ in _lines(self._labels(name), Defects()))
        return tuple(str(number) for number in range(1 + max(labels, default=0)))


def _collected(
    lines: Sequence[_Line], where: str, size: tuple[int, int], classes: int, defects: Defects
) -> ObjectCollector:
    """The objects of one file."""
    collector = ObjectCollector(where, size, defects)
    limits = (0.0, 0.0, float(size[0]), float(size[1]))
    slack = 1e-5 * max(size)  # coordinates usually have six digits: rounding must not push a box outside
    for number, label, (cx, cy, w, h) in lines:
        top, left = (cy - h / 2) * size[0], (cx - w / 2) * size[1]
        yxyx = [top, left, (cy + h / 2) * size[0], (cx + w / 2) * size[1]]
        for side, limit in enumerate(limits):
            if abs(yxyx[side] - limit) < slack:
                yxyx[side] = limit
        box = yxyx[0], yxyx[1], yxyx[2], yxyx[3]
        if 0 <= label < classes:
            collector.add(number, box, label)
        else:
            defects.add("class without a name", f"{where}, line {number}: {label} of {classes}", lost="objects")
            collector.add_unnamed(box, label)
    return collector


def _lines(path: Path, defects: Defects) -> list[_Line]:
    """The valid lines of one label file."""
    try:
        # An invalid byte invalidates its line, not the file.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        defects.add("unreadable label file", f"{path}: {error}")
        return []
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, *box = (float(word) for word in line.split())
            cx, cy, w, h = box
            if label != int(label) or not label < MAX_CLASSES or not np.isfinite(box).all():
                raise ValueError(line)
        except (ValueError, OverflowError):
            defects.add("invalid line", f"{path}, line {number}: {line.strip()[:60]!r}", lost="objects")
            continue
        rows.append((number, int(label), (cx, cy, w, h)))
    return rows


def _given_names(root: Path) -> tuple[str, ...] | None:
    for path in (root / "data.yaml", root / "data.yml"):
        if path.is_file():
            try:
                names = yaml.safe_load(path.read_text(encoding="utf-8-sig"))["names"]
                numbered = (
                    names if isinstance(names, dict) else dict(enumerate(names if isinstance(names, list) else ()))
                )
                last = max(map(int, numbered))
                if not 0 <= min(map(int, numbered)) <= last < MAX_CLASSES:
                    raise ValueError(f"numbers from {min(numbered)} to {last}")
                if any(isinstance(name, list | dict) for name in numbered.values()):
                    raise TypeError("a name is a list")  # its text could be endless: a YAML list may contain itself
                return tuple(str(numbered.get(number, number)) for number in range(last + 1))
            except (yaml.YAMLError, KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
                raise UserError(f"{path}: has no valid list of names ({str(error).partition(chr(10))[0]})") from None
    for path in (root / "classes.txt", root / "obj.names"):
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
            except (OSError, UnicodeError) as error:
                raise UserError(f"{path}: cannot be read ({error})") from None
            return tuple(line.strip() or str(number) for number, line in enumerate(lines))
    return None
