"""Reading and writing configs: Python files with `get_config()`, JSON, and `key=value` overrides.

A recipe is a config that chooses some of its values for the dataset.
"""

import dataclasses
import re
import runpy
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tfeff import checked
from tfeff.config import shipped
from tfeff.config.budget import BudgetSearch
from tfeff.config.schema import Experiment
from tfeff.config.search import Search
from tfeff.config.section import VARIANTS, Section, conform, from_dict, keys, names_first, parse, put, to_dict
from tfeff.config.sweep import Sweep
from tfeff.config.tasks import TASKS, offer
from tfeff.durable import locked, write
from tfeff.errors import UserError, changes, nearest

Config = TypeVar("Config", bound=Section)
Overrides = Mapping[str, Any] | Iterable[str]
"""Values by dotted key, or flags `key=value`."""
VERBS = {Experiment: "tfeff.train", Search: "tfeff.search", Sweep: "tfeff.search", BudgetSearch: "tfeff.search"}
"""The verb that runs each kind of config."""
WITHOUT_EFFECT = frozenset(
    {
        "data.cache",
        "data.cache_directory",
        "data.directory",
        "data.download",
        "data.max_lost",
        "training.checkpoint_seconds",
    }
)
"""Keys of an experiment that decide how a run is carried out, but change no result; it may resume with other values."""
RUN_FILE, SEARCH_FILE, SWEEP_FILE = "config.json", "search.sqlite", "sweep.sqlite"
"""Files of a workdir that say whose results it holds."""
_OWNERS = {RUN_FILE: "run", SEARCH_FILE: "search", SWEEP_FILE: "sweep"}
_ADVICE = "delete it and rerun the command of the run, which writes it again"


@dataclass(frozen=True)
class Choice:
    """A value, and why it was chosen.

    Attributes:
        value: the value, of the type of its key.
        why: a few words for the table that `tfeff.train` prints.
    """

    value: Any
    why: str


Choices = Mapping[str, Choice]
"""Dotted key -> what was chosen."""


@dataclass(frozen=True)
class Recipe(Generic[Config]):
    """A config some of whose values depend on the dataset. `get_config()` returns it in place of a config.

    Attributes:
        base: the other values. Overrides are applied to it first, so that choices can depend on them.
        choose: returns the choices for the overridden `base` and `kept`. A value that is overridden itself is not
            chosen. None: the config is complete.
        kept: dotted keys of the values that were overridden.
    """

    base: Config
    choose: Callable[[Config, Set[str]], Choices] | None = None
    kept: frozenset[str] = frozenset()


def load(path: str | Path, *kinds: type[Config]) -> Config:
    """Loads a config from a Python file that defines `get_config()`, or from a `config.json`.

    Args:
        path: the file, or the name of a config that comes with the package, such as "own_images".
        *kinds: the accepted kinds of config: `Experiment`, `Search` or `Sweep`.

    Raises:
        UserError: for a missing file, a file without `get_config`, a recipe or a config of another kind, an unknown
            key, a value of the wrong type, or any exception in the Python file.
    """
    recipe = load_recipe(path, *kinds)
    if recipe.choose is not None:
        raise UserError(
            f"{path}: chooses values for a dataset, which only tfeff.train and tfeff.search do; give the config.json "
            "of a run, or omit --config"
        )
    return recipe.base


def load_recipe(path: str | Path, *kinds: type[Config]) -> Recipe[Config]:
    """Loads a recipe from a Python file, or a config, which is a recipe without choices. Arguments as for `load`.

    Raises:
        UserError: as in `load`, and when the recipe's choices are made, for any exception in them.
    """
    given, path = str(path), shipped.find(path)
    if path.suffix == ".json":
        return Recipe(from_json(path.read_text(errors="replace"), *kinds, where=str(path), edited=True))
    with _explained(path, given):
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            raise UserError(f"{given}: defines no get_config()")
        config = get_config()
    recipe = config if isinstance(config, Recipe) else Recipe(config)
    for kind in kinds:
        if isinstance(recipe.base, kind):
            if isinstance(recipe.base, Experiment):
                offer(recipe.base.task)
            return Recipe(recipe.base, recipe.choose and _explaining(path, given, recipe.choose))
    for other, verb in VERBS.items():
        if isinstance(recipe.base, other):
            raise UserError(f"{path}: this config is for python -m {verb}")
    wanted = " or ".join(f"tfeff.config.{kind.__name__}" for kind in kinds)
    raise UserError(f"{path}: get_config() returns {type(recipe.base).__name__}; it should return {wanted}")


