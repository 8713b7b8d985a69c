"""The bounds of a budget in seconds, bytes and numbers, and which of them a network exceeds."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tfeff import config
from tfeff.config.budget import UNITS
from tfeff.errors import UserError

Costs = Mapping[str, float]
"""Measure (`latency`, `size`, `macs`, `params`, `memory`) -> seconds, bytes or number."""
Errors = Mapping[str, float]
"""Measure -> half of the 95 % interval of an estimate, relative to it. Other costs are exact or measured."""


WORDS: Mapping[str, str] = {
    "latency": "a latency",
    "size": "a size",
    "macs": "multiply-adds",
    "params": "parameters",
    "memory": "a memory",
}
"""Measure -> its words in a sentence, before "of 20 ms"."""


@dataclass(frozen=True)
class Excess:
    """A bound that a network exceeds; `error` is that of an estimate, see `Errors`."""

    measure: str
    cost: float
    bound: float
    error: float = 0.0

    @property
    def text(self) -> str:
        """The cost and the exceeded bound, in words.

        >>> Excess("latency", 0.0231, 0.02).text
        'a latency of 23.1 ms, above 20 ms'
        >>> Excess("latency", 0.0231, 0.02, error=0.12).text
        'a latency of 23.1 ms (estimated, ± 12 %), above 20 ms'
        """
        both = ([amount(value, self.measure, digits) for value in (self.cost, self.bound)] for digits in (3, 4, 6))
        cost, bound = next((each for each in both if each[0] != each[1]), (str(self.cost), str(self.bound)))
        return f"{WORDS[self.measure]} of {cost}{estimated(self.error)}, above {bound}"


def amount(value: float, measure: str, digits: int = 3) -> str:
    """Returns a cost with its unit.

    >>> amount(0.02, "latency"), amount(4.2e6, "size"), amount(98_100_000, "macs"), amount(999_900, "params")
    ('20 ms', '4.2 MB', '98.1 M', '1 M')
    """
    rounded = float(f"{value:.{digits}g}")
    units = sorted(UNITS[measure].items(), key=lambda unit: unit[1])
    name, scale = next((each for each in reversed(units) if rounded >= each[1]), units[0])
    return f"{rounded / scale:.{digits}g} {name}".strip()


def estimated(error: float) -> str:
    """Returns how wrong an estimate can be, as an addition to it; empty for a cost that is no estimate.

    >>> estimated(0.12), estimated(0.0)
    (' (estimated, ± 12 %)', '')
    """
    return f" (estimated, ± {100 * error:.0f} %)" if error else ""


def shifted(costs: Costs, errors: Errors, sign: int) -> Costs:
    """Returns costs at the lower (`sign=-1`) or upper (`sign=1`) ends of their intervals."""
    return {name: max(0.0, value * (1.0 + sign * errors.get(name, 0.0))) for name, value in costs.items()}


def remaining(errors: Errors, measured: Collection[str]) -> Errors:
    """Returns how wrong those costs can be that were not measured."""
    return {measure: error for measure, error in errors.items() if measure not in measured}


class Bounds:
    """The bounds of a budget.

    Args:
        budget: the section of the config.
        baseline: measure -> cost of the baseline, for relative bounds; called for those alone.

    Attributes:
        values: measure -> largest cost that is allowed.
    """

    def __init__(self, budget: config.Limits, baseline: Callable[[str], float]) -> None:
        self.values = {
            measure: bound.value * (baseline(measure) if bound.relative else 1.0)
            for measure, bound in budget.bounds.items()
        }

    def exceeded(self, costs: Costs, errors: Errors = MappingProxyType({})) -> Excess | None:
        """Returns the bound that is exceeded most, by its share; None if all known costs are allowed."""
        found = [
            Excess(measure, costs[measure], bound, errors.get(measure, 0.0))
            for measure, bound in self.values.items()
            if measure in costs and costs[measure] > bound
        ]
        return max(found, key=lambda each: each.cost / each.bound, default=None)

    def impossible(self, costs: Mapping[str, Costs], errors: Mapping[str, Errors]) -> UserError:
        """Returns that no candidate meets the bounds, and which one is the closest.

        Args:
            costs: label of each candidate -> its costs.
            errors: label -> how wrong these can be.
        """
        excesses = {label: self.exceeded(each, errors[label]) for label, each in costs.items()}
        label, closest = min(
            ((label, each) for label, each in excesses.items() if each is not None),
            key=lambda item: item[1].cost / item[1].bound,
        )
        return UserError(
            f"config: budget: none of {len(costs)} networks meets it; the closest, {label}, has {closest.text}. "
            f"Raise budget.{closest.measure}, or allow smaller networks with candidates.widths, depths or resolutions"
        )
