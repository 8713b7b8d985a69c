"""Which hierarchies a mode makes: combinations of colour space, threshold and similarity."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfeff.errors import UserError, nearest
from tfeff.proposals.colour import SPACES
from tfeff.proposals.grouping import TERMS


@dataclass(frozen=True)
class Strategy:
    """One hierarchy.

    Attributes:
        space: colour space, one of `colour.SPACES`.
        threshold: k of the segmentation, for an image of full size.
        terms: of the similarity: any of colour, texture, size, fill.

    Raises:
        UserError: an unknown space or term, or a threshold that is not above 0.
    """

    space: str
    threshold: float
    terms: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise UserError(f'selective search: no colour space "{self.space}"; {nearest(self.space, SPACES)}')
        if not self.threshold > 0:
            raise UserError(f"selective search: the threshold is {self.threshold}; it should be above 0")
        for term in self.terms:
            if term not in TERMS:
                raise UserError(f'selective search: no similarity "{term}"; {nearest(term, TERMS)}')
        if not self.terms:
            raise UserError(f"selective search: no similarity; name some of {', '.join(TERMS)}")


def grid(
    spaces: Sequence[str], thresholds: Sequence[float], similarities: Sequence[tuple[str, ...]]
) -> tuple[Strategy, ...]:
    """Every combination."""
    return tuple(Strategy(*of) for of in itertools.product(spaces, thresholds, similarities))


ALL = ("colour", "texture", "size", "fill")
WITHOUT_COLOUR = ("texture", "size", "fill")


@dataclass(frozen=True)
class Mode:
    """What selective search does with an image.

    Attributes:
        strategies: the hierarchies.
        side: longest side at which the image is looked at, in pixels; smaller ones stay as they are.
    """

    strategies: tuple[Strategy, ...]
    side: int = 320

    def __post_init__(self) -> None:
        if not self.strategies:
            raise UserError("selective search: no strategy given")
        if not 8 <= self.side <= 65_535:
            raise UserError(f"selective search: the side is {self.side}; it should be between 8 and 65,535 pixels")

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON-ready."""
        strategies = [[of.space, of.threshold, "+".join(of.terms)] for of in self.strategies]
        return {"side": self.side, "strategies": strategies}


MODES = {
    "single": Mode(grid(("hsv",), (200,), (ALL,))),
    "fast": Mode(grid(("hsv", "lab"), (100, 250, 600), (ALL, WITHOUT_COLOUR))),
    "quality": Mode(grid(("hsv", "lab", "rgi"), (100, 250, 600), (ALL, WITHOUT_COLOUR, ("fill",))), 400),
}


def mode(name: "str | Mode | Sequence[Strategy]") -> Mode:
    """A mode by its name, or as it is given.

    Raises:
        UserError: no such mode, or no strategy.
    """
    if isinstance(name, Mode):
        return name
    if not isinstance(name, str):
        return Mode(tuple(name))
    if name not in MODES:
        raise UserError(f'selective search: no mode "{name}"; {nearest(name, MODES)}')
    return MODES[name]