def overridden(recipe: Recipe[Config], overrides: Overrides) -> Recipe[Config]:
    """Returns the recipe with values replaced, see `override`.

    The values come before the choices, which can depend on them, and win over them.
    """
    values = dict(_pairs(overrides))
    base = override(recipe.base, values)
    return Recipe(base, recipe.choose, recipe.kept.union(_full_key(flatten(base), key) for key in values))


def complete(recipe: Recipe[Config], overrides: Overrides = ()) -> tuple[Config, Choices]:
    """Returns the config that a recipe, with overrides, gives for its dataset, and the choices in it.

    Raises:
        UserError: for a wrong override or choice, or a dataset that cannot be opened.
    """
    recipe = overridden(recipe, overrides)
    if recipe.choose is None:
        return recipe.base, {}
    every = recipe.choose(recipe.base, recipe.kept)
    choices = {key: choice for key, choice in every.items() if key not in recipe.kept}
    completed = chosen(recipe.base, {key: choice.value for key, choice in every.items()}, recipe.kept)
    known = flatten(completed)
    for key in sorted(recipe.kept):
        if key not in known and key in flatten(recipe.base):
            task = next((f"{each} is {choice.value}" for each, choice in choices.items() if each.endswith("name")), "")
            raise UserError(f"config: {key} was set, but there is no such key, because {task}; omit it")
    return completed, choices


def chosen(config: Config, values: Mapping[str, Any], kept: Collection[str]) -> Config:
    """Returns `config` with the values of dotted keys replaced, but not those that are kept.

    These are kept even if another `name` would set them to its own default, as long as there are such keys.

    Raises:
        UserError: as for `replaced`.
    """
    changed = replaced(config, {key: value for key, value in values.items() if key not in kept})
    before, after = flatten(config), flatten(changed)
    lost = {key: before[key] for key in kept if key in before and after.get(key, before[key]) != before[key]}
    return replaced(changed, lost)


