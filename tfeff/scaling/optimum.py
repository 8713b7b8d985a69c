"""The best coefficients by a quadratic surface through all candidates, instead of the candidate with the highest mean.

Candidates of one budget lie in a plane: their shares of depth, width and resolution in the logarithm of the cost sum to
1. One candidate differs little from its neighbors, so a surface through all of them says more than any single mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfeff.errors import UserError
from tfeff.reporting import ternary
from tfeff.reporting.tables import percent
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.members import nearest_phi
from tfeff.trials.ranking import Ranking
from tfeff.trials.results import Table
from tfeff.trials.surface import Surface, fit_surface

Position = Literal["in the region", "outside the region", "beyond the candidates"]
"""Where a point is in relation to the confidence region of the highest point."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """The highest point of the surface.

    Attributes:
        surface: in the shares of depth and width.
        coefficients: α, β and γ of this point; the member φ = 1 of their family has about the candidates' mean cost.
        reference: α, β and γ to compare with.
    """

    surface: Surface
    coefficients: tuple[float, float, float]
    reference: tuple[float, float, float]

    @property
    def region(self) -> np.ndarray:
        """Shares [n, 3] of depth, width and resolution that can be the best, with 95 % confidence."""
        inside = self.surface.grid[self.surface.region]
        return np.column_stack([inside, 1 - inside.sum(axis=1)])

    @property
    def shares(self) -> np.ndarray:
        """Shares [3] of the highest point."""
        return _all_shares(self.surface)

    @property
    def reference_shares(self) -> np.ndarray:
        """Shares [3] of the point with the proportions of the reference."""
        return _shares(*self.reference)

    @property
    def reference_position(self) -> Position:
        """Where the point with the proportions of the reference is."""
        place = self.reference_shares[:2]
        if not self.surface.inside(place):
            return "beyond the candidates"
        return "in the region" if self.surface.contains(place) else "outside the region"

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
        names = f"α {alpha:.3f}, β {beta:.3f}, γ {gamma:.3f}"
        sentences = [
            f"A quadratic surface through all {len(ranking.order)} candidates is highest at {names}"
            f"{'; these coefficients are chosen' if chosen else ''}."
        ]
        if np.allclose(self.surface.highest, place):
            sentences.append(f"This is the place of {winner.label}.")
        else:
            difference, half = self.surface.difference(self.surface.highest, place)
            sentences.append(
                f"There, its {metric} is {difference:.3f} above that at the place of {winner.label} (95 % interval "
                f"{difference - half:.3f} to {difference + half:.3f})."
            )
        reference = "the proportions of the reference ({:g}, {:g}, {:g})".format(*self.reference)
        outcome = {
            "in the region": f"contains {reference}",
            "outside the region": f"excludes {reference}",
            "beyond the candidates": f"says nothing about {reference}, which lie beyond the candidates",
        }
        sentences.append(
            f"The 95 % confidence region of the highest point covers {percent(self.surface.extent)} of the "
            f"candidates' plane; it {outcome[self.reference_position]}."
        )
        half_widths = [d.high - d.mean for d in ranking.differences.values() if d.high is not None]
        if half_widths:
            sentences.append(
                f"A candidate is separable from the best one at a difference of {np.median(half_widths):.3f}."
            )
        return " ".join(sentences)


def find(
    table: Table, networks: Sequence[ScaledNetwork], baseline: Baseline, reference: tuple[float, float, float]
) -> Optimum | None:
    """Fits the surface; None for detectors, whose necks scale too, and for candidates that do not determine one.

    Args:
        table: candidate -> fold -> value, of candidates that were trained to the end.
        networks: these candidates.
        baseline: from which they were scaled.
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
    ratio = math.exp(np.mean(list(costs.values())))
    return Optimum(surface, _coefficients(_all_shares(surface), baseline, ratio), reference)


def _coefficients(shares: np.ndarray, baseline: Baseline, ratio: float) -> tuple[float, float, float]:
    """α, β and γ with these shares [3], whose member φ = 1 has about `ratio` times the baseline's multiply-adds.

    α·β²·γ² is not exactly `ratio`: blocks, channels and pixels are whole numbers.
    """
    depth, width, resolution = np.maximum(shares, 0.0).tolist()  # rounding can leave a point outside its border
    start = tuple(ratio**exponent for exponent in (depth, width / 2, resolution / 2))
    phi = nearest_phi(baseline, baseline.family(start), ratio)
    alpha, beta, gamma = (coefficient**phi for coefficient in start)
    return alpha, beta, gamma


def _all_shares(surface: Surface) -> np.ndarray:
    """Shares [3] of a surface's highest point."""
    return np.append(surface.highest, 1 - surface.highest.sum())


def _shares(depth: float, width: float, resolution: float) -> np.ndarray:
    """Shares [3] of three coefficients in the logarithm of the cost."""
    return np.asarray(ternary.shares([{"depth": depth, "width": width, "resolution": resolution}])[0])
