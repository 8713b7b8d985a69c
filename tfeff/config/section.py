"""Config sections: frozen dataclasses that check their keys, types and values and convert to and from JSON.

A section is a `Section`, or a dataclass of a lower layer that checks its own values: an augmentation, or the
description of a network. A field declared with `choice` holds one of several sections, selected by its key `name`.
Fields with `HIDDEN` in their metadata are no keys.
"""

import dataclasses
import functools
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn, TypeVar

from tfeff.errors import UserError, nearest

HIDDEN, VARIANTS = "hidden", "variants"
"""Keys of the metadata of fields."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """The numbers that a field accepts; its annotation contains it.

    Attributes:
        words: what it is called in messages.
        allows: whether a number is accepted.
    """

    words: str
    allows: Callable[[float], bool]


Number = TypeVar("Number", int, float)
Positive = Annotated[Number, Limit("above 0", lambda value: value > 0)]
NotNegative = Annotated[Number, Limit("0 or more", lambda value: value >= 0)]
TwoOrMore = Annotated[int, Limit("2 or more", lambda value: value >= 2)]
Fraction = Annotated[float, Limit("between 0 and 1", lambda value: 0 <= value <= 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Base class of all sections: checks types and limits on creation, then calls `_check()` for everything else."""

    KEY = ""  # not annotated, so it is not a field
    """The section's key in its config, for messages; the lower-case class name if empty."""
    IS_WHOLE = False
    """Whether it is a whole config, whose keys have no section before them."""

    def __post_init__(self) -> None:
        kind: Any = type(self)
        plain, annotated = _hints(kind)
        for name, annotation in plain.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, conform(value, annotation))
            except TypeError as error:
                self.wrong(name, str(error))
        for name, annotation in annotated.items():
            value = getattr(self, name)
            for limit in _limits(annotation):
                if isinstance(value, int | float) and not limit.allows(value):
                    self.wrong(name, limit.words)
        self._check()

    def _check(self) -> None:
        """Validates field values; raises UserError."""

    def wrong(self, key: str, right: str) -> NoReturn:
        """Raises the UserError for a wrong value of `key`; `right` describes the values that are allowed."""
        section = "" if self.IS_WHOLE else f"{self.KEY or type(self).__name__.lower()}."
        raise UserError(f"config: {section}{key} is {getattr(self, key)!r}; it should be {right}")