def replaced(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns `config` with the values of dotted keys replaced.

    Raises:
        UserError: for an unknown key or a value of the wrong type.
    """
    nested = to_dict(config)
    for key in sorted(values, key=names_first):
        put(type(config), nested, key.split("."), values[key])
    changed: Config = from_dict(type(config), nested)
    return changed


def override(config: Config, overrides: Overrides) -> Config:
    """Returns `config` with values replaced.

    Args:
        config: the config.
        overrides: dotted key -> value, such as `{"training.epochs": 3}`, or flags, such as `["training.epochs=3"]`.
            Text is parsed as in a flag. In the config of a search, `experiment.` can be omitted. Keys called `name` are
            applied first, because they select what other keys there are. Values are validated after all of them are
            applied.

    Raises:
        UserError: for an unknown key (the message suggests the nearest one) or a value of the wrong type.
    """
    values = to_dict(config)
    for key, value in sorted(_pairs(overrides), key=lambda pair: names_first(pair[0])):
        known = flatten(config)
        key = _full_key(known, key)
        full = [each for each in known if each.endswith(f".{key}")]
        if full and key not in known and key not in values:
            raise UserError(f'config: no key "{key}"; did you mean "{full[0]}"?')
        put(type(config), values, key.split("."), value, parse if isinstance(value, str) else conform)
    changed: Config = from_dict(type(config), values)
    return changed


def _full_key(known: Collection[str], key: str) -> str:
    """Returns a key as it is in the config of a search, where `experiment.` can be omitted."""
    first = key.partition(".")[0]
    sections = {name.partition(".")[0] for name in known}
    omitted = first not in sections and any(f"{name}.".startswith(f"experiment.{first}.") for name in known)
    return f"experiment.{key}" if omitted else key


def _pairs(overrides: Overrides) -> list[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    parts = [text.partition("=") for text in overrides]
    for key, equals, _ in parts:
        if not equals:
            raise UserError(f"--config.{key}: write --config.{key}=VALUE")
    return [(key, text) for key, _, text in parts]


def to_json(config: Section) -> str:
    """Returns the whole config as JSON, including defaults, with a checksum; `from_json` restores an equal config."""
    return checked.to_json(to_dict(config))


def from_json(
    text: str, *kinds: type[Config], where: str = "config", advice: str = "correct it", edited: bool = False
) -> Config:
    """Restores a config from `to_json`.

    Args:
        text: JSON.
        *kinds: the accepted kinds of config; the one that shares the most keys with the JSON is created.
        where: origin of the text, for messages.
        advice: what to do if it is damaged, for messages.
        edited: accept, with a warning, values that do not fit the checksum.

    Raises:
        UserError: for invalid JSON, values that do not fit the checksum, an unknown key or a value of the wrong type.
    """
    values = checked.from_json(text, where, advice, edited=edited)
    kind = max(kinds, key=lambda kind: len(values.keys() & set(keys(kind))))
    config: Config = from_dict(kind, values, where=where)
    return config


def changes_no_result(key: str) -> bool:
    """Returns whether a key, also one of a search's experiment, is one of `WITHOUT_EFFECT`."""
    return key.removeprefix("experiment.") in WITHOUT_EFFECT


def _may_change(key: str, saved: Any, now: Any, raised: Collection[str]) -> bool:
    """Returns whether a run may resume with another value of a key."""
    skips = key.endswith("data.corrupt_images") and (saved, now) == ("error", "skip")
    return skips or changes_no_result(key) or (key in raised and now > saved)


def begun(directory: Path) -> bool:
    """Returns whether a run has trained in a workdir: it has metrics or checkpoints."""
    return any((directory / name).exists() for name in ("metrics.jsonl", "checkpoints"))


@contextmanager
def claimed(directory: Path, config: Section, raised: Sequence[str] = ()) -> Iterator[None]:
    """Creates a workdir for this config, saves the config there, and locks the workdir while the context is active.

    Until a run has trained there, a corrected config can use the same workdir.

    Args:
        directory: the workdir.
        config: the run's config.
        raised: keys of numbers that may be higher than in the saved config, which is then replaced. Keys of
            `WITHOUT_EFFECT` may have any value. Corrupt images that were an error may also be skipped: so far, there
            were none.

    Raises:
        UserError: if the workdir belongs to another config (the message lists the keys that differ), or to a search.
        BusyError: if another process is using it.
    """
    path = directory / RUN_FILE
    with locked(directory):
        refuse_other_results(directory, RUN_FILE)
        fresh = not path.exists()
        changed = []
        if not fresh:
            text = path.read_text(errors="replace")
            changed = differences(from_json(text, type(config), where=str(path), advice=_ADVICE), config)
        if begun(directory) and not all(_may_change(*each, raised) for each in changed):
            raise UserError(
                f"{directory} belongs to another config:\n{changes(changed)}\n"
                "use another --workdir, or the saved values to resume that run"
            )
        if fresh or changed:
            write(path, to_json(config))
        yield


def saved(directory: Path, *kinds: type[Config]) -> Config:
    """Returns the config that a run has saved in its workdir.

    Args:
        directory: the workdir.
        *kinds: the accepted kinds of config.

    Raises:
        UserError: there is no config, or not one of these kinds.
    """
    path = directory / RUN_FILE
    if not path.is_file():
        best = directory / "best"
        if (best / path.name).is_file():
            raise UserError(f"--workdir={directory}: the workdir of a search; that of its network is {best}")
        raise UserError(f"--workdir={directory}: no config.json there; give the workdir of a tfeff.train run")
    text = path.read_text(errors="replace")
    task = re.search(r'"task": \{\s*"name": "(\w+)"', text)
    if task is not None and task[1] not in TASKS:
        raise UserError(
            f"{path}: task.name is {task[1]!r}, a task that was given in Python and is not known to this process; give "
            "its section again: tfeff.train(..., task=...) or tfeff.open(workdir, task=...)"
        )
    return from_json(text, *kinds, where=str(path), advice=_ADVICE)


def refuse_other_results(directory: Path, own: str) -> None:
    """Keeps the report of a run, a search or a sweep safe from those of the others, whose files have the same names.

    Args:
        directory: the workdir.
        own: whose results will be written there: `RUN_FILE`, `SEARCH_FILE` or `SWEEP_FILE`.

    Raises:
        UserError: the workdir holds results of another kind.
    """
    for name, owner in _OWNERS.items():
        if name != own and (directory / name).exists():
            raise UserError(
                f"--workdir={directory}: it holds the results of a {owner} ({name}), which those of a {_OWNERS[own]} "
                f"would replace; give a directory of its own, such as --workdir={directory}-{_OWNERS[own]}"
            )


def refuse_workdir(directory: Path) -> None:
    """Keeps the files of a run safe from those of a report.

    Raises:
        UserError: the directory is the workdir of a run or of a search.
    """
    if any((directory / name).exists() for name in _OWNERS):
        raise UserError(
            f"--out={directory}: the workdir of a run or search; give another directory, whose files may be overwritten"
        )


def differences(first: Config, second: Config) -> list[tuple[str, Any, Any]]:
    """Returns the dotted keys in which two configs differ, with both values."""
    left, right = flatten(first), flatten(second)
    keys = dict.fromkeys((*left, *right))
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]


