"""Which hierarchies a mode makes: combinations of colour space, threshold and similarity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfeff.errors import UserError, nearest
from tfeff.proposals.colour import SPACES
from tfeff.proposals.similarity import TERMS


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


def grid(spaces: Sequence[str], thresholds: Sequence[float], similarities: Sequence[tuple[str, ...]]) -> list[Strategy]:
    """Every combination."""
    return [Strategy(space, threshold, terms) for space in spaces for threshold in thresholds for terms in similarities]


ALL = ("colour", "texture", "size", "fill")
WITHOUT_COLOUR = ("texture", "size", "fill")
MODES: dict[str, list[Strategy]] = {
    "single": grid(("hsv",), (200,), (ALL,)),
    "fast": grid(("hsv", "lab"), (150, 300), (ALL, WITHOUT_COLOUR)),
    "quality": grid(("hsv", "lab", "rgi"), (150, 300, 450), (ALL, WITHOUT_COLOUR, ("fill",), ("size",))),
}


def strategies(mode: str | Sequence[Strategy]) -> list[Strategy]:
    """The strategies of a mode, or those given.

    Raises:
        UserError: no such mode, or no strategy.
    """
    if not isinstance(mode, str):
        if not mode:
            raise UserError("selective search: no strategy given")
        return list(mode)
    if mode not in MODES:
        raise UserError(f'selective search: no mode "{mode}"; {nearest(mode, MODES)}')
    return MODES[mode]


def described(mode: str | Sequence[Strategy]) -> list[dict[str, Any]]:
    """Strategies, JSON-ready."""
    return [{"space": of.space, "threshold": of.threshold, "terms": list(of.terms)} for of in strategies(mode)]
