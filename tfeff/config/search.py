"""The config sections of a search for scaling coefficients."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from tfeff.config.schema import Experiment, Method
from tfeff.config.section import Positive, Section, TwoOrMore
from tfeff.errors import UserError
from tfeff.networks.backbones.given import Given

LARGEST_RATIO = 1000
"""Largest bound, as a multiple of the baseline's cost."""
MEASURES = ("macs", "memory", "params", "latency")
SINGLE = ("depth", "width", "resolution")
"""Scaling methods than which compound scaling is claimed to be better."""
METHODS = get_args(Method)
HELD_OUT_STEP, HELD_OUT_RATES = 3.0, 5
"""`trials.learning_rate=held_out`: the ratio of neighboring rates, and the most rates that it tries."""


@dataclass(frozen=True, kw_only=True)
class Budget(Section):
    """Cost limits of a network at φ = 1, as multiples of the baseline's cost.

    A network satisfies every bound and exhausts at least one of them, both within `tolerance`. With `choice=surface`,
    multiply-adds alone are bounded, and φ is the exponent of their bound.
    """

    macs: float | None = 2.0
    """Multiply-adds of a forward pass."""
    memory: float | None = None
    """Peak bytes of layer outputs and gradients during a training step, per image."""
    params: float | None = None
    """Parameters."""
    latency: float | None = None
    """Measured seconds of a prediction of one image."""
    tolerance: float = 0.05
    """Relative deviation of the real cost from a bound."""
    candidates: TwoOrMore = 20
    """For `choice=mean`: number of networks that are trained, spread evenly over all distinct networks within the
    budget."""

    def _check(self) -> None:
        if not self.bounds:
            self.wrong("macs", "a ratio; set at least one of macs, memory, params and latency")
        for name, ratio in self.bounds.items():
            if not 1 < ratio <= LARGEST_RATIO:
                self.wrong(name, f"above 1 and at most {LARGEST_RATIO:,}: a multiple of the baseline's cost")
        if not 0 < self.tolerance < 0.5:
            self.wrong("tolerance", "between 0 and 0.5")

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are set, by measure."""
        return {name: getattr(self, name) for name in MEASURES if getattr(self, name) is not None}

    @property
    def measure(self) -> str:
        """The measure by which networks are compared: the first that has a bound."""
        return next(iter(self.bounds))


@dataclass(frozen=True, kw_only=True)
class Design(Section):
    """Settings of `choice=surface`: which networks are trained, and when to stop."""

    phis: tuple[float, ...] = (1.0, 2.0, 3.0)
    """Costs of the networks: `budget.macs` to the power of φ. The coefficients are those that are best at the largest
    φ. Larger ones show more of the curvature per second: φ⁴ / 2^φ."""
    precision: float = 0.15
    """Stop when the 95 % confidence region of the best direction covers at most this share of the plane of all
    directions."""
    trainings: TwoOrMore = 60
    """Stop after this number of trainings."""
    minutes: Positive[float] | None = None
    """Stop after these minutes of training, summed over all processes and forecast from a short calibration."""

    def _check(self) -> None:
        if not self.phis or not min(self.phis) > 0:
            self.wrong("phis", "one or more numbers above 0")
        if not 0 <= self.precision < 1:
            self.wrong("precision", "0 or more and below 1: a share of the plane")


@dataclass(frozen=True, kw_only=True)
class Folds(Section):
    """Folds for training and validation. All candidates share the same folds, so comparisons are paired."""

    kind: Literal["independent", "classic"] = "independent"
    """`independent`: disjoint subsets of the training split, each with its own training and validation part.
    `classic`: k-fold cross-validation, whose training parts overlap."""
    count: TwoOrMore = 3
    """The number of independent folds of a Search or a Sweep can change later: the first ones stay the same."""
    examples: Positive[int] | None = 5000
    """Number of images per independent fold, including its validation part, or of all classic folds in total (None: the
    whole split)."""
    validation_fraction: float = 0.5
    """Fraction of an independent fold that is used for validation."""
    validation_split: str | None = None
    """Split on which all independent folds are validated; each fold is then trained on as a whole. Only for a search
    with given `coefficients`, which selects nothing by the results."""
    seeds: Positive[int] = 1
    """Number of training runs per fold, each with its own initial weights and order of images."""

    def _check(self) -> None:
        if not 0 < self.validation_fraction < 1:
            self.wrong("validation_fraction", "above 0 and below 1")
        if self.kind == "independent" and self.examples is None:
            self.wrong("examples", "the number of images per independent fold")
        if self.kind == "classic" and self.validation_split is not None:
            self.wrong("validation_split", "omitted with folds.kind=classic, where folds take turns to validate")

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(fold, seed) of all trials of a candidate."""
        return [(fold, seed) for seed in range(self.seeds) for fold in range(self.count)]

    @property
    def further(self) -> list[tuple[int, int]]:
        """(fold, seed) on as many further independent folds."""
        return [(fold + self.count, seed) for fold, seed in self.blocks]