def flatten(config: Section) -> dict[str, Any]:
    """Returns all values by dotted key."""
    return _flatten(to_dict(config))


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def setting_text(value: object) -> str:
    """Returns a value as it is written in a flag --config.KEY=VALUE.

    >>> setting_text(("stem*", "stage1*")), setting_text(()), setting_text(None), setting_text(0.1)
    ('stem*,stage1*', '()', 'none', '0.1')
    """
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "()"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@contextmanager
def _explained(path: Path, given: str) -> Iterator[None]:
    """Turns any exception of a config file into a UserError with its place; `given` is its name or path."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{given}: {str(error).removeprefix(f'{given}: ')}") from None
    except SyntaxError as error:
        raise UserError(f"{_location(path, error)}: {error.msg}") from None
    except SystemExit as error:
        raise UserError(f"{given}: it ends the program ({error.code}); remove that call") from None
    except Exception as error:
        message = _unknown_argument(error) or f"{type(error).__name__}: {error}"
        raise UserError(f"{_location(path, error)}: {message}") from error


def _explaining(
    path: Path, given: str, choose: Callable[[Config, Set[str]], Choices]
) -> Callable[[Config, Set[str]], Choices]:
    def explaining(config: Config, kept: Set[str]) -> Choices:
        with _explained(path, given):
            return choose(config, kept)

    return explaining


def _location(path: Path, error: Exception) -> str:
    """Returns the file, and its line that caused the error if known."""
    if isinstance(error, SyntaxError):
        line = error.lineno if error.filename in (None, str(path)) else None
    else:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else None
    return f"{path}, line {line}" if line else str(path)


def _unknown_argument(error: Exception) -> str | None:
    """Returns the message for a section created with an unknown key; None for any other error."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if found is None:
        return None
    section, key = found.groups()
    kinds = {kind.__name__: kind for top in VERBS for kind in (top, *_sections(top))}
    if section not in kinds:
        return None
    return f'{section} has no key "{key}"; {nearest(key, keys(kinds[section]))}'


def _sections(kind: Any) -> list[Any]:
    """Returns the classes of all sections below a kind of config."""
    below = [field.type for field in keys(kind).values() if dataclasses.is_dataclass(field.type)]
    below += [type(each) for field in keys(kind).values() for each in field.metadata.get(VARIANTS, {}).values()]
    return below + [deeper for child in below for deeper in _sections(child)]
