"""A section of a config: a frozen dataclass whose keys and types are checked, and that becomes JSON and comes back."""

import dataclasses
import math
import types
import typing
from typing import Any, NoReturn

from tfeff.errors import UserError, nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Base of the sections: types are checked when one is made, then `check()` looks at the values."""

    def __post_init__(self) -> None:
        for name, annotation in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, conform(value, annotation))
            except TypeError as error:
                self.wrong(name, str(error))
        self.check()

    def check(self) -> None:
        """Raises UserError for values that the types allow and the field does not."""

    def wrong(self, key: str, right: str, *, value: Any = dataclasses.MISSING) -> NoReturn:
        """Raises the UserError for `key`, which should have been `right`."""
        given = getattr(self, key) if value is dataclasses.MISSING else value
        raise UserError(f"config: {type(self).__name__.lower()}.{key} is {given!r}; it should be {right}")


def positive(section: Section, *keys: str) -> None:
    """Each of `keys` is above 0, or None."""
    for key in keys:
        value = getattr(section, key)
        if value is not None and not value > 0:
            section.wrong(key, "above 0")


def at_least(section: Section, least: float, *keys: str) -> None:
    """Each of `keys` is `least` or more, or None."""
    for key in keys:
        value = getattr(section, key)
        if value is not None and not value >= least:
            section.wrong(key, f"{least} or more")


def fraction(section: Section, *keys: str) -> None:
    """Each of `keys` lies in [0, 1], or is None."""
    for key in keys:
        value = getattr(section, key)
        if value is not None and not 0 <= value <= 1:
            section.wrong(key, "between 0 and 1")


def from_dict(kind: Any, values: Any, *, where: str = "config") -> Any:
    """The dataclass `kind` from nested plain values, as JSON gives them.

    Raises:
        UserError: for a key that `kind` does not have (the message names the nearest one), or a value of another type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}; it should be an object of {', '.join(_keys(kind))}")
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            raise UserError(f'{where}: no key "{key}"; {nearest(key, hints)}')
        if dataclasses.is_dataclass(hints[key]):
            arguments[key] = from_dict(hints[key], value, where=f"{where}.{key}")
            continue
        try:
            arguments[key] = conform(value, hints[key])
        except TypeError as error:
            raise UserError(f"{where}.{key} is {value!r}; it should be {error}") from None
    return kind(**arguments)


def conform(value: Any, annotation: Any) -> Any:
    """`value` as `annotation` wants it: an int where a float is asked for and a list for a tuple are taken.

    Raises:
        TypeError: naming the type that would be right.

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
    """The value that a flag's `text` stands for under `annotation`.

    Raises:
        TypeError: naming the type that would be right.

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
        stripped = text.strip("()[] ")
        return tuple(parse(item.strip(), arguments[0]) for item in stripped.split(",") if item.strip())
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
    ('a whole number or none', '"a" or "b"')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(option) for option in arguments)
    if origin is typing.Literal:
        return " or ".join(f'"{option}"' for option in arguments)
    if origin is tuple:
        return f"a list, each item {describe(arguments[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def assign(kind: Any, values: dict[str, Any], path: list[str], text: str) -> None:
    """Sets the value at the dotted `path` from a flag's `text`; `values` is nested as `from_dict` takes it for `kind`.

    Raises:
        UserError: for an unknown key (the nearest is named) or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    key, *rest = path
    where = kind.__name__.lower()
    if key not in hints:
        raise UserError(f'config: {where} has no key "{key}"; {nearest(key, hints)}')
    if rest:
        if not dataclasses.is_dataclass(hints[key]):
            raise UserError(f"config: {where}.{key} is a single value; it has no key {'.'.join(rest)!r}")
        assign(hints[key], values[key], rest, text)
        return
    if dataclasses.is_dataclass(hints[key]):
        raise UserError(f"config: {where}.{key} is a section; name one of its keys: {', '.join(_keys(hints[key]))}")
    try:
        values[key] = parse(text, hints[key])
    except TypeError as error:
        raise UserError(f"config: {where}.{key} is {text!r}; it should be {error}") from None


def _keys(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]
