"""The best coefficients by a quadratic surface through all candidates, instead of the candidate with the highest mean.

Candidates of one budget lie in a plane: their shares of depth, width and resolution in the logarithm of the cost sum to
1. One candidate differs little from its neighbors, so a surface through all of them says more than any single mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfeff.errors import UserError
from tfeff.reporting import ternary
from tfeff.scaling.baseline import ScaledNetwork
from tfeff.trials.ranking import Ranking
from tfeff.trials.results import Table
from tfeff.trials.surface import Surface, fit_surface


@dataclass(frozen=True, eq=False)
class Optimum:
    """The highest point of the surface.

    Attributes:
        surface: in the shares of depth and width.
        cost: mean of α·β²·γ² of the candidates.
        reference: α, β and γ to compare with.
    """

    surface: Surface
    cost: float
    reference: tuple[float, float, float]

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """α, β and γ of the highest point, with α·β²·γ² equal to the mean of the candidates."""
        depth, width, resolution = np.maximum(self.shares, 0.0)  # rounding can leave a point outside its border
        total = math.log(self.cost)
        return math.exp(depth * total), math.exp(width * total / 2), math.exp(resolution * total / 2)

    @property
    def region(self) -> np.ndarray:
        """Shares [n, 3] of depth, width and resolution that can be the best, with 95 % confidence."""
        inside = self.surface.grid[self.surface.region]
        return np.column_stack([inside, 1 - inside.sum(axis=1)])

    @property
    def shares(self) -> np.ndarray:
        """Shares [3] of the highest point."""
        return np.append(self.surface.highest, 1 - self.surface.highest.sum())

    @property
    def reference_shares(self) -> np.ndarray:
        """Shares [3] of the point with the proportions of the reference."""
        return _shares(*self.reference)

    @property
    def verdict(self) -> str:
        """Whether the region contains the point with the proportions of the reference."""
        place = self.reference_shares[:2]
        if self.surface.contains(place):
            return "it contains"
        return "it excludes" if self.surface.inside(place) else "the candidates do not surround"

    def sentence(self, winner: ScaledNetwork, ranking: Ranking, metric: str, *, chosen: bool) -> str:
        """The outcome in words.

        Args:
            winner: the candidate that the ranking chose.
            ranking: of the candidates.
            metric: what the surface describes.
            chosen: whether the highest point becomes the choice.
        """
        alpha, beta, gamma = self.coefficients
        place = _shares(winner.depth, winner.width, winner.scale)[:2]
        difference, half = self.surface.difference(self.surface.highest, place)
        names = f"α {alpha:.3f}, β {beta:.3f}, γ {gamma:.3f}"
        reference = ", ".join(f"{value:g}" for value in self.reference)
        text = (
            f"A quadratic surface through all {len(ranking.order)} candidates is highest at {names}"
            f"{'; these coefficients are chosen' if chosen else ''}. There, its {metric} is {difference:.3f} above "
            f"that at the place of {winner.label} (95 % interval "
            f"{difference - half:.3f} to {difference + half:.3f}). The 95 % confidence region of the highest point "
            f"covers {self.surface.extent:.0%} of the candidates' plane; {self.verdict} the "
            f"proportions of the reference ({reference})."
        )
        widths = [d.high - d.mean for d in ranking.differences.values() if d.high is not None]
        if widths:
            text += f" Two candidates are separable from a difference of about {np.median(widths):.3f} on."
        return text


def find(table: Table, networks: Sequence[ScaledNetwork], reference: tuple[float, float, float]) -> Optimum | None:
    """Fits the surface; None for detectors, whose necks scale too, and for candidates that do not determine one.

    Args:
        table: candidate -> fold -> value, of candidates that were trained to the end.
        networks: these candidates.
        reference: α, β and γ to compare with.
    """
    if any(network.neck for network in networks):
        return None
    points = dict[str, tuple[float, float]]()
    for network in networks:
        depth, width, _ = _shares(network.depth, network.width, network.scale)
        points[network.id] = float(depth), float(width)
    costs = {network.id: math.log(network.relative["macs"]) for network in networks}
    try:
        surface = fit_surface(table, points, costs)
    except UserError:
        return None
    return Optimum(surface, float(np.mean([network.nominal for network in networks])), reference)


def _shares(depth: float, width: float, resolution: float) -> np.ndarray:
    """Shares [3] of three coefficients in the logarithm of the cost."""
    return np.asarray(ternary.shares([{"depth": depth, "width": width, "resolution": resolution}])[0])
