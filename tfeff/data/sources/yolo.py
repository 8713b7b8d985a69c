"""YOLO text: a file of lines `class cx cy w h` an image, in shares of its width and height.

`<dir>/images/` and `<dir>/labels/` mirror each other; each may be divided into `<split>/` (else divided by seed). Names
of classes come from `data.yaml` (`names`), `classes.txt` or `obj.names`; without any, classes are called by their
numbers.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from tfeff.data.annotations import AnnotatedSource, Collector, Objects, OnDefect, Report
from tfeff.data.images import decoding
from tfeff.data.splits import canonical_name, members, split_names
from tfeff.errors import UserError

MOST_CLASSES = 100_000


def splits(root: Path, fractions: Mapping[str, float]) -> tuple[str, ...]:
    """The names of the data set's splits: its own folders, or those of `fractions`; and `all`.

    Raises:
        UserError: the folder is missing, or is no YOLO data set.
    """
    return split_names(_split_folders(_images(root)), fractions)


def load(
    root: Path, split: str, *, fractions: Mapping[str, float], seed: int = 0, on_defect: OnDefect = "fix"
) -> AnnotatedSource:
    """One split, in the order of the images' names; an image without a file of labels has no objects.

    Args:
        root: the folder.
        split: one of `splits(root)`.
        fractions: shares of the splits where the data set is not divided.
        seed: of that division.
        on_defect: what to do with annotations that cannot be.

    Raises:
        UserError: the folder or the split is missing, holds no image, or (as `on_defect` says) has a defect.
    """
    images, report = _images(root), Report(on_defect)
    every = sorted(
        path.relative_to(images).as_posix()
        for path in images.rglob("*")
        if path.name.lower().endswith(decoding.EXTENSIONS)
    )
    own = {name: partial(_below, folder, every) for name, folder in _split_folders(images).items()}
    names = members(root, split, every, own, fractions, seed)
    given = _class_names(root)
    found = [_lines(root / "labels" / Path(name).with_suffix(".txt"), report) for name in names]
    if given is None:
        # Numbers alone: as many classes as the whole data set has, so that every split counts them alike.
        silent = Report()
        rows = (row for name in every for row in _lines(root / "labels" / Path(name).with_suffix(".txt"), silent))
        count = 1 + max((label for _, label, _ in rows), default=0)
        given = tuple(str(number) for number in range(count))
    ids, objects = list[str](), list[Objects]()
    for name, lines in zip(names, found, strict=True):
        try:
            size = decoding.size(images / name)
        except UserError as error:
            report.defect("image that cannot be read", str(error))
            continue
        where = str(root / "labels" / Path(name).with_suffix(".txt"))
        collector = Collector(where, size, report)
        for number, label, (cx, cy, w, h) in lines:
            if not 0 <= label < len(given):
                report.defect("class without a name", f"{where}, line {number}: {label} of {len(given)}")
                continue
            top, left = (cy - h / 2) * size[0], (cx - w / 2) * size[1]
            # What rounding of the six digits that are usual puts outside is inside.
            yxyx = [top, left, (cy + h / 2) * size[0], (cx + w / 2) * size[1]]
            limits = (0.0, 0.0, float(size[0]), float(size[1]))
            slack = 1e-5 * max(size)
            for side, limit in enumerate(limits):
                if abs(yxyx[side] - limit) < slack:
                    yxyx[side] = limit
            collector.add(number, (yxyx[0], yxyx[1], yxyx[2], yxyx[3]), label)
        ids.append(name)
        objects.append(collector.objects())
    paths = [images / name for name in ids]
    return AnnotatedSource(
        name=f"yolo:{root}/{split}",
        class_names=given,
        ids=ids,
        objects=objects,
        encoded=lambda index: paths[index].read_bytes(),
        report=report,
    )


def _images(root: Path) -> Path:
    if not (root / "images").is_dir() or not (root / "labels").is_dir():
        what = "has no folders images and labels" if root.exists() else "does not exist"
        raise UserError(f"YOLO data set {root} {what}; expected {root}/images/ and {root}/labels/")
    return root / "images"


def _split_folders(images: Path) -> dict[str, str]:
    """Split -> folder below `images`."""
    return {canonical_name(path.name): path.name for path in sorted(images.iterdir()) if path.is_dir()}


def _below(folder: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{folder}/")]


def _lines(path: Path, report: Report) -> list[tuple[int, int, tuple[float, float, float, float]]]:
    """(number of the line, class, (cx, cy, w, h)) of each line that can be read."""
    try:
        # A byte that is no text spoils its line, not the file.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        report.defect("file that is no annotation", f"{path}: {error}")
        return []
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, *box = (float(word) for word in line.split())
            cx, cy, w, h = box
            if label != int(label) or not label < MOST_CLASSES or not np.isfinite(box).all():
                raise ValueError(line)
        except (ValueError, OverflowError):
            report.defect("line that is no object", f"{path}, line {number}: {line.strip()[:60]!r}")
            continue
        rows.append((number, int(label), (cx, cy, w, h)))
    return rows


def _class_names(root: Path) -> tuple[str, ...] | None:
    for path in (root / "data.yaml", root / "data.yml"):
        if path.is_file():
            try:
                names = yaml.safe_load(path.read_text(encoding="utf-8-sig"))["names"]
                numbered = (
                    names if isinstance(names, dict) else dict(enumerate(names if isinstance(names, list) else ()))
                )
                last = max(map(int, numbered))
                if not 0 <= min(map(int, numbered)) <= last < MOST_CLASSES:
                    raise ValueError(f"numbers from {min(numbered)} to {last}")
                if any(isinstance(name, list | dict) for name in numbered.values()):
                    raise TypeError("a name is a list")  # whose text may be endless: YAML's lists may hold themselves
                return tuple(str(numbered.get(number, number)) for number in range(last + 1))
            except (yaml.YAMLError, KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
                raise UserError(f"{path}: no list of names in it ({str(error).partition(chr(10))[0]})") from None
    for path in (root / "classes.txt", root / "obj.names"):
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
            except (OSError, UnicodeError) as error:
                raise UserError(f"{path}: cannot be read ({error})") from None
            return tuple(line.strip() or str(number) for number, line in enumerate(lines))
    return None
