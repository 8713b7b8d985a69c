"""Rows of tables by the meaning of their columns, whatever the columns are called.

Tables are CSV files, Roboflow's `_classes.csv` (a column for each class, with 1 for that of the image) and the
`metadata.jsonl` of Hugging Face's image folders (an object of JSON in each line).
"""

import csv
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tfeff.data.defects import Defects
from tfeff.data.images import decoding
from tfeff.data.names import listed, shown
from tfeff.data.sources import files, foreign, text
from tfeff.data.sources.listing import folded
from tfeff.data.splits import FRACTIONS, canonical_name, find_split
from tfeff.errors import UserError

NAMES: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "filename", "file_name", "file", "path", "image_path", "filepath", "image_name"),
    "label": ("label", "class", "class_name", "category", "name"),
    "split": ("split", "set", "subset"),
    "xmin": ("xmin", "x_min", "x1", "left"),
    "ymin": ("ymin", "y_min", "y1", "top"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
}
"""What a column means -> how it may be called, in any case; the first name that occurs counts."""
HEADERLESS = ("image", "xmin", "ymin", "xmax", "ymax", "label")
"""Columns of files without a header, as RetinaNet reads them."""
NO_ENDING = "image listed without the ending of its file"
_ONE_HOT, _JSON_LINES = "_classes.csv", ".jsonl"
_SURPLUS, _SEVERAL = "row with more values than columns", "image with several labels"


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        where: file and line, for messages.
        folder: the file's folder, to which paths of images are relative.
        values: the row's values, by meaning of the column.
        problem: why it cannot be used, as a kind of defect; "" if it can.
    """

    where: str
    folder: Path
    values: Mapping[str, str]
    problem: str = ""

    @property
    def image(self) -> str:
        """The written path of the image, with `/`; "" without one."""
        return self.values.get("image", "").replace("\\", "/")


def rows(name: str, path: Path, needed: Sequence[str], guessed: list[str]) -> Iterator[Row]:
    """Yields the rows of a table, or of those of a folder.

    Values are separated by commas, semicolons or tabs. A folder has a file for each split: `train/*.csv`,
    `train.csv` or `train_labels.csv`; else `train/metadata.jsonl`.

    Args:
        name: source name, for messages.
        path: the file or folder.
        needed: meanings of the columns that must exist. Files without a header are accepted if these are in
            `HEADERLESS` and include corners.
        guessed: gets the places of rows with bytes that are not UTF-8; these are read as Windows-1252.

    Raises:
        UserError: a file is missing, not text, or lacks a column.
    """
    for file, split in _files(name, path).items():
        where = name if file == path else f"{name}, {file.relative_to(path)}"
        try:
            with file.open(encoding=text.encoding(file), errors="surrogateescape", newline="") as content:
                for line, raw, problem in _parsed(where, file, content, needed):
                    if any("\0" in value for value in raw.values()):
                        problem = "row with zero bytes"
                    values = {meaning: text.windows(value) for meaning, value in raw.items()}
                    if values != raw:
                        guessed.append(f"{where}, line {line}")
                    if split:
                        values["split"] = split
                    yield Row(f"{where}, line {line}", file.parent, values, problem)
        except FileNotFoundError:
            raise UserError(f"{where}: {file} does not exist") from None
        except OSError as error:
            raise UserError(f"{where}: {file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not a CSV file: {text.not_utf8(error)}") from None
        except csv.Error as error:
            raise UserError(f"{where}: not a CSV file ({error})") from None


def guessed_note(name: str, guessed: Sequence[str]) -> tuple[str, ...]:
    """Returns a line about rows whose encoding was guessed; none without any."""
    if not guessed:
        return ()
    return (f"{name}: {len(guessed):,} rows are not UTF-8 and are read as Windows-1252, first: {guessed[0]}",)


def unlisted_note(name: str, paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Notes image files next to the listed ones that no row lists, in one line; empty if there are none.

    Args:
        name: the source's name.
        paths: paths of the listed images.
    """
    known = {os.path.abspath(path) for path in paths}
    spare = list[str]()
    for folder in sorted({os.path.dirname(path) for path in known}):
        if os.path.isdir(folder):
            found = (os.path.join(folder, each) for each in files.find(folder, deep=False).paths)
            spare += [path for path in found if path not in known]
    if not spare:
        return ()
    return (f"{name}: {len(spare):,} images beside the listed ones are in no row and not used: {listed(spare)}",)


