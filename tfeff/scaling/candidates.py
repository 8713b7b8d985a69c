"""Which networks a budget allows at φ = 1.

All distinct networks are listed: two triples of coefficients that round to the same blocks, channels and pixels are one
network. What counts is the real cost of each, rounding included, not α·β²·γ².
"""

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import numpy as np

from tfeff import config
from tfeff.errors import UserError
from tfeff.scaling.baseline import Baseline, ScaledNetwork

STEP = 1 / 512
"""Distance of the coefficients that are looked at; closer ones differ in one block or channel of some hundred."""
MOST = 16.0
"""Largest coefficient that is looked at."""
REACH = 8
"""One part in so many by which resolutions grow until one is too costly."""
Costs = Callable[[ScaledNetwork], dict[str, float]]
"""Relative cost of a network by measure."""


def predicted(network: ScaledNetwork) -> dict[str, float]:
    """Relative costs that follow from the description alone."""
    return network.relative


def within_budget(baseline: Baseline, budget: config.Budget, costs: Costs = predicted) -> list[ScaledNetwork]:
    """All distinct networks that keep to every bound of a budget and spend at least one of them.

    Args:
        baseline: what is scaled; no coefficient is below 1.
        budget: bounds and tolerance.
        costs: of a network; each must grow, or stay, with depth, width and resolution.

    Returns:
        By depth, width, resolution.

    Raises:
        UserError: there is none (the nearest are named), or nothing bounds the resolution.
    """
    bounds = budget.bounds
    if set(bounds) == {"params"}:
        raise UserError(
            "config: budget.params alone leaves the resolution without a bound; give budget.macs or budget.memory too"
        )

    def share(network: ScaledNetwork) -> float:
        return _share(costs(network), budget)

    found: list[ScaledNetwork] = []
    below: list[tuple[float, ScaledNetwork]] = []
    above: list[tuple[float, ScaledNetwork]] = []
    for depth, width in _pairs(baseline, lambda network: share(network) <= 1 + budget.tolerance):
        column = _Column(baseline, depth, width, share)
        first = column.first(1 - budget.tolerance)
        end = column.first(1 + budget.tolerance, beyond=True)
        found += [column.at(resolution)[1] for resolution in range(first, end)]
        above.append(column.at(end))
        if first > baseline.resolution:
            below.append(column.at(first - 1))
    if not found:
        nearest = [
            max(below, key=lambda item: item[0], default=None),
            min(above, key=lambda item: item[0], default=None),
        ]
        said = " and ".join(
            f"{share:.3f} of the budget ({network.label}: {sum(network.blocks)} blocks, {network.widths[0]} channels, "
            f"{network.resolution} pixels)"
            for share, network in filter(None, nearest)
        )
        raise UserError(
            f"config: budget: no network of {baseline.model.name} costs {_said(bounds)} to within "
            f"{budget.tolerance:.1%}; the nearest take {said}. Raise budget.tolerance, or take a larger baseline"
        )
    return found


def keeps(network: ScaledNetwork, budget: config.Budget) -> bool:
    """Whether a network whose relative costs are all known keeps to a budget and spends it."""
    share = _share(network.relative, budget)
    return 1 - budget.tolerance <= share <= 1 + budget.tolerance


def _share(relative: dict[str, float], budget: config.Budget) -> float:
    """Of the budget, by the measure that spends most of it."""
    return max(relative[name] / bound for name, bound in budget.bounds.items())


def spread(networks: Sequence[ScaledNetwork], count: int) -> list[ScaledNetwork]:
    """A subset of `count` networks spread over depth, width and resolution as evenly as can be.

    Farthest-point sampling (Gonzalez 1985) on the logarithms of α, β² and γ²: their shares in the cost. It starts in
    the middle, and takes the network whose nearest neighbour among those taken is farthest; of equally far ones the
    one whose real cost is nearest to the median.

    Returns:
        In the order of `networks`.
    """
    if count >= len(networks):
        return list(networks)
    points = np.array([[math.log(n.depth), 2 * math.log(n.width), 2 * math.log(n.scale)] for n in networks])
    macs = np.log([network.cost.macs for network in networks])
    deviation = np.abs(macs - np.median(macs))
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    chosen = [int(np.lexsort((deviation, np.round(distance, 9)))[0])]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(np.lexsort((deviation, -np.round(distance, 9)))[0]))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return [networks[index] for index in sorted(chosen)]


def coefficients(rounded: Callable[[float], tuple[int, ...]], most: float = MOST) -> Iterator[float]:
    """One coefficient for each way of rounding, from 1 on: the middle of those that round alike, 1 for the first.

    Args:
        rounded: coefficient -> whole numbers, none of which falls as it rises.
        most: largest coefficient.

    >>> list(coefficients(lambda d: (math.floor(4 * d + 0.5),)))[:3]
    [1.0, 1.25, 1.5]
    """
    steps = round((most - 1) / STEP)

    def at(step: int) -> tuple[int, ...]:
        return rounded(1 + step * STEP)

    first = 0
    while first <= steps:
        end = bisect.bisect_right(range(steps + 1), at(first), lo=first, key=at)
        # A step that was looked at, since between two steps the rounding may change unseen.
        yield 1.0 if first == 0 else 1 + (first + end) // 2 * STEP if end <= steps else 1 + first * STEP
        first = end


def _pairs(baseline: Baseline, affordable: Callable[[ScaledNetwork], bool]) -> Iterator[tuple[float, float]]:
    """Depths and widths that are affordable together at the baseline's resolution."""
    start = baseline.resolution
    depths = coefficients(lambda depth: baseline.network(depth, 1.0, start).blocks)
    # Stem and head have roundings of their own; the parameters tell all of them.
    widths = coefficients(lambda width: (baseline.network(1.0, width, start).cost.params,))
    affordable_widths = list(takewhile(lambda width: affordable(baseline.network(1.0, width, start)), widths))
    for depth in takewhile(lambda depth: affordable(baseline.network(depth, 1.0, start)), depths):
        for width in affordable_widths:
            if not affordable(baseline.network(depth, width, start)):
                break
            yield depth, width


class _Column:
    """Networks of one depth and width over the resolution."""

    def __init__(self, baseline: Baseline, depth: float, width: float, share: Callable[[ScaledNetwork], float]) -> None:
        self.baseline, self.depth, self.width, self._share = baseline, depth, width, share
        self._known: dict[int, tuple[float, ScaledNetwork]] = {}

    def at(self, resolution: int) -> tuple[float, ScaledNetwork]:
        """Share of the budget, and the network."""
        if resolution not in self._known:
            network = self.baseline.network(self.depth, self.width, resolution)
            self._known[resolution] = self._share(network), network
        return self._known[resolution]

    def first(self, share: float, *, beyond: bool = False) -> int:
        """Least resolution, from the baseline's on, that takes `share` of the budget (or more than that)."""
        low = high = self.baseline.resolution
        while high < self.baseline.resolution * MOST and not self._reaches(high, share, beyond):
            low, high = high + 1, high + max(1, high // REACH)
        return bisect.bisect_left(range(high), True, lo=low, key=lambda r: self._reaches(r, share, beyond))

    def _reaches(self, resolution: int, share: float, beyond: bool) -> bool:
        return self.at(resolution)[0] > share if beyond else self.at(resolution)[0] >= share


def _said(bounds: dict[str, float]) -> str:
    return " and ".join(f"{bound:g} times the baseline's {name}" for name, bound in bounds.items())
