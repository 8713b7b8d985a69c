"""Compound members compared with other scaling methods at the same multiply-adds."""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfeff import config
from tfeff.config.family import Family
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.candidates import STEP

COMPOUND = "compound"
PHI_STEP, MAX_PHI = 0.05, 10.0
"""Grid on which `nearest_phi` searches."""


@dataclass(frozen=True)
class Point:
    """A network that is compared.

    Attributes:
        method: `baseline` or one of `config.search.METHODS`.
        phi: φ of the compound member with these multiply-adds; 0 for the baseline.
        network: the network.
    """

    method: str
    phi: float
    network: ScaledNetwork


def points(baseline: Baseline, family: Family, section: config.Members) -> list[Point]:
    """The baseline, then for each φ the compound member and the other methods at the same multiply-adds.

    Empty if the config has neither phis nor ratios.
    """
    phis = sorted({*section.phis, *(nearest_phi(baseline, family, ratio) for ratio in section.ratios)})
    found = [Point("baseline", 0.0, baseline.unscaled)] if phis else []
    for phi in phis:
        compound = baseline.member(family, phi)
        for method in section.methods:
            network = compound if method == COMPOUND else scaled(baseline, method, compound.cost.macs)
            found.append(Point(method, phi, network))
    return found


def nearest_phi(baseline: Baseline, family: Family, ratio: float) -> float:
    """The φ, in steps of PHI_STEP, whose member's multiply-adds are closest to `ratio` times the baseline's."""

    def macs(step: int) -> int:
        return baseline.member(family, step * PHI_STEP).cost.macs

    target = ratio * baseline.cost.macs
    steps = range(round(MAX_PHI / PHI_STEP) + 1)
    above = min(bisect.bisect_left(steps, target, lo=1, key=macs), steps[-1])
    nearest = min((above - 1, above), key=lambda step: abs(math.log(macs(step) / target)))
    return round(max(1, nearest) * PHI_STEP, 6)


def scaled(baseline: Baseline, method: str, macs: int) -> ScaledNetwork:
    """The baseline scaled to about `macs` multiply-adds.

    Args:
        baseline: the baseline.
        method: `depth`, `width` or `resolution` alone, or `width+resolution`, both by the same factor.
        macs: multiply-adds.
    """
    start = baseline.resolution
    parts = start if "resolution" in method else round(1 / STEP)  # of the grid between two whole factors

    def network(step: int) -> ScaledNetwork:
        factor = (parts + step) / parts
        match method:
            case "depth":
                return baseline.network(factor, 1.0, start)
            case "width":
                return baseline.network(1.0, factor, start)
            case "resolution":
                return baseline.network(1.0, 1.0, start + step)
            case _:
                return baseline.network(1.0, factor, start + step)

    end = parts
    while network(end).cost.macs < macs:
        end *= 2
    return _nearest(range(end + 1), network, macs)


def _nearest(choices: Sequence[int], network: Callable[[int], ScaledNetwork], macs: int) -> ScaledNetwork:
    """The network closest to `macs` in ratio; multiply-adds must not fall along `choices`.

    Returns the first of the choices that round to the same network.
    """
    above = bisect.bisect_left(choices, macs, key=lambda choice: network(choice).cost.macs)
    high = network(choices[min(above, len(choices) - 1)])
    if above == 0:
        return high
    below = network(choices[above - 1]).cost.macs
    low = network(choices[bisect.bisect_left(choices, below, key=lambda choice: network(choice).cost.macs)])
    return min(low, high, key=lambda candidate: abs(math.log(candidate.cost.macs / macs)))
