"""Which tables of a Hugging Face dataset on disk hold which split.

Two layouts are read. The first is what `save_to_disk` of the package `datasets` writes (`dataset_dict.json`,
`state.json`). The second is Parquet and Arrow files named after their splits, as in clones of the hub
(`data/train-00000-of-00002.parquet`, also in a folder for each configuration) and in the cache of `datasets`. Nothing
outside the folder is read, except through symbolic links.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfeff.data.names import listed, shown
from tfeff.data.sources import files
from tfeff.data.splits import ALL, FRACTIONS, canonical_name, require_distinct
from tfeff.errors import UserError

_ENDINGS = (".parquet", ".arrow")
_SHARD = re.compile(r"^(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?$")
_TEMPORARY = re.compile(r"^(cache|indices|tmp)[-_.]?.*\.arrow$")
"""Tables that `datasets` computes from the others."""


class Layout(NamedTuple):
    """The tables of a dataset.

    Attributes:
        splits: split -> its files, in order. A dataset without splits has `all` alone.
        notes: what was ignored, one line each.
    """

    splits: Mapping[str, Sequence[Path]]
    notes: tuple[str, ...] = ()


def find(name: str, root: Path) -> Layout:
    """Returns the tables in a folder, or a single one, also of several.

    Args:
        name: source name, for messages.
        root: the folder or file.

    Raises:
        UserError: it does not exist or has no tables, a table is missing, or there are several configurations.
    """
    if root.is_file() and root.name.endswith(_ENDINGS):
        table = _table(root.name)
        count = int(table.shard["count"]) if table.shard else 1
        split = table.split or ALL
        return Layout({split: [root]}, (f"{name}: one of the {count} tables of {split}",) if count > 1 else ())
    if not root.is_dir():
        problem = f"is not one of {', '.join(_ENDINGS)}" if root.exists() else "does not exist"
        raise UserError(f"{name}: {root} {problem}; name the folder of a dataset")
    if (root / "dataset_dict.json").is_file():
        splits = _listed(root / "dataset_dict.json", "splits")
        absent = [each for each in splits if each not in files.subfolders(root)]
        if absent:
            raise UserError(f"{name}: no folder for the split {listed(absent)} of dataset_dict.json; save it again")
        return Layout(_checked(name, {split: _saved(name, root / split)[1] for split in splits}))
    if (root / "state.json").is_file():
        split, tables = _saved(name, root)
        return Layout({split if canonical_name(split) in FRACTIONS else ALL: tables})
    found = [each for each in files.find(root, _ENDINGS).paths if not _TEMPORARY.match(os.path.basename(each))]
    if not found:
        raise UserError(
            f"{name}: no tables (*.parquet, *.arrow) of a Hugging Face dataset: {files.contents(root)}; images in "
            f"folders of classes are folder:{root}"
        )
    return _named(name, root, found)


def _saved(name: str, folder: Path) -> tuple[str, list[Path]]:
    """Returns the split and the tables of a dataset that `save_to_disk` wrote."""
    path = folder / "state.json"
    state = _json(path)
    if state.get("_indices_data_files"):
        raise UserError(f"{path}: rows are chosen by a table of indices; save it again with datasets 2 or later")
    tables = list[Path]()
    for entry in _listed(path, "_data_files"):
        file = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(file, str) or not file or os.path.basename(file) != file or not (folder / file).is_file():
            raise UserError(f"{path}: no table {shown(str(file))} in this folder; save the dataset again")
        tables.append(folder / file)
    if not tables:
        raise UserError(f"{path}: names no tables; save the dataset again")
    return str(state.get("_split") or ALL), tables


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    return content if isinstance(content, dict) else {}


def _listed(path: Path, key: str) -> list[Any]:
    values = _json(path).get(key)
    if not isinstance(values, list):
        raise UserError(f"{path}: no list {key}; save the dataset again")
    return values


class _Table(NamedTuple):
    configuration: str
    split: str
    path: str
    shard: re.Match[str] | None


def _named(name: str, root: Path, paths: Sequence[str]) -> Layout:
    """Returns the splits of tables by their names."""
    tables = [_table(path) for path in paths]
    configurations = sorted({each.configuration for each in tables if each.split}) or [
        *sorted({each.configuration for each in tables})
    ]
    if len(configurations) > 1:
        raise UserError(
            f"{name}: tables of several configurations: {listed([each or '.' for each in configurations], 8)}; name "
            "the folder or the file of one"
        )
    named = [each for each in tables if each.split]
    splits = dict[str, list[_Table]]()
    for each in named or tables:
        splits.setdefault(each.split or ALL, []).append(each)
    for split, members in splits.items():
        _check_shards(f"{name}, {split}", members)
    others = [each.path for each in tables if not each.split] if named else []
    notes = (f"{name}: ignored tables that belong to no split: {listed(others)}",) if others else ()
    return Layout(_checked(name, {key: [root / each.path for each in value] for key, value in splits.items()}), notes)


def _table(path: str) -> _Table:
    """Parses a path such as `<configuration>/train-00000-of-00002.parquet` or `pets-train.arrow`."""
    folders, stem = path.split("/")[:-1], os.path.splitext(os.path.basename(path))[0]
    shard = _SHARD.match(stem)
    base = shard["name"] if shard else stem
    head, _, tail = base.rpartition("-")
    split = next((each for each in (base, tail, *reversed(folders)) if canonical_name(each) in FRACTIONS), "")
    if split in folders:
        folders.remove(split)
    elif not split and shard:
        split, head = base, ""
    prefix = [head] if head and split == tail else []
    return _Table("/".join([*(each for each in folders if each != "data"), *prefix]), split, path, shard)


def _check_shards(where: str, tables: Sequence[_Table]) -> None:
    """Refuses splits whose tables are not complete."""
    numbers = {int(each.shard["number"]) for each in tables if each.shard}
    count = max((int(each.shard["count"]) for each in tables if each.shard), default=0)
    if numbers and count != len(numbers):
        raise UserError(
            f"{where}: {len(numbers)} of {count} tables are there, such as {shown(tables[0].path)}; download the others"
        )


def _checked(name: str, splits: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Returns the splits in their usual order. Refuses those that cannot be told apart."""
    require_distinct(name, splits)
    usual = [split for name in FRACTIONS for split in splits if canonical_name(split) == name]
    return {split: splits[split] for split in dict.fromkeys((*usual, *splits))}
