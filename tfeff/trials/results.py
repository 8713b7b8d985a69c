"""Jobs, their results, tables of results by candidate and block, and the objective that results are.

The objective is a metric alone, or a metric weighted by cost, accuracy × (macs / target)^exponent: Tan et al. 2019,
"MnasNet" (arXiv:1807.11626), equation 2, with exponent -0.07. EfficientNet-B0 was found with the same objective
(arXiv:1905.11946, section 4).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TypeGuard

import numpy as np

from tfeff.errors import UserError, nearest
from tfeff.reporting.tables import in_words
from tfeff.trials.proportions import MINIMIZED, is_proportion

Block = tuple[int, int]
"""(fold, seed): the conditions that all candidates share."""

Table = Mapping[str, Mapping[Block, float | None]]
"""Candidate -> block -> value, higher is better; None or NaN where the trial failed."""


@dataclass(frozen=True, order=True)
class Job:
    """Training of one candidate on one block; the learning rate's schedule ends with the epochs."""

    candidate: str
    fold: int
    seed: int
    epochs: int

    @property
    def block(self) -> Block:
        """(fold, seed)."""
        return self.fold, self.seed


Results = Mapping[Job, float | None]
"""Job -> value to maximize; None if the job failed for good. NaN and infinities count as failed."""


def finite(row: Mapping[Block, float | None]) -> dict[Block, float]:
    """Returns the blocks whose trial succeeded."""
    return {block: value for block, value in row.items() if is_finite(value)}


def is_finite(value: float | None) -> TypeGuard[float]:
    """Returns whether a value is a finite number, not None."""
    return value is not None and math.isfinite(value)


def mean_over_seeds(row: Mapping[Block, float | None]) -> dict[Block, float]:
    """Returns the mean over the seeds of each fold, keyed (fold, 0).

    Trainings on the same fold are not independent; counting each seed as a sample would make intervals too narrow.

    >>> mean_over_seeds({(0, 0): 0.5, (0, 1): 0.75, (1, 0): 0.5, (1, 1): None})
    {(0, 0): 0.625, (1, 0): 0.5}
    """
    by_fold: dict[int, list[float]] = {}
    for (fold, _), value in finite(row).items():
        by_fold.setdefault(fold, []).append(value)
    return {(fold, 0): float(np.mean(values)) for fold, values in by_fold.items()}


def by_block(
    results: Results, epochs: int, candidates: Iterable[str], blocks: Sequence[Block]
) -> dict[str, dict[Block, float]]:
    """Returns candidate -> block -> value of the trials trained up to `epochs`.

    Failed and missing trials are omitted.
    """
    return {name: finite({block: results.get(Job(name, *block, epochs)) for block in blocks}) for name in candidates}


def by_fold(
    results: Results, epochs: int, candidates: Iterable[str], blocks: Sequence[Block]
) -> dict[str, dict[Block, float]]:
    """Returns candidate -> fold -> value of the trials trained up to `epochs`, averaged over seeds.

    Failed and missing trials are omitted.

    Args:
        epochs: selects the jobs of this length.
        candidates: names; each gets a row, possibly empty.

    >>> by_fold({Job("a", 0, 0, 5): 0.5, Job("a", 1, 0, 5): None}, 5, ["a", "b"], [(0, 0), (1, 0)])
    {'a': {(0, 0): 0.5}, 'b': {}}
    """
    return {name: mean_over_seeds(row) for name, row in by_block(results, epochs, candidates, blocks).items()}


@dataclass(frozen=True)
class TrialObjective:
    """Maps a trial's metrics and its network's multiply-adds to a number to maximize.

    Attributes:
        metric: name of the metric. Metrics that end in "loss", "error", "seconds" or "latency" are minimized: their
            value is the negated metric, and cost increases the metric before the negation.
        cost_target: multiply-adds at which the cost factor is 1; None without a cost factor.
        exponent: weight of the cost, <= 0; 0 ignores it. With MnasNet's -0.07, doubling the multiply-adds must raise
            the accuracy by a factor of 2^0.07, 5 %, to pay off.

    Raises:
        UserError: the exponent is positive, or it is not 0 and the target is not a positive number.
    """

    metric: str = "validation_accuracy"
    cost_target: float | None = None
    exponent: float = 0.0

    def __post_init__(self) -> None:
        if not self.exponent <= 0.0:
            raise UserError(
                f"objective.exponent is {self.exponent}, which would reward cost; expected 0 or less (MnasNet: -0.07)"
            )
        if self.exponent and self.cost_target is None:
            raise UserError(
                f"objective.exponent is {self.exponent} but objective.cost_target is not set; set it to the number of "
                "multiply-adds at which the cost factor is 1"
            )
        if self.cost_target is not None and not self.cost_target > 0.0:
            raise UserError(f"objective.cost_target is {self.cost_target}; expected a positive number")

    @property
    def minimized(self) -> bool:
        """Whether a smaller metric is better."""
        return self.metric.endswith(MINIMIZED)

    @property
    def bounded(self) -> bool:
        """Whether the values are in [0, 1]: those of an accuracy or a similar metric, not weighted by cost."""
        return is_proportion(self.metric) and not self.exponent

    @property
    def title(self) -> str:
        """The objective as a formula, for tables and axes.

        >>> TrialObjective().title, TrialObjective("validation_loss").title
        ('validation accuracy', '-(validation loss)')
        >>> TrialObjective(cost_target=3e8, exponent=-0.07).title
        'validation accuracy × (multiply-adds / 3e+08)^-0.07'
        """
        words = in_words(self.metric)
        title = f"-({words})" if self.minimized else words
        if not self.exponent:
            return title
        return f"{title} × (multiply-adds / {self.cost_target:g})^{self._cost_exponent:g}"

    @property
    def _cost_exponent(self) -> float:
        # Cost must increase a metric that is minimized.
        return -self.exponent if self.minimized else self.exponent

    def value(self, row: Mapping[str, object], macs: float) -> float:
        """Returns the number to maximize for one trial; NaN if the metric is NaN.

        Args:
            row: metric name -> value, as a run reports them; entries that are not numbers are ignored.
            macs: multiply-adds of the network, > 0.

        Raises:
            UserError: the row does not have the metric.

        >>> round(TrialObjective(cost_target=100.0, exponent=-0.07).value({"validation_accuracy": 0.8}, macs=200.0), 4)
        0.7621
        >>> TrialObjective("validation_loss").value({"validation_loss": 0.5}, macs=200.0)
        -0.5
        """
        metrics = {name: float(entry) for name, entry in row.items() if isinstance(entry, Real)}
        if self.metric not in metrics:
            raise UserError(
                f'objective.metric: trials are not compared by "{self.metric}"; '
                f"{nearest(self.metric, metrics)} ({', '.join(sorted(metrics)) or 'none'})"
            )
        cost = 1.0 if self.cost_target is None else (macs / self.cost_target) ** self._cost_exponent
        return (-1.0 if self.minimized else 1.0) * metrics[self.metric] * cost
