"""The bounds of a budget in seconds, bytes and numbers, and which of them a network exceeds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tfeff import config
from tfeff.config.budget import UNITS
from tfeff.errors import UserError

Costs = Mapping[str, float]
"""Measure (`latency`, `size`, `macs`, `params`, `memory`) -> seconds, bytes or number."""


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
    """A bound that a network exceeds."""

    measure: str
    cost: float
    bound: float

    @property
    def text(self) -> str:
        """The cost and the exceeded bound, in words.

        >>> Excess("latency", 0.0231, 0.02).text
        'a latency of 23.1 ms, above 20 ms'
        """
        both = ([amount(value, self.measure, digits) for value in (self.cost, self.bound)] for digits in (3, 4, 6))
        cost, bound = next((each for each in both if each[0] != each[1]), (str(self.cost), str(self.bound)))
        return f"{WORDS[self.measure]} of {cost}, above {bound}"


def amount(value: float, measure: str, digits: int = 3) -> str:
    """Returns a cost with its unit.

    >>> amount(0.02, "latency"), amount(4.2e6, "size"), amount(98_100_000, "macs"), amount(999_900, "params")
    ('20 ms', '4.2 MB', '98.1 M', '1 M')
    """
    rounded = float(f"{value:.{digits}g}")
    units = sorted(UNITS[measure].items(), key=lambda unit: unit[1])
    name, scale = next((each for each in reversed(units) if rounded >= each[1]), units[0])
    return f"{rounded / scale:.{digits}g} {name}".strip()


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

    def exceeded(self, costs: Costs) -> Excess | None:
        """Returns the bound that is exceeded most, by its share; None if all known costs are allowed."""
        found = [
            Excess(measure, costs[measure], bound)
            for measure, bound in self.values.items()
            if measure in costs and costs[measure] > bound
        ]
        return max(found, key=lambda each: each.cost / each.bound, default=None)

    def require_possible(self, costs: Mapping[str, Costs]) -> None:
        """Says which bound no candidate meets.

        Args:
            costs: label of each candidate -> its costs.

        Raises:
            UserError: none meets all bounds.
        """
        excesses = {label: self.exceeded(each) for label, each in costs.items()}
        if all(excesses.values()):
            label, closest = min(
                ((label, each) for label, each in excesses.items() if each is not None),
                key=lambda item: item[1].cost / item[1].bound,
            )
            raise UserError(
                f"config: budget: none of {len(costs)} networks meets it; the closest, {label}, has {closest.text}. "
                f"Raise budget.{closest.measure}, or allow smaller networks with candidates.widths, depths or "
                "resolutions"
            )
