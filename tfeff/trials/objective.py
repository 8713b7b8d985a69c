"""What a search makes as large as it can.

Accuracy alone, or accuracy weighed against cost, accuracy × (macs / target)^exponent: Tan et al. 2019, "MnasNet"
(arXiv:1807.11626), equation 2, with -0.07 as exponent; the search for EfficientNet-B0 used the same (arXiv:1905.11946,
section 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

from tfeff.errors import UserError, nearest

_MINIMISED = ("loss", "error", "seconds", "latency")


@dataclass(frozen=True)
class Objective:
    """A number to maximise, made of a trial's metrics and its network's multiply-adds.

    Attributes:
        metric: name of the metric. Those that end with "loss", "error", "seconds" or "latency" are better the smaller
            they are: their value is minus the metric, and cost makes it larger before the minus.
        cost_target: multiply-adds at which cost neither raises nor lowers the value; None where cost does not count.
        exponent: how much cost counts, <= 0; 0 not at all; at MnasNet's -0.07 twice the multiply-adds must raise
            the accuracy by the factor 2^0.07, 5 %, to be worth it.

    Raises:
        UserError: the exponent is positive, or cost counts and the target is not a positive number.
    """

    metric: str = "validation_accuracy"
    cost_target: float | None = None
    exponent: float = 0.0

    def __post_init__(self) -> None:
        if not self.exponent <= 0.0:
            raise UserError(
                f"the objective's exponent is {self.exponent}, which would reward cost; "
                "it has to be 0 or less (MnasNet takes -0.07)"
            )
        if self.exponent and self.cost_target is None:
            raise UserError(
                f"the objective's exponent is {self.exponent} but cost_target is not set; it is the number of "
                "multiply-adds at which cost neither raises nor lowers the objective"
            )
        if self.cost_target is not None and not self.cost_target > 0.0:
            raise UserError(f"the objective's cost_target is {self.cost_target}; it has to be a positive number")

    @property
    def minimised(self) -> bool:
        """Whether the metric itself is better the smaller it is."""
        return self.metric.endswith(_MINIMISED)

    @property
    def title(self) -> str:
        """What the values are, in words, for tables and axes.

        >>> Objective().title, Objective("validation_loss").title
        ('validation accuracy', '-(validation loss)')
        >>> Objective(cost_target=3e8, exponent=-0.07).title
        'validation accuracy × (multiply-adds / 3e+08)^-0.07'
        """
        words = self.metric.replace("_", " ")
        title = f"-({words})" if self.minimised else words
        if not self.exponent:
            return title
        return f"{title} × (multiply-adds / {self.cost_target:g})^{self._cost_exponent:g}"

    @property
    def _cost_exponent(self) -> float:
        # Of something minimised, cost has to make more.
        return -self.exponent if self.minimised else self.exponent

    def value(self, row: Mapping[str, object], macs: float) -> float:
        """The number to maximise for one trial; NaN where the metric is NaN.

        Args:
            row: metric name -> value, as a run reports them; other entries are ignored.
            macs: multiply-adds of the network, > 0.

        Raises:
            UserError: the row has no such metric.

        >>> round(Objective(cost_target=100.0, exponent=-0.07).value({"validation_accuracy": 0.8}, macs=200.0), 4)
        0.7621
        >>> Objective("validation_loss").value({"validation_loss": 0.5}, macs=200.0)
        -0.5
        """
        metrics = {name: float(entry) for name, entry in row.items() if isinstance(entry, Real)}
        if self.metric not in metrics:
            raise UserError(
                f'the objective\'s metric "{self.metric}" is not among the metrics of a trial; '
                f"{nearest(self.metric, metrics)} ({', '.join(sorted(metrics)) or 'none'})"
            )
        cost = 1.0 if self.cost_target is None else (macs / self.cost_target) ** self._cost_exponent
        return (-1.0 if self.minimised else 1.0) * metrics[self.metric] * cost