def lacking(path: Path, needed: Sequence[str]) -> list[str]:
    """Returns the meanings of columns that the header of a file lacks; all of them if it cannot be read."""
    try:
        with path.open(encoding=text.encoding(path), errors="replace") as file:
            first = file.readline(65_536)
    except OSError:
        return list(needed)
    if path.name.endswith(_JSON_LINES):
        header = list(_object(first) or ())
    else:
        header = [cell.strip(' "\n') for cell in first.split(_delimiter(first))]
    places, classes = _columns_and_classes(path, header)
    known = {*places, *(("label",) if classes else ())}
    return [meaning for meaning in needed if meaning not in known]


def _delimiter(first: str) -> str:
    return max(",;\t", key=first.count)


def elsewhere(folder: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Finds images that are not where rows say.

    An image whose path differs only in case or in composed accents is the one meant; otherwise it is one of the same
    name, if no other missing image has that name. A name without the ending of an image fits any ending. Images that
    other rows name are not used.

    Args:
        folder: where to search.
        names: paths of all images relative to the folder.

    Returns:
        Image without a file -> the files that it can be.
    """
    named = set(names)
    paths, by_name = dict[str, list[str]](), dict[str, list[str]]()
    for name in named:
        if not os.path.isfile(folder / name):
            paths.setdefault(folded(name), []).append(name)
            by_name.setdefault(folded(os.path.basename(name)), []).append(name)
    found, same = dict[str, list[str]](), dict[str, list[str]]()
    for path in files.find(folder).paths if paths else ():
        if path in named:
            continue
        stem = os.path.splitext(path)[0]
        for known, keys, result in (
            (paths, (path, stem), same),
            (by_name, (os.path.basename(path), os.path.basename(stem)), found),
        ):
            missing = known.get(folded(keys[0])) or [name for name in known.get(folded(keys[1]), ()) if no_ending(name)]
            if len(missing) == 1:
                result.setdefault(missing[0], []).append(path)
    return found | same


def no_ending(name: str) -> bool:
    """Returns whether a name lacks the ending of an image."""
    return not name.lower().endswith(decoding.EXTENSIONS)


def _parsed(
    where: str, file: Path, content: TextIO, needed: Sequence[str]
) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yields the line number, values and problem of each row that is not empty."""
    if file.name.endswith(_JSON_LINES):
        yield from _json_rows(where, file, content, needed)
        return
    first, rest = content.readline(), content
    # A quoted value of the first line may contain a line break; reading goes on in the rest.
    table = csv.reader(_chained(first, rest), delimiter=_delimiter(first), skipinitialspace=True, strict=True)
    header = [cell.strip() for cell in next(table, [])]
    places, classes = _columns_and_classes(file, header)
    if "xmin" in needed and _is_box(header):
        places, classes = {meaning: place for place, meaning in enumerate(HEADERLESS)}, {}
        yield 1, {meaning: header[place] for meaning, place in places.items()}, ""
    _require(where, file, header, needed, {*places, *(("label",) if classes else ())})
    last = table.line_num
    for cells in table:
        if table.line_num > last + 1:
            raise UserError(
                f"{where}, line {last + 1}: a value has a line break; is a quotation mark missing or too much?"
            )
        last = table.line_num
        if any(cell.strip() for cell in cells):
            values = {meaning: cells[place].strip() if place < len(cells) else "" for meaning, place in places.items()}
            problem = _SURPLUS if any(cell.strip() for cell in cells[len(header) :]) else ""
            if classes:
                chosen = [name for name, place in classes.items() if place < len(cells) and cells[place].strip() == "1"]
                values["label"] = chosen[0] if chosen else ""
                problem = problem or (_SEVERAL if len(chosen) > 1 else "")
            yield last, values, problem


def _json_rows(
    where: str, file: Path, content: TextIO, needed: Sequence[str]
) -> Iterator[tuple[int, dict[str, str], str]]:
    checked = False
    for number, line in enumerate(content, 1):
        if not line.strip():
            continue
        found = _object(line)
        if found is None:
            yield number, dict.fromkeys(needed, ""), "line that is not an object of JSON"
            continue
        places = columns(list(found))
        if not checked:
            _require(where, file, list(found), needed, places)
            checked = True
        items, values, problem = list(found.values()), dict[str, str](), ""
        for meaning, place in places.items():
            value = items[place]
            if isinstance(value, list) and len(value) > 1:
                value, problem = None, _SEVERAL
            value = value[0] if isinstance(value, list) and value else value
            values[meaning] = str(value).strip() if isinstance(value, str | int | float) else ""
        yield number, dict.fromkeys(needed, "") | values, problem


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _require(where: str, file: Path, header: Sequence[str], needed: Sequence[str], known: Collection[str]) -> None:
    missing = [meaning for meaning in needed if meaning not in known]
    if not missing:
        return
    if hint := foreign.hint(file):
        raise UserError(f"{where}: {hint}")
    example = "image,xmin,ymin,xmax,ymax,label" if "xmin" in needed else "image,label or image,label,split"
    must = f"the first line must name the columns, separated by commas: {example}"
    if file.name.endswith(_JSON_LINES):
        must = "labels are read from lines such as " + '{"file_name": "a.png", "label": "cat"}'
    raise UserError(f"{where}: no column {' or '.join(missing)} among {listed(header, 20) or 'none'}; {must}")


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def columns(header: Sequence[str]) -> dict[str, int]:
    """Returns meaning -> position of its column."""
    lower = [cell.lower() for cell in header]
    found = {}
    for meaning, names in NAMES.items():
        place = next((lower.index(each) for each in names if each in lower), None)
        if place is not None:
            found[meaning] = place
    return found


def _columns_and_classes(file: Path, header: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Returns meaning -> position of its column; and class -> position of its column, in Roboflow's `_classes.csv`."""
    places = columns(header)
    if file.name != _ONE_HOT:
        return places, {}
    if header and header[0].lower() == "filename":
        # Roboflow writes no other columns, and classes may be called left, label or image.
        places = {"image": 0}
    if "label" in places:
        return places, {}
    return places, {name: place for place, name in enumerate(header) if place not in places.values()}


def report_splits(
    images: Iterable[tuple[str, Sequence[str]]],
    split: str,
    splits: Sequence[str],
    used_splits: Collection[str],
    defects: Defects,
) -> None:
    """Counts, for one split, images without a split or in one of an unknown name, and images of several splits.

    Images without a split that is known are lost once, in the training split, or the first one of a known name.

    Args:
        images: where each image is listed, and the splits that its rows name; "" for none. The first one that is not
            empty is that of the image.
        split: the split that is loaded. If its own name is unknown, whoever loads it knows how to name the others.
        splits: all splits.
        used_splits: further names that are known; see `Options`.
        defects: where they are counted.
    """
    known = {*FRACTIONS, *map(canonical_name, used_splits)}
    strict = canonical_name(split) in FRACTIONS
    usual = (find_split("train", splits), *(name for name in splits if canonical_name(name) in FRACTIONS), splits[0])
    counted = split == next(filter(None, usual))
    for where, names in images:
        used = next(filter(None, names), "")
        if not used:
            if counted:
                defects.add("image without a split", where, lost="images")
        elif strict and used not in known and canonical_name(used) not in known:
            if not counted:
                continue
            text = f'{where}: "{shown(used)}"; known: {", ".join(FRACTIONS)}, or name it as the split of the run'
            defects.add("image in a split of an unknown name", text, lost="images")
        elif len(names) > 1 and split in names:
            text = f"{where}: {', '.join(name or 'none' for name in names)}; used in {used}"
            defects.add("image whose rows name different splits", text)


def _is_box(cells: Sequence[str]) -> bool:
    """Returns whether a line is a row of a file without a header: path, four corners, class; or a path alone."""
    if len(cells) != len(HEADERLESS) or not cells[0]:
        return False
    corners = cells[1:5]
    return not any(cells[1:]) or all(each.replace(".", "", 1).replace("-", "", 1).isdigit() for each in corners)


def _files(name: str, path: Path) -> dict[Path, str]:
    """Returns the file, or the files of a folder with their splits."""
    if not path.is_dir():
        return {path: ""}
    for ending in (".csv", "metadata.jsonl"):
        found = dict[Path, str]()
        for each in files.find(path, (ending,)).paths:
            if each.count("/") > 1:
                continue
            folder, stem = os.path.split(os.path.splitext(each)[0])
            split = next((s for part in (folder, *stem.split("_")) if (s := canonical_name(part)) in FRACTIONS), None)
            if split is not None:
                found[path / each] = split
        if found:
            return found
    raise UserError(
        f"{name}: the folder has no CSV file of a split, such as train/labels.csv or train_labels.csv: "
        f"{files.contents(path)}; name one file: csv:{path}/FILE"
    )
