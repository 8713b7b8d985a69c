"""The hierarchies of each mode of selective search: combinations of color space, threshold and similarity."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfeff.errors import UserError, nearest
from tfeff.proposals.grouping import TERMS
from tfeff.proposals.regions import SPACES


@dataclass(frozen=True)
class Strategy:
    """The settings of one hierarchical grouping.

    Attributes:
        space: color space, one of `regions.SPACES`.
        threshold: threshold k of the segmentation, for an image of full size.
        terms: terms of the similarity: any of color, texture, size, fill.

    Raises:
        UserError: unknown color space or similarity, or a threshold that is not positive.
    """

    space: str
    threshold: float
    terms: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise UserError(f'selective search: unknown color space "{self.space}"; {nearest(self.space, SPACES)}')
        if not self.threshold > 0:
            raise UserError(f"selective search: threshold is {self.threshold}; it must be above 0")
        for term in self.terms:
            if term not in TERMS:
                raise UserError(f'selective search: unknown similarity "{term}"; {nearest(term, TERMS)}')
        if not self.terms:
            raise UserError(f"selective search: a strategy has no similarity; choose from {', '.join(TERMS)}")


def grid(
    spaces: Sequence[str], thresholds: Sequence[float], similarities: Sequence[tuple[str, ...]]
) -> tuple[Strategy, ...]:
    """Returns all combinations."""
    return tuple(Strategy(*values) for values in itertools.product(spaces, thresholds, similarities))


ALL = ("color", "texture", "size", "fill")
WITHOUT_COLOR = ("texture", "size", "fill")
FILL = ("fill",)


@dataclass(frozen=True)
class Mode:
    """The strategies of a selective search, the working size of its images, and the smallest regions.

    Attributes:
        strategies: one hierarchy each.
        side: longest side of the working size in pixels. Smaller images are not enlarged.
        min_size: minimum pixels of a region, for an image of full size.

    Raises:
        UserError: no strategies, or a number out of its range.
    """

    strategies: tuple[Strategy, ...]
    side: int = 320
    min_size: int = 100

    def __post_init__(self) -> None:
        if not self.strategies:
            raise UserError("selective search: no strategies")
        if not 8 <= self.side <= 65_535:
            raise UserError(f"selective search: side is {self.side}; it must be between 8 and 65,535 pixels")
        if self.min_size < 1:
            raise UserError(f"selective search: min_size is {self.min_size}; it must be at least 1 pixel")

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings as JSON values."""
        strategies = [[s.space, s.threshold, "+".join(s.terms)] for s in self.strategies]
        return {"side": self.side, "min_size": self.min_size, "strategies": strategies}


MODES = {
    "single": Mode(grid(("hsv",), (200,), (ALL,))),
    "fast": Mode(grid(("hsv", "lab"), (100, 600), (ALL, FILL)), side=256, min_size=50),
    "quality": Mode(grid(("hsv", "lab", "rgi"), (100, 250, 600), (ALL, WITHOUT_COLOR, FILL)), side=400),
}


def resolve_mode(mode: str | Mode | Sequence[Strategy]) -> Mode:
    """Returns a mode by name, or from its strategies.

    Raises:
        UserError: unknown mode, or no strategies.
    """
    if isinstance(mode, Mode):
        return mode
    if not isinstance(mode, str):
        return Mode(tuple(mode))
    if mode not in MODES:
        raise UserError(f'selective search: unknown mode "{mode}"; {nearest(mode, MODES)}')
    return MODES[mode]
