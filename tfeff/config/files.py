"""Configs on disk: a Python file with `get_config()`, JSON beside the results, and what flags change."""

import dataclasses
import json
import re
import runpy
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tfeff.config.rcnn import RCNN
from tfeff.config.schema import Experiment
from tfeff.config.search import Search
from tfeff.config.section import Section, assign, from_dict
from tfeff.durable import LOCK, held, write
from tfeff.errors import UserError, changes, nearest

Config = TypeVar("Config", bound=Section)
VERBS = {Experiment: "tfeff.train", RCNN: "tfeff.train", Search: "tfeff.search"}


def load(path: str | Path, *kinds: type[Config]) -> Config:
    """The config of a Python file that defines `get_config()`, or of a `config.json`.

    Args:
        path: of the file.
        *kinds: `Experiment`, `RCNN` or `Search`, whichever may be there.

    Raises:
        UserError: for a missing file, one without `get_config` or of the other kind, an unknown key, a value of another
            type, any mistake in the Python file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"--config={path}: {'a directory; name a file' if path.is_dir() else 'no such file'}")
    if path.suffix == ".json":
        return from_json(path.read_text(errors="replace"), *kinds, where=str(path))
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            raise UserError(f"{path}: defines no get_config()")
        made = get_config()
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except SyntaxError as error:
        raise UserError(f"{_place(path, error)}: {error.msg}") from None
    except Exception as error:
        raise _unknown_argument(path, error) or UserError(
            f"{_place(path, error)}: {type(error).__name__}: {error}"
        ) from error
    for kind in kinds:
        if isinstance(made, kind):
            return made
    for other, verb in VERBS.items():
        if isinstance(made, other):
            raise UserError(f"{path}: this config is for python -m {verb}")
    wanted = " or ".join(f"tfeff.config.{kind.__name__}" for kind in kinds)
    raise UserError(f"{path}: get_config() gives {type(made).__name__}; it should give {wanted}")


def override(config: Config, assignments: Iterable[str]) -> Config:
    """`config` with `key=value` assignments, keys dotted: `training.epochs=3`; checked once all of them are made.

    Raises:
        UserError: for an unknown key (the nearest is named) or a value of another type.
    """
    values = dataclasses.asdict(config)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--config.{key}: write --config.{key}=VALUE")
        keys = flatten(config)
        full = [known for known in keys if known.endswith(f".{key}")]
        if full and key not in keys and key not in values:
            raise UserError(f'config: no key "{key}"; did you mean "{full[0]}"?')
        assign(type(config), values, key.split("."), text)
    changed: Config = from_dict(type(config), values)
    return changed


def to_json(config: Section) -> str:
    """The whole config, defaults included, as JSON text that `from_json` reads back to an equal one."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, *kinds: type[Config], where: str = "config") -> Config:
    """The config that `to_json` wrote.

    Args:
        text: JSON.
        *kinds: of config, of which the text's keys tell.
        where: it comes from, for messages.

    Raises:
        UserError: when it is not JSON, for an unknown key or a value of another type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    keys = set(values) if isinstance(values, dict) else set()
    kind = max(kinds, key=lambda kind: len(keys & {field.name for field in dataclasses.fields(kind)}))
    config: Config = from_dict(kind, values, where=where)
    return config


@contextmanager
def claimed(directory: Path, config: Section) -> Iterator[None]:
    """Makes a workdir this config's, and nobody else's to work in while the context lasts; keeps it as `config.json`.

    A start that fails before it has written anything leaves the directory nobody's, so that another config, with the
    mistake put right, may have it.

    Raises:
        UserError: when it already belongs to another one (the message lists the keys that differ), or when another
            process works in it.
    """
    path = directory / "config.json"
    with held(directory):
        fresh = not path.exists()
        if fresh:
            write(path, to_json(config))
        elif changed := differences(from_json(path.read_text(errors="replace"), type(config), where=str(path)), config):
            raise UserError(
                f"{directory} belongs to another config:\n{changes(changed)}\n"
                "give another --workdir, or the same values to go on with that run"
            )
        try:
            yield
        except BaseException:
            if fresh and all(file.name in (path.name, LOCK) for file in directory.iterdir()):
                path.unlink()
            raise


def differences(first: Config, second: Config) -> list[tuple[str, Any, Any]]:
    """The dotted keys at which two configs differ, with both values."""
    left, right = flatten(first), flatten(second)
    return [(key, left[key], right[key]) for key in left if left[key] != right[key]]


def flatten(config: Section) -> dict[str, Any]:
    """Every value by its dotted key."""
    return _flat(dataclasses.asdict(config))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _place(path: Path, error: Exception) -> str:
    """The file, and the line of it at which a mistake came to light."""
    if isinstance(error, SyntaxError):
        line = error.lineno if error.filename in (None, str(path)) else None
    else:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else None
    return f"{path}, line {line}" if line else str(path)


def _unknown_argument(path: Path, error: Exception) -> UserError | None:
    """A section made with a key that it does not have, said as for any other unknown key."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if found is None:
        return None
    section, key = found.groups()
    kinds = {kind.__name__: kind for top in VERBS for kind in (top, *_sections(top))}
    if section not in kinds:
        return None
    names = [field.name for field in dataclasses.fields(kinds[section])]
    return UserError(f'{path}: {section} has no key "{key}"; {nearest(key, names)}')


def _sections(kind: Any) -> list[Any]:
    below = [field.type for field in dataclasses.fields(kind) if dataclasses.is_dataclass(field.type)]
    return below + [deeper for child in below for deeper in _sections(child)]