@dataclass(frozen=True, kw_only=True)
class Trials(Section):
    """How the training adapts to the network, and how often a lost trial is retried."""

    batch_size: Literal["product", "memory", "fixed"] = "product"
    """`training.batch_size` applies to the baseline. `product`: divided by α·β²·γ². `memory`: divided by the ratio of
    estimated peak memory. `fixed`: the same for all networks."""
    learning_rate: Literal["linear", "sqrt", "fixed", "range_test", "held_out"] = "linear"
    """`optimizer.learning_rate` applies to the baseline. `linear` and `sqrt`: scaled with the batch size (Goyal et al.,
    arXiv:1706.02677; Krizhevsky, arXiv:1404.5997). `fixed`: the same for all networks. `range_test`: found for each
    network by a learning-rate range test (Smith, arXiv:1506.01186). `held_out`: for each network, the best of a third
    of the rate, the rate and three times the rate. While the best is the lowest or the highest, up to two more rates
    are tried, lower or higher by a factor of three. It trains on a part of the first fold and validates on the rest of
    it (`folds.validation_fraction`), so it requires `folds.validation_split`."""
    attempts: Positive[int] = 3
    """Maximum number of attempts of a trial whose process is lost; after that it counts as failed."""


@dataclass(frozen=True, kw_only=True)
class Allocation(Section):
    """How epochs are allocated to the candidates."""

    name: Literal["full", "halving"] = "full"
    """`full`: trains every candidate to the last epoch on every fold. `halving`: successive halving over epochs
    (Jamieson and Talwalkar, arXiv:1502.07943); every training starts from initial weights and ends its
    schedule at its rung."""
    reduction: TwoOrMore = 3
    """For `halving`: factor by which candidates shrink and epochs grow from rung to rung."""
    minimum_epochs: Positive[int] = 1
    """For `halving`: epochs of the first rung."""
    keep_tied: bool = False
    """For `halving`: also keep candidates that are not separable from the last survivor."""


@dataclass(frozen=True, kw_only=True)
class Objective(Section):
    """The quantity to maximize: metric × (multiply-adds / cost_target)^exponent."""

    metric: str = "validation_accuracy"
    """A column of metrics.jsonl that measures quality or speed; losses, errors and times are minimized."""
    cost_target: Positive[float] | None = None
    """Multiply-adds, T in MnasNet's objective (arXiv:1807.11626, eq. 2); None: those of the budget (`budget.macs`)."""
    exponent: float = 0.0
    """w in MnasNet's objective, there -0.07; 0 ignores cost."""
    margin: Positive[float] | None = None
    """Choose the cheapest candidate that, with 95 % confidence, loses less than this against the truly best one (0.01
    is one point of accuracy). None, or with fewer than three folds: choose the highest mean."""


@dataclass(frozen=True, kw_only=True)
class Members(Section):
    """Networks that are trained after the coefficients are found, for comparison."""

    phis: tuple[float, ...] = (1.0, 2.0, 3.0)
    """Members of the family to train, each with depth, width and resolution alone at the same multiply-adds."""
    ratios: tuple[float, ...] = ()
    """Further members, given by their multiply-adds as multiples of the baseline's; the closest φ is used."""
    methods: tuple[str, ...] = ("depth", "width", "resolution", "compound")
    """Scaling methods to train at each φ; beside these, `width+resolution` scales both by the same factor."""
    fresh_folds: bool = True
    """Train them on as many further independent folds, so that their comparison does not depend on the selection of the
    coefficients. False, or classic folds: on those of the candidates."""
    batch_norm: bool = False
    """Also train the baseline with and without batch normalization, for a figure of both losses. The learning rate
    without it is found by a range test, unless `trials.learning_rate` finds those of all networks."""

    def _check(self) -> None:
        for phi in self.phis:
            if not phi > 0:
                self.wrong("phis", "numbers above 0")
        for ratio in self.ratios:
            if not ratio > 1:
                self.wrong("ratios", "numbers above 1")
        if not set(self.methods) <= set(METHODS):
            self.wrong("methods", f"any of {', '.join(METHODS)}")


