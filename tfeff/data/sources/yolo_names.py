"""What the files of a YOLO dataset say about it: class names, and where its splits are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tfeff.data.names import shown
from tfeff.data.sources import text
from tfeff.data.sources.files import find
from tfeff.data.sources.listing import Tree, folded, joined
from tfeff.data.splits import FRACTIONS, canonical_name
from tfeff.errors import UserError

MAX_CLASSES = 100_000
NAME_LISTS = (".names", "classes.txt")
"""Endings of files with one class name per line, the most reliable one first."""
_YAML = (".yaml", ".yml")
_EXAMPLE = "write names: [cat, dog], or a line such as 0: cat for each class"


@dataclass(frozen=True)
class Declaration:
    """What a YAML or `.data` file says.

    Attributes:
        file: the file; None if there is none.
        names: class names; None if it has none.
        splits: split -> folders or lists of images, as they are written.
        path: `path`, the folder of the dataset as it is written.
        keypoints: how many numbers the keypoints of an object have, according to `kpt_shape`; 0: there are none.
        notes: what the user should know, one line each.
    """

    file: Path | None = None
    names: tuple[str, ...] | None = None
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    path: str = ""
    keypoints: int = 0
    notes: tuple[str, ...] = ()


def declaration(root: Path, given: Path | None) -> Declaration:
    """Returns the declaration of a dataset.

    Args:
        root: folder of the dataset.
        given: the file that the user names, if any.

    Raises:
        UserError: `data.yaml`, or the given file, has no valid list of names.
    """
    if given is not None:
        return _darknet(given) if given.suffix.lower() == ".data" else _yaml(given, _loaded(given))
    files = [root / name for name in find(root, (*_YAML, ".data"), deep=False).paths]
    for file in files:
        if file.name.lower() in ("data.yaml", "data.yml"):
            return _yaml(file, _loaded(file))
    for file in files:
        if file.suffix.lower() not in _YAML:
            continue
        try:
            content = _loaded(file)
        except UserError:
            continue
        if isinstance(content, dict) and "names" in content and not {"train", "val"}.isdisjoint(content):
            return _yaml(file, content)
    return next((_darknet(file) for file in files if file.suffix.lower() == ".data"), Declaration())


def names_in_lists(root: Path, tree: Tree) -> tuple[Path, tuple[str, ...]] | None:
    """Returns the class names in a list in any folder, or in Label Studio's `notes.json`, and that file.

    Raises:
        UserError: it cannot be read, or two lists of one name differ.
    """
    for wanted in NAME_LISTS:
        paths = [
            root / joined(folder, name)
            for folder, names in tree.folders.items()
            for name in names
            if is_list(name, wanted)
        ]
        lists = {path: _lines(path) for path in paths}
        if len({*lists.values()}) > 1:
            raise UserError(f"{root}: {', '.join(map(str, paths))} differ; keep one list of class names")
        if paths:
            return paths[0], lists[paths[0]]
    for name in tree.folders[""]:
        if folded(name) == "notes.json":
            try:
                rows = json.loads(text.read(root / name))["categories"]
                return root / name, _numbered({int(row["id"]): row["name"] for row in rows})
            except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
                return None
    return None


def is_list(name: str, ending: str) -> bool:
    """Returns whether a file lists class names: any file with an ending such as `.names`, or `classes.txt` itself."""
    return folded(name) == ending or (ending.startswith(".") and folded(name).endswith(ending))


def _loaded(file: Path) -> Any:
    try:
        # Everything stays text: `no`, `off` and `null` are names of classes, not values.
        return yaml.load(text.read(file), yaml.BaseLoader)
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: {text.not_utf8(error)}") from None
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        raise UserError(f"{file}: has no valid list of names ({_first_line(error)})") from None


def _yaml(file: Path, content: Any) -> Declaration:
    names = content.get("names") if isinstance(content, dict) else None
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not numbered:
        raise UserError(f"{file}: has no valid list of names; {_EXAMPLE}")
    try:
        numbers = {int(number): name for number, name in numbered.items()}
    except (TypeError, ValueError):
        key = shown(str(next(iter(numbered))))
        raise UserError(f'{file}: has no valid list of names: "{key}" is not a number; {_EXAMPLE}') from None
    try:
        given = _numbered(numbers)
    except (TypeError, ValueError) as error:
        raise UserError(f"{file}: has no valid list of names ({_first_line(error)}); {_EXAMPLE}") from None
    splits = dict[str, list[str]]()
    for key, value in content.items():
        entries = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str) and each]
        if isinstance(key, str) and canonical_name(key) in FRACTIONS and entries:
            splits.setdefault(canonical_name(key), []).extend(entries)
    path, count = content.get("path"), content.get("nc")
    notes = list[str]()
    if count not in (None, "", str(len(given))):
        notes.append(f"nc is {_value(count)}, but there are {len(given)} names")
    keypoints, shape = 0, content.get("kpt_shape")
    if shape not in (None, "", "null", "~"):
        try:
            points, values = map(int, shape if isinstance(shape, list) else ())
            keypoints = points * values
        except (TypeError, ValueError):
            notes.append(f"kpt_shape is {_value(shape)}, not two numbers, and is ignored")
    return Declaration(file, given, splits, path if isinstance(path, str) else "", keypoints, tuple(notes))


def _value(value: Any) -> str:
    """Returns a value as messages show it. Lists are not shown: a few bytes of YAML can repeat one a billion times."""
    return shown(value[:100]) if isinstance(value, str) else "not a single value"


def _darknet(file: Path) -> Declaration:
    """Reads Darknet's `obj.data`: `train = data/train.txt`, `valid = ...`, `names = data/obj.names`."""
    rows = (line.partition("=") for line in _lines(file))
    values = {key.strip().lower(): value.strip() for key, _, value in rows if value.strip()}
    splits = {canonical_name(key): [value] for key, value in values.items() if canonical_name(key) in FRACTIONS}
    return Declaration(file, None, splits)


def _numbered(names: Mapping[int, Any]) -> tuple[str, ...]:
    """Returns names in the order of their numbers; a number without a name is its own."""
    last = max(names)
    if not 0 <= min(names) <= last < MAX_CLASSES:
        raise ValueError(f"numbers from {min(names)} to {last}")
    if any(isinstance(name, list | dict) for name in names.values()):
        raise TypeError("a name is a list")  # its text could be endless: a YAML list may contain itself
    return tuple(str(names.get(number, number)) for number in range(last + 1))


def _lines(path: Path) -> tuple[str, ...]:
    """Returns the lines of a text file; an empty one is its number."""
    try:
        lines = text.read(path).rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {text.not_utf8(error)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return tuple(line.strip() or str(number) for number, line in enumerate(lines))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
