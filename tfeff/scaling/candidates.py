"""The distinct networks within a budget, and the candidates among them.

Two triples of coefficients that round to the same blocks, channels and pixels are one network. The budget applies to
the real cost of a network after rounding, not to α·β²·γ².
"""

import bisect
import dataclasses
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile

import numpy as np

from tfeff import config
from tfeff.errors import UserError
from tfeff.reporting.tables import percent
from tfeff.scaling.baseline import Baseline, ScaledNetwork

STEP = 1 / 512
"""Grid of depth and width coefficients; a finer one would only separate networks of several hundred channels."""
MAX_COEFFICIENT = 16.0
"""Upper end of the grid, for bounds up to half of it; for larger ones, twice the bound."""
GROWTH = 8
"""The search for an upper bound on the resolution grows it by 1/GROWTH per step."""
Scaling = Mapping[str, float]
"""Arguments of `Baseline.network` except the resolution."""
Costs = Callable[[ScaledNetwork], dict[str, float]]
"""Relative cost of a network by measure."""
ESTIMATED: Costs = operator.attrgetter("relative")
"""Costs from the description of the network."""


def within_budget(baseline: Baseline, budget: config.Budget, costs: Costs = ESTIMATED) -> list[ScaledNetwork]:
    """Returns all distinct networks that satisfy every bound of a budget and exhaust at least one of them.

    Args:
        baseline: the network to scale; all coefficients are at least 1.
        costs: relative costs of a network; none may fall with depth, width or resolution.

    Returns:
        Networks ordered by depth, width, resolution.

    Raises:
        UserError: there is none (the message names the closest ones), or no bound limits the resolution.
    """
    bounds = budget.bounds
    if set(bounds) == {"params"}:
        raise UserError(
            "config: budget.params alone does not limit the resolution; set budget.macs or budget.memory as well"
        )

    def share(network: ScaledNetwork) -> float:
        return _share(costs(network), budget)

    found: list[ScaledNetwork] = []
    below: list[tuple[float, ScaledNetwork]] = []
    above: list[tuple[float, ScaledNetwork]] = []
    largest = max(MAX_COEFFICIENT, 2 * max(bounds.values()))
    for scaling in _scalings(baseline, lambda network: share(network) <= 1 + budget.tolerance, largest):
        column = _Column(baseline, scaling, share, largest)
        first = column.first(1 - budget.tolerance)
        end = column.first(1 + budget.tolerance, strict=True)
        found += [column.at(resolution)[1] for resolution in range(first, end)]
        above.append(column.at(end))
        if first > baseline.resolution:
            below.append(column.at(first - 1))
    if not found:
        nearest = [
            max(below, key=lambda item: item[0], default=None),
            min(above, key=lambda item: item[0], default=None),
        ]
        closest = " and ".join(
            f"{share:.3f} of the budget ({network.label}: {sum(network.blocks)} blocks, {network.widths[0]} channels, "
            f"{network.resolution} pixels)"
            for share, network in filter(None, nearest)
        )
        bounds_text = " and ".join(f"{bound:g} times the baseline's {name}" for name, bound in bounds.items())
        raise UserError(
            f"config: budget: no {baseline.model.name} costs {bounds_text} within {percent(budget.tolerance, 1)}; "
            f"the closest use {closest}. Raise budget.tolerance or use a larger baseline"
        )
    return found


def of_all_costs(baseline: Baseline, budget: config.Budget, phis: Sequence[float]) -> list[ScaledNetwork]:
    """Returns the baseline, and all distinct networks whose multiply-adds are `budget.macs` to the power of some φ.

    Raises:
        UserError: for one of the φ, there is none.
    """
    assert budget.macs is not None
    found = {baseline.unscaled.id: baseline.unscaled}
    for phi in phis:
        for network in within_budget(baseline, dataclasses.replace(budget, macs=budget.macs**phi)):
            found.setdefault(network.id, network)
    return list(found.values())


def meets(network: ScaledNetwork, budget: config.Budget) -> bool:
    """Returns whether a network satisfies a budget and exhausts it, by its `relative` costs."""
    share = _share(network.relative, budget)
    return 1 - budget.tolerance <= share <= 1 + budget.tolerance


def _share(relative: dict[str, float], budget: config.Budget) -> float:
    """Returns the fraction of the budget used, by the measure that uses most."""
    return max(relative[name] / bound for name, bound in budget.bounds.items())