def check_trials(
    experiment: Experiment,
    folds: Folds,
    trials: Trials,
    allocation: Allocation | None,
    kind: str,
    *,
    selects: bool = True,
) -> None:
    """Rejects values that contradict each other in an experiment of many trials.

    Args:
        experiment: the experiment that every trial runs.
        folds: how its images are divided.
        trials: how learning rates are found.
        allocation: how epochs are allocated; None: the search decides.
        kind: `search` or `sweep`, for the message.
        selects: whether candidates are selected by the results.
    """
    if allocation is not None and allocation.name == "halving":
        if allocation.minimum_epochs > experiment.training.epochs:
            allocation.wrong("minimum_epochs", f"at most experiment.training.epochs = {experiment.training.epochs}")
        try:
            replace(experiment, training=replace(experiment.training, epochs=allocation.minimum_epochs))
        except UserError as error:
            raise UserError(
                f"{error}; allocation.minimum_epochs leads to trainings of {allocation.minimum_epochs} epochs"
            ) from None
    if trials.learning_rate == "held_out" and folds.validation_split is None:
        trials.wrong("learning_rate", "another rule, or set folds.validation_split: it validates on images of the fold")
    if trials.learning_rate == "range_test" and experiment.task.CUTS_REGIONS:
        trials.wrong(
            "learning_rate", f"fixed: task.name={experiment.task.name} trains on stored features, not on images"
        )
    if selects and folds.validation_split is not None:
        folds.wrong(
            "validation_split", f"omitted: a {kind} that selects by its results needs images of its own for that"
        )
    for key in ("folds", "fold_examples", "validation_split", "train_examples"):
        if getattr(experiment.data, key) is not None:
            experiment.data.wrong(key, f"omitted; in a {kind}, the section folds selects the images")


@dataclass(frozen=True, kw_only=True)
class Search(Section):
    """A complete search."""

    IS_WHOLE = True

    experiment: Experiment = field(default_factory=Experiment)
    """The baseline and its training."""
    budget: Budget = field(default_factory=Budget)
    folds: Folds = field(default_factory=Folds)
    trials: Trials = field(default_factory=Trials)
    allocation: Allocation = field(default_factory=Allocation)
    objective: Objective = field(default_factory=Objective)
    choice: Literal["surface", "mean"] = "surface"
    """How the coefficients follow from results. `surface`: the direction in which a quadratic surface over networks of
    all costs is highest, with `design`; of classifiers. `mean`: those of the candidate at φ = 1 with the highest mean,
    or of a cheaper one by `objective.margin`."""
    design: Design = field(default_factory=Design)
    reference: tuple[float, float, float] = (1.2, 1.1, 1.15)
    """Published α, β and γ, by default those of EfficientNet. With `choice=surface`, their proportions are the center
    of the prior; the results decide how much that counts."""
    members: Members = field(default_factory=Members)
    coefficients: tuple[float, ...] | None = None
    """α, β and γ (of a detector also the growth of its neck's depth and width): train the members of the family with
    these coefficients instead of searching for some; `budget`, `design` and `allocation` are not used."""

    @property
    def member_blocks(self) -> list[tuple[int, int]]:
        """(fold, seed) of all trials of a member."""
        fresh = self.members.fresh_folds and self.folds.kind == "independent" and self.coefficients is None
        return self.folds.further if fresh else self.folds.blocks

    def _check(self) -> None:
        given = self.coefficients
        if min(self.reference) < 1 or max(self.reference) == 1:
            self.wrong("reference", "numbers of 1 or more, and not all 1")
        check_trials(self.experiment, self.folds, self.trials, self.allocation, "search", selects=given is None)
        if self.objective.margin is not None and (given is not None or self.choice == "surface"):
            self.objective.wrong("margin", "omitted, or set choice=mean without coefficients: it chooses a candidate")
        if given is None and self.choice == "surface":
            if set(self.budget.bounds) != {"macs"}:
                self.budget.wrong("macs", "the only bound, or set choice=mean: a surface compares equal multiply-adds")
            if self.allocation.name != "full":
                self.allocation.wrong("name", "full, or set choice=mean: a surface chooses its trainings itself")
        if given is not None:
            if len(given) not in (3, 5) or min(given) < 1:
                self.wrong("coefficients", "three numbers (of a detector five), all 1 or more")
            if not (self.members.phis or self.members.ratios):
                self.members.wrong("phis", "at least one φ (or ratio) with given coefficients: nothing else is trained")
        model, task = self.experiment.model, self.experiment.task
        if not task.IS_SCALABLE:
            task.wrong("name", "that of a classifier or a detector")
        if isinstance(model, Given):
            raise UserError("config: experiment.model.name: a network of the package; others cannot be scaled")
        if model.weights is not None:
            raise UserError("config: experiment.model.weights: omit them; every network starts from random weights")
