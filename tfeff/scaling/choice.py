"""Chooses the scaling coefficients by the results of the candidates.

Candidates of one budget lie in a plane: their shares of depth, width and resolution in the logarithm of the cost sum to
1. One candidate differs little from its neighbors, so a quadratic surface through all of them says more than the
highest mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfeff import config
from tfeff.errors import UserError
from tfeff.reporting import candidates
from tfeff.reporting.tables import percent
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.members import nearest_phi
from tfeff.trials.allocation import Elimination
from tfeff.trials.intervals import within
from tfeff.trials.proportions import is_proportion
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
        """The outcome in words; `chosen` says whether the highest point becomes the choice."""
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
            low, high = within(difference - half, difference + half, bounded=is_proportion(metric))
            sentences.append(
                f"There, its {metric} is {difference:.3f} above that at the place of {winner.label} (95 % interval "
                f"{low:.3f} to {high:.3f})."
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
    return np.asarray(candidates.shares([{"depth": depth, "width": width, "resolution": resolution}])[0])


UNSCALED = 1.005
"""Coefficients below this do not scale their dimension at any practical φ."""
DIMENSIONS = {"depth": "α", "width": "β", "resolution": "γ"}


@dataclass(frozen=True, eq=False)
class ScalingChoice:
    """The outcome of the candidates' trials.

    Attributes:
        ranking: of the other candidates.
        optimum: highest point of a surface through all candidates; None if none can be fitted.
        coefficients: depth, width and resolution at φ = 1 relative to the baseline; of a detector, also depth and width
            of its neck.
    """

    eliminated: Mapping[str, Elimination]
    ranking: Ranking
    optimum: Optimum | None
    coefficients: tuple[float, ...]
    sentence: str


def choose(
    search: config.Search,
    baseline: Baseline,
    networks: Sequence[ScaledNetwork],
    eliminated: Mapping[str, Elimination],
    ranking: Ranking,
    table: Table,
    metric: str,
) -> ScalingChoice:
    """Applies the rule `Search.choice`.

    Args:
        ranking: of the others.
        table: candidate -> fold -> value, of those that were trained to the end.
    """
    rule = search.choice
    winner = next(network for network in networks if network.id == ranking.chosen)
    optimum = None if eliminated else find(table, networks, baseline, search.reference)
    sentences = [ranking.sentence]
    coefficients = coefficients_of(winner)
    if optimum is not None:
        if rule == "surface":
            coefficients = optimum.coefficients
        sentences.append(optimum.sentence(winner, ranking, metric, chosen=rule == "surface"))
    elif rule == "surface":
        why = "some candidates were eliminated or failed" if eliminated else "the candidates do not determine one"
        sentences.append(f"No surface could be fitted, because {why}, so {winner.label} is chosen.")
    flat = [
        f"{letter} = {value:.3f} does not scale {name}"
        for (name, letter), value in zip(DIMENSIONS.items(), coefficients, strict=False)
        if value < UNSCALED
    ]
    if flat:
        sentences.append(f"Note that {' and '.join(flat)}: larger members of this family grow in the rest only.")
    return ScalingChoice(eliminated, ranking, optimum, coefficients, " ".join(sentences))


def coefficients_of(network: ScaledNetwork) -> tuple[float, ...]:
    """Depth, width and resolution relative to the baseline; of a detector, also depth and width of its neck."""
    neck = (network.neck_depth, network.neck_width) if network.neck else ()
    return network.depth, network.width, network.scale, *neck


def given(search: config.Search, is_detector: bool) -> tuple[float, ...]:
    """The coefficients that the config gives, in the same form."""
    assert search.coefficients is not None
    if len(search.coefficients) != (5 if is_detector else 3):
        search.wrong("coefficients", "five numbers for a detector (with depth and width of its neck), else three")
    return search.coefficients
