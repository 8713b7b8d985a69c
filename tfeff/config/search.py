"""The config sections of a search for scaling coefficients."""

from dataclasses import dataclass, field
from typing import Literal

from tfeff.config.schema import Experiment
from tfeff.config.section import Section, at_least, positive
from tfeff.config.tasks import Classification, ObjectDetection

MEASURES = ("macs", "memory", "params", "latency")


@dataclass(frozen=True, kw_only=True)
class Budget(Section):
    """Cost limits of a candidate, as multiples of the baseline's cost.

    A candidate satisfies every bound and exhausts at least one of them, both within `tolerance`.
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
    candidates: int = 20
    """Number of networks that are trained, spread evenly over all distinct networks within the budget."""

    def check(self) -> None:
        """Validates field values."""
        given = {name: getattr(self, name) for name in MEASURES if getattr(self, name) is not None}
        if not given:
            self.wrong("macs", "a ratio; set at least one of macs, memory, params and latency")
        for name, ratio in given.items():
            if not ratio > 1:
                self.wrong(name, "above 1: a multiple of the baseline's cost")
        if not 0 < self.tolerance < 0.5:
            self.wrong("tolerance", "between 0 and 0.5")
        at_least(self, 2, "candidates")

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are set, by measure."""
        return {name: getattr(self, name) for name in MEASURES if getattr(self, name) is not None}

    @property
    def measure(self) -> str:
        """The measure by which networks are compared: the first that has a bound."""
        return next(iter(self.bounds))


@dataclass(frozen=True, kw_only=True)
class Folds(Section):
    """Folds for training and validation. All candidates share the same folds, so comparisons are paired."""

    kind: Literal["independent", "classic"] = "independent"
    """`independent`: disjoint subsets of the training split, each with its own training and validation part.
    `classic`: k-fold cross-validation, whose training parts overlap."""
    count: int = 3
    examples: int | None = 5000
    """Number of images per independent fold, including its validation part, or of all classic folds in total (None: the
    whole split)."""
    validation_fraction: float = 0.5
    """Fraction of an independent fold that is used for validation."""
    seeds: int = 1
    """Number of training runs per fold, each with its own initial weights and order of images."""

    def check(self) -> None:
        """Validates field values."""
        at_least(self, 2, "count")
        positive(self, "examples", "seeds")
        if not 0 < self.validation_fraction < 1:
            self.wrong("validation_fraction", "above 0 and below 1")
        if self.kind == "independent" and self.examples is None:
            self.wrong("examples", "the number of images per independent fold")

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(fold, seed) of all trials of a candidate."""
        return [(fold, seed) for seed in range(self.seeds) for fold in range(self.count)]


@dataclass(frozen=True, kw_only=True)
class Trials(Section):
    """How the training adapts to the network, and how often a lost trial is retried."""

    batch_size: Literal["product", "memory", "fixed"] = "product"
    """`training.batch_size` applies to the baseline. `product`: divided by α·β²·γ². `memory`: divided by the ratio of
    estimated peak memory. `fixed`: the same for all networks."""
    learning_rate: Literal["linear", "sqrt", "fixed", "range_test"] = "linear"
    """`optimizer.learning_rate` applies to the baseline. `linear` and `sqrt`: scaled with the batch size (Goyal et al.,
    arXiv:1706.02677; Krizhevsky, arXiv:1404.5997). `fixed`: the same for all networks. `range_test`: found for each
    network by a learning-rate range test (Smith, arXiv:1506.01186)."""
    attempts: int = 3
    """Maximum number of attempts of a trial whose process is lost; after that it counts as failed."""

    def check(self) -> None:
        """Validates field values."""
        positive(self, "attempts")


@dataclass(frozen=True, kw_only=True)
class Allocation(Section):
    """How epochs are allocated to the candidates."""

    name: Literal["full", "halving", "racing"] = "full"
    """`full`: trains every candidate to the last epoch on every fold. `halving`: successive halving over epochs
    (Jamieson and Talwalkar, arXiv:1502.07943). `racing`: fold after fold, eliminates candidates that are significantly
    worse than the best."""
    reduction: int = 3
    """For `halving`: factor by which candidates shrink and epochs grow from rung to rung."""
    minimum_epochs: int = 1
    """For `halving`: epochs of the first rung."""
    keep_tied: bool = False
    """For `halving`: also keep candidates that are not separable from the last survivor."""
    minimum_blocks: int = 2
    """For `racing`: number of (fold, seed) pairs that every candidate runs on before the first elimination."""

    def check(self) -> None:
        """Validates field values."""
        at_least(self, 2, "reduction", "minimum_blocks")
        positive(self, "minimum_epochs")


@dataclass(frozen=True, kw_only=True)
class Objective(Section):
    """The quantity to maximize: metric × (multiply-adds / cost_target)^exponent."""

    metric: str = "validation_accuracy"
    """A column of metrics.jsonl; losses, errors and times are minimized."""
    cost_target: float | None = None
    """Multiply-adds, T in MnasNet's objective (arXiv:1807.11626, eq. 2); None: those of the budget."""
    exponent: float = 0.0
    """w in MnasNet's objective, there -0.07; 0 ignores cost."""

    def check(self) -> None:
        """Validates field values."""
        positive(self, "cost_target")


