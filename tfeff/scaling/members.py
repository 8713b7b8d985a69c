"""Compound members compared with other scaling methods at the same multiply-adds."""

import bisect
import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfeff import config
from tfeff.config.family import COMPOUND, Family
from tfeff.config.search import SINGLE
from tfeff.errors import UserError
from tfeff.reporting.scaling_curves import METHODS
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.candidates import STEP
from tfeff.trials.contrasts import Contrasts, contrasts
from tfeff.trials.intervals import Difference, Summary, grouped_summaries, paired_difference, summary, within
from tfeff.trials.results import Block
from tfeff.trials.two_way import fit_two_way

PHI_STEP, MAX_PHI = 0.05, 10.0
"""Grid on which `nearest_phi` searches."""
FARTHEST = 0.25
"""The closest member may have fewer multiply-adds than wanted by this share."""


@dataclass(frozen=True)
class Point:
    """A network that is compared.

    Attributes:
        method: `baseline` or one of `config.search.METHODS`.
        phi: φ of the compound member with these multiply-adds; 0 for the baseline.
    """

    method: str
    phi: float
    network: ScaledNetwork


def points(baseline: Baseline, family: Family, section: config.Members) -> list[Point]:
    """Returns the baseline, then for each φ the compound member and the other methods at the same multiply-adds.

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


def with_others(family: Family, points: Sequence[Point]) -> Family:
    """Returns the family, with the networks that other methods scaled to the multiply-adds of its members."""
    others = [point for point in points if point.method != COMPOUND and point.phi]
    return dataclasses.replace(
        family,
        others=tuple((p.method, p.phi, p.network.depth, p.network.width, p.network.resolution) for p in others),
    )


def nearest_phi(baseline: Baseline, family: Family, ratio: float) -> float:
    """Returns the φ, in steps of PHI_STEP, whose member's multiply-adds are closest to `ratio` times the baseline's.

    Raises:
        UserError: even the largest member has far fewer.
    """

    def macs(step: int) -> int:
        return baseline.member(family, step * PHI_STEP).cost.macs

    target = ratio * baseline.cost.macs
    steps = range(round(MAX_PHI / PHI_STEP) + 1)
    above = min(bisect.bisect_left(steps, target, lo=1, key=macs), steps[-1])
    if macs(above) < target / (1 + FARTHEST):
        largest = macs(above) / baseline.cost.macs
        raise UserError(
            f"config: members.ratios: {ratio:g} times the multiply-adds of the baseline; with α, β, γ = "
            f"{family.alpha:.3g}, {family.beta:.3g}, {family.gamma:.3g}, members have at most {largest:.3g} times "
            f"(φ = {MAX_PHI:g})"
        )
    nearest = min((above - 1, above), key=lambda step: abs(math.log(macs(step) / target)))
    return round(max(1, nearest) * PHI_STEP, 6)


def scaled(baseline: Baseline, method: str, macs: int) -> ScaledNetwork:
    """Scales the baseline to about `macs` multiply-adds in `depth`, `width`, `resolution` or `width+resolution`."""
    start = baseline.resolution
    parts = start if "resolution" in method else round(1 / STEP)  # of the grid between two whole factors

    def network(step: int) -> ScaledNetwork:
        factor = (parts + step) / parts
        depth = factor if method == "depth" else 1.0
        width = factor if "width" in method else 1.0
        return baseline.network(depth, width, start + step if "resolution" in method else start)

    end = parts
    while network(end).cost.macs < macs:
        end *= 2
    return _nearest(range(end + 1), network, macs)


def _nearest(choices: Sequence[int], network: Callable[[int], ScaledNetwork], macs: int) -> ScaledNetwork:
    """Returns the network closest to `macs` in ratio; multiply-adds must not fall along `choices`.

    Returns the first of the choices that round to the same network.
    """
    above = bisect.bisect_left(choices, macs, key=lambda choice: network(choice).cost.macs)
    high = network(choices[min(above, len(choices) - 1)])
    if above == 0:
        return high
    below = network(choices[above - 1]).cost.macs
    low = network(choices[bisect.bisect_left(choices, below, key=lambda choice: network(choice).cost.macs)])
    return min(low, high, key=lambda candidate: abs(math.log(candidate.cost.macs / macs)))


FOLDS = 2, 4, 6, 8, 12, 16
"""Numbers of folds in the table of detectable advantages."""


class Comparison:
    """Networks that were scaled by different methods to the same multiply-adds.

    Args:
        values: network -> fold -> metric, averaged over seeds, without failed trials.
        losses: network -> final training loss of each of its complete trials.
        bounded: whether the metric is in [0, 1].
    """

    def __init__(
        self,
        points: Sequence[Point],
        values: Mapping[str, Mapping[Block, float]],
        losses: Mapping[str, Sequence[float]],
        failed: Collection[str],
        *,
        minimized: bool,
        bounded: bool,
    ) -> None:
        self._points, self._values, self._losses = points, values, losses
        self._failed, self._minimized, self._bounded = failed, minimized, bounded

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Compound scaling against the other methods at the same multiply-adds.

        The intervals of depth, width and resolution alone at one φ hold at once, and so do their lower bounds; see
        `tfeff.trials.contrasts`.
        """
        rows = []
        for compound, other in self._pairs:
            row: dict[str, Any] = {
                "φ": compound.phi,
                "against": METHODS[other.method].label,
                "compound, x baseline": compound.network.relative["macs"],
                "other, x baseline": other.network.relative["macs"],
            }
            rows.append(row)
            if other.network.id == compound.network.id:
                row["verdict"] = "the same network"
                continue
            compared = self.compared.get((compound.phi, other.method))
            if compared is None:
                row["verdict"] = "not decided: on every fold, a training of one of them failed"
                continue
            difference, bound = compared.differences[other.network.id], compared.bounds[other.network.id]
            row |= {
                "compound": self.estimates[compound.network.id].mean,
                "other": self.estimates[other.network.id].mean,
                "advantage": round(difference.mean, 12),  # without rounding errors
                "95 % from": difference.low,
                "to": difference.high,
                "lower bound": bound,
                "verdict": _verdict(difference, bound),
                "optimized": other.network.id not in compared.apart,
            }
            if not row["optimized"]:
                row["verdict"] += "; not both optimized"
        return rows

    @cached_property
    def gains(self) -> list[dict[str, Any]]:
        """Each compound member against the baseline, on the same folds; each interval stands alone.

        The variance is pooled over all networks except those that failed to optimize.
        """
        baseline = next((point.network.id for point in self._points if point.method == "baseline"), "")
        pooled = {name: row for name, row in self._table.items() if name not in self.not_optimized}
        layout, rows = fit_two_way(pooled) if baseline in pooled else None, []
        for point in self._points:
            name = point.network.id
            if point.method != COMPOUND or name == baseline or not {name, baseline} <= self._table.keys():
                continue
            if layout is not None and name in pooled:
                gain = layout.difference(name, baseline)
            elif self._table[name].keys() & self._table[baseline].keys():
                gain = paired_difference(self._table[name], self._table[baseline])
            else:
                continue
            low, high = within(gain.low, gain.high, bounded=self._bounded)
            rows.append(
                {
                    "φ": point.phi,
                    "compound": self.estimates[point.network.id].mean,
                    "baseline": self.estimates[baseline].mean,
                    "gain": gain.mean,
                    "95 % from": low,
                    "to": high,
                }
            )
        return rows

    @cached_property
    def estimates(self) -> dict[str, Summary]:
        """Network -> its mean and interval; those that failed to optimize do not share the others' variance."""
        groups = {name: name if name in self.not_optimized else "" for name in self._values}
        return grouped_summaries(self._values, groups, bounded=self._bounded)

    @cached_property
    def _table(self) -> dict[str, dict[Block, float]]:
        """Network -> fold -> value, higher is better; without networks that have no value."""
        sign = -1.0 if self._minimized else 1.0
        table = {
            point.network.id: {block: sign * value for block, value in self._values[point.network.id].items()}
            for point in self._points
        }
        return {name: row for name, row in table.items() if row}

    @cached_property
    def _pairs(self) -> list[tuple[Point, Point]]:
        """Each compound member with each other network at its φ."""
        points = self._points
        return [
            (compound, other)
            for compound in points
            if compound.method == COMPOUND
            for other in points
            if other.phi == compound.phi and other.method != COMPOUND
        ]

    @cached_property
    def compared(self) -> dict[tuple[float, str], Contrasts]:
        """(φ, other method) -> the comparisons that hold at once with it; failed trials are omitted.

        These are depth, width and resolution alone, and apart from them width and resolution together.
        """
        table = self._table
        simultaneous: dict[tuple[float, str, bool], list[Point]] = {}
        for compound, other in self._pairs:
            name = compound.network.id
            common = table.get(name, {}).keys() & table.get(other.network.id, {}).keys()
            if other.network.id != name and common:
                simultaneous.setdefault((compound.phi, name, other.method in SINGLE), []).append(other)
        apart = self.not_optimized if table.keys() - self.not_optimized else ()  # someone has to determine the variance
        found: dict[tuple[float, str], Contrasts] = {}
        for (phi, name, _), others in simultaneous.items():
            compared = contrasts(
                table, name, sorted({other.network.id for other in others}), apart, bounded=self._bounded
            )
            found |= {(phi, other.method): compared for other in others}
        return found

    @cached_property
    def power(self) -> list[dict[str, Any]]:
        """The smallest detectable advantage of compound scaling, for each φ and some numbers of folds.

        Over one dimension, or over all three at once.
        """
        by_phi = {phi: compared for (phi, method), compared in self.compared.items() if method in SINGLE}
        rows = []
        for phi, compared in by_phi.items():
            for folds in sorted({*FOLDS, compared.blocks}) if compared.pooled else ():
                detectable = compared.detectable(folds)
                if detectable is not None:
                    rows.append(
                        {
                            "φ": phi,
                            "folds": folds,
                            "these": "yes" if folds == compared.blocks else "",
                            "deviation of a fold": compared.deviation,
                            "degrees of freedom": compared.degrees if folds == compared.blocks else None,
                            "detectable advantage": detectable,
                            "over all": compared.detectable(folds, everywhere=True),
                        }
                    )
        return rows

    @cached_property
    def slopes(self) -> list[dict[str, Any]]:
        """Growth of the metric when the multiply-adds double, by method: a line through each fold's points."""
        by_method: dict[str, dict[Block, float]] = {}
        for method in dict.fromkeys(point.method for point in self._points if point.method != "baseline"):
            points = [point for point in self._points if point.method in ("baseline", method)]
            values = [self._values[point.network.id] for point in points]
            octaves = np.log2([point.network.relative["macs"] for point in points])
            common = set.intersection(*map(set, values)) if len(set(octaves)) > 1 else set()
            if common:
                by_method[method] = {
                    block: float(np.polyfit(octaves, [row[block] for row in values], 1)[0]) for block in sorted(common)
                }
        rows = []
        for method, slopes in by_method.items():
            estimate = summary(slopes.values())
            row = {
                "method": METHODS[method].label,
                "growth per doubling": estimate.mean,
                "95 % from": estimate.low,
                "to": estimate.high,
            }
            if method != COMPOUND and by_method.get(COMPOUND, {}).keys() & slopes.keys():
                difference = paired_difference(by_method[COMPOUND], slopes)
                row |= {"compound minus it": difference.mean, "from": difference.low, "up to": difference.high}
            rows.append(row)
        return rows

    @cached_property
    def not_optimized(self) -> set[str]:
        """Networks with a failed trial, or whose final training loss is above the baseline's.

        More capacity should lower the training loss.
        """
        baseline = next((point.network.id for point in self._points if point.method == "baseline"), "")
        final = {name: np.mean(losses) for name, losses in self._losses.items() if losses}
        worse = {name for name, loss in final.items() if not loss <= final.get(baseline, np.inf)}
        return worse | {name for name in self._failed if name != baseline}


def _verdict(advantage: Difference, bound: float | None) -> str:
    if bound is not None and bound > 0:
        return "compound is better"
    if advantage.high is not None and advantage.high < 0:
        return "compound is worse"
    return "not separable"
