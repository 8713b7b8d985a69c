"""Config sections: frozen dataclasses that check their keys, types and values and convert to and from JSON."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, NoReturn

from tfeff.config import renamed
from tfeff.errors import UserError, nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Base class of all sections: checks types on creation, then calls `check()` for the values."""

    KEY = ""  # not annotated, so it is not a field
    """The section's key in its config, for messages; the lower-case class name if empty."""

    def __post_init__(self) -> None:
        for name, annotation in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, conform(value, annotation))
            except TypeError as error:
                self.wrong(name, str(error))
        self.check()

    @classmethod
    def variants(cls) -> Mapping[str, type["Section"]]:
        """The sections that can stand in place of this one, selected by their key `name`; the first one is the default.
        Empty if there is only this one."""
        return {}

    def check(self) -> None:
        """Validates field values; raises UserError."""

    def wrong(self, key: str, right: str) -> NoReturn:
        """Raises the UserError for a wrong value of `key`; `right` describes the values that are allowed."""
        section = self.KEY or type(self).__name__.lower()
        raise UserError(f"config: {section}.{key} is {getattr(self, key)!r}; it should be {right}")


def positive(section: Section, *keys: str) -> None:
    """Checks that the value of each key is positive or None."""
    for key in keys:
        value = getattr(section, key)
        if value is not None and not value > 0:
            section.wrong(key, "above 0")


def at_least(section: Section, minimum: float, *keys: str) -> None:
    """Checks that the value of each key is `minimum` or more, or None."""
    for key in keys:
        value = getattr(section, key)
        if value is not None and not value >= minimum:
            section.wrong(key, f"{minimum} or more")


def fraction(section: Section, *keys: str) -> None:
    """Checks that the value of each key is in [0, 1] or None."""
    for key in keys:
        value = getattr(section, key)
        if value is not None and not 0 <= value <= 1:
            section.wrong(key, "between 0 and 1")


def from_dict(kind: Any, values: Any, *, where: str = "config") -> Any:
    """Creates the dataclass `kind` from nested plain values, as loaded from JSON. Old keys are translated.

    Raises:
        UserError: for an unknown key (the message suggests the nearest one) or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}; it should be an object with the keys {', '.join(_keys(kind))}")
    kind = variant(kind, values, where)
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in renamed.translate(kind.__name__, values).items():
        if key not in hints:
            raise UserError(f'{where}: no key "{key}"; {_elsewhere(kind, key) or nearest(key, hints)}')
        if dataclasses.is_dataclass(hints[key]):
            arguments[key] = from_dict(hints[key], value, where=f"{where}.{key}")
            continue
        try:
            arguments[key] = conform(value, hints[key])
        except TypeError as error:
            raise UserError(f"{where}.{key} is {value!r}; it should be {error}") from None
    return kind(**arguments)


def variant(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """The class of a section with these values: `kind`, or the variant of it that `name` selects.

    Raises:
        UserError: there is no variant of this name; the message suggests the nearest one.
    """
    variants = kind.variants() if issubclass(kind, Section) else {}
    if not variants:
        return kind
    name = values.get("name", next(iter(variants)))
    if name not in variants:
        raise UserError(f"{where}.name is {name!r}; {nearest(str(name), variants)}")
    return variants[name]


def _elsewhere(kind: Any, key: str) -> str | None:
    """Where a key belongs that this variant of a section does not have; None if no other variant has it."""
    variants = kind.variants() if issubclass(kind, Section) else {}
    names = [name for name, other in variants.items() if key in typing.get_type_hints(other)]
    return f"it requires {kind.KEY}.name={' or '.join(names)}" if names else None


def conform(value: Any, annotation: Any) -> Any:
    """Converts `value` to the annotated type: int to float and list to tuple; other types must match.

    Raises:
        TypeError: for a value of another type; the message describes the right one.

    >>> conform(3, float), conform([1, 2], tuple[int, ...]), conform(None, int | None)
    (3.0, (1, 2), None)
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
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
            return tuple(conform(item, arguments[0]) for item in value)
    elif annotation is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif annotation is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, annotation):
        return value
    raise TypeError(describe(annotation))


def parse(text: str, annotation: Any) -> Any:
    """Parses the text of a flag as the annotated type.

    Raises:
        TypeError: if it cannot; the message describes the right type.

    >>> parse("0.5", float), parse("2,2,2", tuple[int, ...]), parse("none", int | None), parse("true", bool)
    (0.5, (2, 2, 2), None, True)
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
        if inner[:1] + inner[-1:] in ("()", "[]"):
            inner = inner[1:-1]
        return tuple(parse(item.strip(), arguments[0]) for item in inner.split(",") if item.strip())
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


def describe(annotation: Any) -> str:
    """A type in words, for messages.

    >>> describe(int | None), describe(typing.Literal["a", "b"])
    ('an integer or none', '"a" or "b"')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(option) for option in arguments)
    if origin is typing.Literal:
        return " or ".join(f'"{option}"' for option in arguments)
    if origin is tuple:
        return f"a list; each item should be {describe(arguments[0])}"
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a string", type(None): "none"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def assign(kind: Any, values: dict[str, Any], path: list[str], text: str, *, section: str = "") -> None:
    """Sets the value at a dotted path from the text of a flag.

    Args:
        kind: class of the config or section.
        values: its values, nested as for `from_dict`; changed in place.
        path: the keys from here down to the value.
        text: the value as written by the user.
        section: the dotted path from the config's top to here, for messages.

    Raises:
        UserError: for an unknown key (the message suggests the nearest one) or a value of the wrong type.
    """
    kind = variant(kind, values, section)
    hints = typing.get_type_hints(kind)
    key, *rest = path
    name = f"{section}.{key}" if section else key
    if key not in hints:
        suggestion = renamed.hint(kind.__name__, key) or _elsewhere(kind, key) or nearest(key, hints)
        raise UserError(f'config: {section or kind.__name__} has no key "{key}"; {suggestion}')
    if rest:
        if not dataclasses.is_dataclass(hints[key]):
            raise UserError(f"config: {name} is a single value; it has no key {'.'.join(rest)!r}")
        assign(hints[key], values[key], rest, text, section=name)
        return
    if dataclasses.is_dataclass(hints[key]):
        raise UserError(f"config: {name} is a section; set one of its keys: {', '.join(_keys(hints[key]))}")
    if key == "name" and kind.variants():
        _select(kind, values, text, section)
        return
    try:
        values[key] = parse(text, hints[key])
    except TypeError as error:
        suggestion = renamed.hint(kind.__name__, key, text) or f"it should be {error}"
        raise UserError(f"config: {name} is {text!r}; {suggestion}") from None


def _select(kind: Any, values: dict[str, Any], name: str, section: str) -> None:
    """Changes the values of a section to those of another variant. Values that were set are kept if both have them;
    others get the defaults of the new variant."""
    new = variant(kind, {"name": name}, section)
    before, after, unset = typing.get_type_hints(kind), typing.get_type_hints(new), dataclasses.asdict(kind())
    kept = {
        key: value
        for key, value in values.items()
        if key != "name" and value != unset[key] and before[key] == after.get(key)
    }
    defaults = dataclasses.asdict(new())
    values.clear()
    values.update(defaults | kept)


def _keys(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]