@dataclass(frozen=True, kw_only=True)
class Members(Section):
    """Networks that are trained after the coefficients are found, for comparison."""

    phis: tuple[float, ...] = (1.0, 2.0, 3.0)
    """Members of the family to train, each with depth, width and resolution alone at the same multiply-adds."""
    ratios: tuple[float, ...] = ()
    """Further members, given by their multiply-adds as multiples of the baseline's; the closest φ is used."""
    methods: tuple[str, ...] = ("depth", "width", "resolution", "compound")
    """Scaling methods to train at each φ."""
    batch_norm: bool = False
    """Also train the baseline with and without batch normalization, for a figure of both losses."""

    def check(self) -> None:
        """Validates field values."""
        for phi in self.phis:
            if not phi > 0:
                self.wrong("phis", "numbers above 0")
        for ratio in self.ratios:
            if not ratio > 1:
                self.wrong("ratios", "numbers above 1")
        for method in self.methods:
            if method not in ("depth", "width", "resolution", "compound"):
                self.wrong("methods", "any of depth, width, resolution, compound")


def check_trials(experiment: Experiment, folds: Folds, allocation: Allocation, kind: str) -> None:
    """Rejects values that contradict each other in an experiment of many trials.

    Args:
        experiment: of all trials.
        folds: how its images are divided.
        allocation: how epochs are allocated.
        kind: `search` or `sweep`, for the message.
    """
    epochs, blocks = experiment.training.epochs, len(folds.blocks)
    if allocation.name == "halving" and allocation.minimum_epochs > epochs:
        allocation.wrong("minimum_epochs", f"at most experiment.training.epochs = {epochs}")
    if allocation.name == "racing" and allocation.minimum_blocks >= blocks:
        allocation.wrong(
            "minimum_blocks",
            f"less than folds.count x folds.seeds = {blocks}; otherwise no candidate could be eliminated",
        )
    for key in ("folds", "fold_examples", "validation_split", "train_examples"):
        if getattr(experiment.data, key) is not None:
            experiment.data.wrong(key, f"omitted; in a {kind}, the section folds selects the images")


@dataclass(frozen=True, kw_only=True)
class Search(Section):
    """A complete search."""

    experiment: Experiment = field(default_factory=Experiment)
    """The baseline and its training."""
    budget: Budget = field(default_factory=Budget)
    folds: Folds = field(default_factory=Folds)
    trials: Trials = field(default_factory=Trials)
    allocation: Allocation = field(default_factory=Allocation)
    objective: Objective = field(default_factory=Objective)
    members: Members = field(default_factory=Members)

    def check(self) -> None:
        """Rejects values that contradict each other."""
        check_trials(self.experiment, self.folds, self.allocation, "search")
        model, task = self.experiment.model, self.experiment.task
        if not isinstance(task, Classification | ObjectDetection):
            task.wrong("name", "that of a classifier or a detector")
        if model.weights is not None:
            model.wrong("weights", "omitted; in a search, every network starts from random weights")
