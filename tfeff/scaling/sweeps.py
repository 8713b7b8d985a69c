"""What coefficients are worth: compound members against depth, width and resolution alone at the same multiply-adds."""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfeff import config
from tfeff.config.family import Family
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.candidates import MOST, STEP

COMPOUND = "compound"
PHI_STEP, MOST_PHI = 0.05, 10.0
"""Of the φ that are looked at for a cost."""


@dataclass(frozen=True)
class Point:
    """A network of a sweep.

    Attributes:
        method: `baseline`, `depth`, `width`, `resolution` or `compound`.
        phi: of the compound member that it is, or whose multiply-adds it has; 0 for the baseline.
        network: the network.
    """

    method: str
    phi: float
    network: ScaledNetwork


def points(baseline: Baseline, family: Family, sweeps: config.Sweeps) -> list[Point]:
    """The baseline, then for each φ the compound member and the networks of one dimension that cost what it costs.

    Nothing where no φ is asked for.
    """
    phis = sorted({*sweeps.phis, *(nearest_phi(baseline, family, ratio) for ratio in sweeps.ratios)})
    found = [Point("baseline", 0.0, baseline.start)] if phis else []
    for phi in phis:
        compound = baseline.network(*family.coefficients(phi))
        for method in sweeps.methods:
            network = compound if method == COMPOUND else single(baseline, method, compound.cost.macs)
            found.append(Point(method, phi, network))
    return found


def nearest_phi(baseline: Baseline, family: Family, ratio: float) -> float:
    """The φ whose member's multiply-adds come nearest to `ratio` times the baseline's, in steps of PHI_STEP."""

    def macs(step: int) -> int:
        return baseline.network(*family.coefficients(step * PHI_STEP)).cost.macs

    target = ratio * baseline.cost.macs
    steps = range(round(MOST_PHI / PHI_STEP) + 1)
    above = min(bisect.bisect_left(steps, target, lo=1, key=macs), steps[-1])
    nearest = min((above - 1, above), key=lambda step: abs(math.log(macs(step) / target)))
    return round(max(1, nearest) * PHI_STEP, 6)


def single(baseline: Baseline, dimension: str, macs: int) -> ScaledNetwork:
    """The baseline scaled in one dimension, `depth`, `width` or `resolution`, to about `macs` multiply-adds."""
    start = baseline.resolution
    if dimension == "resolution":
        return _nearest(range(start, math.ceil(start * MOST)), lambda r: baseline.network(1.0, 1.0, r), macs)
    steps = range(round((MOST - 1) / STEP) + 1)
    if dimension == "depth":
        return _nearest(steps, lambda step: baseline.network(1 + step * STEP, 1.0, start), macs)
    return _nearest(steps, lambda step: baseline.network(1.0, 1 + step * STEP, start), macs)


def _nearest(choices: Sequence[int], network: Callable[[int], ScaledNetwork], macs: int) -> ScaledNetwork:
    """Of networks whose multiply-adds rise, the one nearest to `macs` in ratio, the first of those that round alike."""
    above = bisect.bisect_left(choices, macs, key=lambda choice: network(choice).cost.macs)
    high = network(choices[min(above, len(choices) - 1)])
    if above == 0:
        return high
    below = network(choices[above - 1]).cost.macs
    low = network(choices[bisect.bisect_left(choices, below, key=lambda choice: network(choice).cost.macs)])
    return min(low, high, key=lambda candidate: abs(math.log(candidate.cost.macs / macs)))