@functools.cache
def _hints(kind: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the types of a section's fields, without and with their limits."""
    return typing.get_type_hints(kind), typing.get_type_hints(kind, include_extras=True)


def _limits(annotation: Any) -> list[Limit]:
    """Returns the limits of a number, such as that of `Positive[int] | None`."""
    parts = (annotation, *typing.get_args(annotation))
    return [limit for part in parts for limit in getattr(part, "__metadata__", ())]


def choice(variants: Mapping[str, Any], default: str | None) -> Any:
    """Declares a field that holds one of several sections, selected by its key `name`.

    Args:
        variants: the sections by name, with their default values.
        default: a name; None if the field can be None, and is by default.
    """
    return dataclasses.field(default=None if default is None else variants[default], metadata={VARIANTS: variants})


def keys(kind: Any) -> dict[str, dataclasses.Field[Any]]:
    """Returns the fields of a section that are keys of configs, by name."""
    return {field.name: field for field in dataclasses.fields(kind) if not field.metadata.get(HIDDEN)}


def to_dict(section: Any) -> dict[str, Any]:
    """Returns the values of a section by key, nested."""
    values = {key: getattr(section, key) for key in keys(section)}
    return {key: to_dict(value) if dataclasses.is_dataclass(value) else value for key, value in values.items()}


def from_dict(kind: Any, values: Any, *, where: str = "config") -> Any:
    """Creates the dataclass `kind` from nested plain values, as loaded from JSON. Missing values are the defaults.

    Raises:
        UserError: for an unknown key (the message suggests the nearest one), a value of the wrong type, or a missing
            value that has no default.
    """
    try:
        return _created(kind, None, values, where)
    except UserError as error:  # those of a section's own checks do not know the file
        raise error if where in str(error) else UserError(f"{where}: {error}") from None


def _created(kind: Any, base: Any, values: Any, where: str, variants: Mapping[str, Any] = {}) -> Any:
    """Creates a section, see `from_dict`.

    Args:
        kind: the class.
        base: an instance with the values for missing keys. None: the defaults of the class.
        values: the values by key.
        where: place of the values, for messages.
        variants: the sections among which this one was selected.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}; it should be an object with the keys {', '.join(keys(kind))}")
    known, hints, arguments = keys(kind), typing.get_type_hints(kind), {}
    for key, value in values.items():
        if key not in known:
            raise UserError(f'{where}: no key "{key}"; {_elsewhere(variants, key, where) or nearest(key, known)}')
        current = _default(known[key]) if base is None else getattr(base, key)
        arguments[key] = _value(known[key], hints[key], current, value, f"{where}.{key}")
    required = [key for key, field in known.items() if _is_required(field) and base is None and key not in arguments]
    if required:
        raise UserError(f"{where}: no value for {', '.join(required)}; add {'it' if len(required) == 1 else 'them'}")
    try:
        return kind(**arguments) if base is None else dataclasses.replace(base, **arguments)
    except UserError as error:
        raise error if issubclass(kind, Section) else UserError(_placed(kind, str(error), where)) from None


def _value(field: dataclasses.Field[Any], hint: Any, current: Any, value: Any, where: str) -> Any:
    """Returns the value of a field; `current`: the section in which it replaces values."""
    variants = field.metadata.get(VARIANTS)
    if variants is not None and not (value is None and field.default is None):
        if isinstance(value, dict) and ("name" in value or current is None):
            current = selected(variants, value.get("name"), where)
        kind = type(current) if current is not None else type(next(iter(variants.values())))
        return _created(kind, current, value, where, variants)
    if dataclasses.is_dataclass(hint):
        return _created(hint, current, value, where)
    try:
        return conform(value, hint)
    except TypeError as error:
        raise UserError(f"{where} is {value!r}; it should be {error}") from None


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    """Returns the default value of a field, or None if it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def selected(variants: Mapping[str, Any], name: Any, where: str) -> Any:
    """Returns the section of this name.

    Raises:
        UserError: there is none; the message suggests the nearest name.
    """
    if not isinstance(name, str) or name not in variants:
        raise UserError(f"{where}.name is {name!r}; {nearest(str(name), variants)}")
    return variants[name]


def _elsewhere(variants: Mapping[str, Any], key: str, where: str) -> str | None:
    """Returns a hint to the variants that have a key that this section lacks; None if no other variant has it."""
    names = [name for name, other in variants.items() if key in keys(other)]
    listed = " or ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"it requires {where.removeprefix('config.')}.name={listed}" if names else None


def _placed(kind: Any, message: str, where: str) -> str:
    """Returns the message of a section that does not know its place in the config."""
    path = f"config: {where.removeprefix('config.')}" if where.startswith("config.") else where
    first = re.match(r"\w*", message)
    if first is not None and first[0] in keys(kind):
        return f"{path}.{message}"
    own = f"{where.rpartition('.')[2]}."
    return f"{path}.{message.removeprefix(own)}" if message.startswith(own) else f"{path}: {message}"


def conform(value: Any, annotation: Any) -> Any:
    """Converts `value` to the annotated type: int to float, list to tuple, and path to text; other types must match.

    NumPy numbers and arrays count as Python's. The ~ of a path such as ~/images becomes the home directory.

    Raises:
        TypeError: for a value of another type; the message describes the right one.

    >>> conform(3, float), conform([1, 2], tuple[int, ...]), conform(None, int | None)
    (3.0, (1, 2), None)
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if origin in (types.UnionType, typing.Union):
        for option in arguments:
            try:
                return conform(value, option)
            except TypeError:
                continue
    elif origin is typing.Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
            if len(kinds) == len(value):
                return tuple(conform(item, kind) for item, kind in zip(value, kinds, strict=True))
    elif annotation is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif annotation is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif annotation is str:
        if isinstance(value, str | os.PathLike):
            value = os.fspath(value)
            return os.path.expanduser(value) if value[:2] in ("~", "~/") else value
    elif isinstance(value, annotation):
        return value
    raise TypeError(describe(annotation))


def parse(text: str, annotation: Any) -> Any:
    """Parses the text of a flag as the annotated type.

    Raises:
        TypeError: if it cannot; the message describes the right type.

    >>> parse("0.5", float), parse("2,2,2", tuple[int, ...]), parse("none", int | None), parse("true", bool)
    (0.5, (2, 2, 2), None, True)
    >>> parse("none", tuple[str, ...]), parse("['stem*', 'head*']", tuple[str, ...]), parse("[st]em*", tuple[str, ...])
    ((), ('stem*', 'head*'), ('[st]em*',))
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        if type(None) in arguments and text.lower() == "none":
            return None
        for option in (option for option in arguments if option is not type(None)):
            try:
                return parse(text, option)
            except TypeError:
                continue
    elif origin is typing.Literal:
        if text in arguments:
            return text
    elif origin is tuple:
        inner = text.strip()
        if inner.lower() == "none":
            return ()
        if inner[:1] + inner[-1:] in ("()", "[]") and inner.find(inner[-1]) == len(inner) - 1:
            inner = inner[1:-1]
        items = [_unquoted(item.strip()) for item in inner.split(",") if item.strip()]
        try:
            return tuple(parse(item, arguments[0]) for item in items)
        except TypeError:
            raise TypeError(describe(annotation)) from None
    elif annotation is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif annotation in (int, float):
        try:
            return conform(annotation(text), annotation)
        except ValueError:
            pass
    elif annotation is str:
        return text
    raise TypeError(describe(annotation))


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def describe(annotation: Any) -> str:
    """Returns a type in words, for messages.

    >>> describe(int | None), describe(typing.Literal["a", "b"])
    ('an integer or none', '"a" or "b"')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(option) for option in arguments)
    if origin is typing.Literal:
        return " or ".join(f'"{option}"' for option in arguments)
    if origin is tuple:
        if arguments[1:] == (...,):
            return f"a list; each item should be {describe(arguments[0])}"
        return f"a list of {len(arguments)} items: {', '.join(map(describe, arguments))}"
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a string", type(None): "none"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def names_first(key: str) -> tuple[bool, int]:
    """Sorts keys: those of a `name` first, from the top down, because they select what other keys there are."""
    *sections, last = key.split(".")
    return last != "name", len(sections)


def put(
    kind: Any,
    values: dict[str, Any],
    path: list[str],
    value: Any,
    converted: Callable[[Any, Any], Any] = conform,
    *,
    section: str = "",
    variants: Mapping[str, Any] = {},
) -> None:
    """Sets the value at a dotted path.

    Args:
        kind: class of the config.
        values: the section's values, as `to_dict` returns them; changed in place.
        path: the keys from the config down to the value.
        value: the value, or its text as written by the user.
        converted: `conform`, or `parse` for a text.
        section: dotted path from the whole config to this one.
        variants: the sections among which this one was selected.

    Raises:
        UserError: for an unknown key (the message suggests the nearest one) or a value of the wrong type.
    """
    known, hints = keys(kind), typing.get_type_hints(kind)
    key, *rest = path
    name = f"{section}.{key}" if section else key
    if key not in known:
        suggestion = _elsewhere(variants, key, section) or nearest(key, known)
        raise UserError(f'config: {section or kind.__name__} has no key "{key}"; {suggestion}')
    inner = known[key].metadata.get(VARIANTS, {})
    below = type(inner[values[key]["name"]]) if inner and values[key] is not None else hints[key]
    if rest:
        if not dataclasses.is_dataclass(below):
            raise UserError(f"config: {name} is a single value; it has no key {'.'.join(rest)!r}")
        put(below, values[key], rest, value, converted, section=name, variants=inner)
    elif dataclasses.is_dataclass(below):
        raise UserError(f"config: {name} is a section; set one of its keys: {', '.join(keys(below))}")
    elif key == "name" and variants:
        changed = _carried(values, variants, selected(variants, value, section))
        values.clear()
        values.update(changed)
    else:
        try:
            values[key] = converted(value, hints[key])
        except TypeError as error:
            raise UserError(f"config: {name} is {value!r}; it should be {error}") from None


def _carried(values: dict[str, Any], variants: Mapping[str, Any], new: Any) -> dict[str, Any]:
    """Returns the values of `new`, except those that were set before and that both have.

    Args:
        values: the values before.
        variants: name -> default values of each variant of the section.
        new: one of them.
    """
    old = variants[values["name"]]
    unset, changed = to_dict(old), to_dict(new)
    before, after = typing.get_type_hints(type(old)), typing.get_type_hints(type(new))
    for key, value in values.items():
        if key == "name" or value == unset[key] or key not in changed:
            continue
        fields = keys(old)[key], keys(new)[key]
        if all(VARIANTS in field.metadata for field in fields) and fields[0].metadata != fields[1].metadata:
            changed[key] = _carried(value, fields[0].metadata[VARIANTS], getattr(new, key))
        elif before[key] == after[key]:
            changed[key] = value
    return changed