def spread(networks: Sequence[ScaledNetwork], count: int) -> list[ScaledNetwork]:
    """Returns a subset of `count` networks spread evenly over depth, width and resolution.

    Farthest-point sampling (Gonzalez 1985) on the logarithms of α, β² and γ², which add up to that of the cost; for
    detectors also on those of depth and squared width of the neck. It starts in the middle and repeatedly adds the
    network farthest from its nearest neighbor in the subset; ties go to the network whose real cost is closest to the
    median.

    Returns:
        Networks in the order of `networks`.
    """
    if count >= len(networks):
        return list(networks)
    points = np.array(
        [
            [*(math.log(factor) for factor in (n.depth, n.width**2, n.scale**2, n.neck_depth, n.neck_width**2))]
            for n in networks
        ]
    )
    macs = np.log([network.cost.macs for network in networks])
    deviation = np.abs(macs - np.median(macs))
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    chosen = [int(np.lexsort((deviation, np.round(distance, 9)))[0])]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(np.lexsort((deviation, -np.round(distance, 9)))[0]))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return [networks[index] for index in sorted(chosen)]


def coefficients(rounded: Callable[[float], tuple[int, ...]], maximum: float) -> Iterator[float]:
    """Yields one coefficient per distinct rounding, from 1 up to the maximum.

    It is the middle of those with the same rounding, and 1 for the first.

    Args:
        rounded: coefficient -> whole numbers, none of which may fall as the coefficient rises.

    >>> list(coefficients(lambda d: (math.floor(4 * d + 0.5),), 3.0))[:3]
    [1.0, 1.25, 1.5]
    """
    steps = round((maximum - 1) / STEP)

    def at(step: int) -> tuple[int, ...]:
        return rounded(1 + step * STEP)

    first = 0
    while first <= steps:
        end = bisect.bisect_right(range(steps + 1), at(first), lo=first, key=at)
        cut_off = first == 0 or end > steps  # part of this range is outside of the grid
        # On the grid: between two grid points the rounding may differ.
        yield 1 + (first if cut_off else (first + end) // 2) * STEP
        first = end


def _scalings(baseline: Baseline, affordable: Callable[[ScaledNetwork], bool], largest: float) -> Iterator[Scaling]:
    """Yields all factors of depth and width up to `largest` that are affordable at the baseline's resolution.

    These are factors of the backbone and of a detector's neck.
    """
    start = baseline.resolution

    def network(**factors: float) -> ScaledNetwork:
        return baseline.network(resolution=start, **{"depth": 1.0, "width": 1.0} | factors)

    # Stem and head are rounded separately; the number of parameters distinguishes all of these roundings.
    axes: dict[str, Callable[[float], tuple[int, ...]]] = {
        "depth": lambda factor: network(depth=factor).blocks,
        "width": lambda factor: (network(width=factor).cost.params,),
    }
    if baseline.is_detector:
        axes["neck_depth"] = lambda factor: network(neck_depth=factor).neck[1:]
        axes["neck_width"] = lambda factor: network(neck_width=factor).neck[:1]

    def choice(name: str, rounded: Callable[[float], tuple[int, ...]]) -> list[float]:
        return list(takewhile(lambda factor: affordable(network(**{name: factor})), coefficients(rounded, largest)))

    choices = {name: choice(name, rounded) for name, rounded in axes.items()}

    def extended(factors: dict[str, float], names: Sequence[str]) -> Iterator[Scaling]:
        if not names:
            yield factors
            return
        for factor in choices[names[0]]:
            more = factors | {names[0]: factor}
            if not affordable(network(**more)):
                break
            yield from extended(more, names[1:])

    yield from extended({}, list(axes))


class _Column:
    """The networks of one scaling at all resolutions."""

    def __init__(
        self, baseline: Baseline, scaling: Scaling, share: Callable[[ScaledNetwork], float], largest: float
    ) -> None:
        self.baseline, self.scaling, self._share, self._largest = baseline, scaling, share, largest
        self._networks: dict[int, tuple[float, ScaledNetwork]] = {}

    def at(self, resolution: int) -> tuple[float, ScaledNetwork]:
        """Returns the fraction of the budget that the network uses, and the network."""
        if resolution not in self._networks:
            network = self.baseline.network(resolution=resolution, **self.scaling)
            self._networks[resolution] = self._share(network), network
        return self._networks[resolution]

    def first(self, share: float, *, strict: bool = False) -> int:
        """Returns the smallest resolution that uses at least `share` of the budget (more if `strict`).

        It is at least the baseline's.
        """
        low = high = self.baseline.resolution
        while high < self.baseline.resolution * self._largest and not self._reaches(high, share, strict):
            low, high = high + 1, high + max(1, high // GROWTH)
        return bisect.bisect_left(range(high), True, lo=low, key=lambda r: self._reaches(r, share, strict))

    def _reaches(self, resolution: int, share: float, strict: bool) -> bool:
        return self.at(resolution)[0] > share if strict else self.at(resolution)[0] >= share
