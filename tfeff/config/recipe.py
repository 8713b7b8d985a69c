"""Recipes: configs that choose some of their values for the dataset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tfeff.config.section import Section

Config = TypeVar("Config", bound=Section)


@dataclass(frozen=True)
class Choice:
    """A value, and why it was chosen.

    Attributes:
        value: of the type of its key.
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
        choose: returns the choices for the overridden `base`. A value that is overridden itself is not chosen. None:
            the config is complete.
    """

    base: Config
    choose: Callable[[Config], Choices] | None = None
