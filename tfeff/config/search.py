"""The sections of a search for scaling coefficients."""

from dataclasses import dataclass, field
from typing import Literal

from tfeff.config.schema import Experiment
from tfeff.config.section import Section, at_least, positive

MEASURES = ("macs", "memory", "params", "latency")


@dataclass(frozen=True, kw_only=True)
class Budget(Section):
    """What a candidate may cost, as multiples of the baseline's cost.

    A candidate keeps to every bound that is given (to within `tolerance`) and spends at least one of them (to within
    `tolerance`).
    """

    macs: float | None = 2.0
    """Multiply-adds of a forward pass."""
    memory: float | None = None
    """Most bytes of layer outputs and their gradients that a training step keeps at once, an image."""
    params: float | None = None
    latency: float | None = None
    """Measured seconds of the prediction of one image."""
    tolerance: float = 0.05
    """Relative deviation of the real cost from a bound."""
    candidates: int = 20
    """How many of all distinct networks within the budget are tried: a subset spread as evenly as can be."""

    def check(self) -> None:
        """Values that no type excludes."""
        given = {name: getattr(self, name) for name in MEASURES if getattr(self, name) is not None}
        if not given:
            self.wrong("macs", "a ratio; at least one of macs, memory, params and latency has to be given")
        for name, ratio in given.items():
            if not ratio > 1:
                self.wrong(name, "above 1: a multiple of the baseline's cost")
        if not 0 < self.tolerance < 0.5:
            self.wrong("tolerance", "between 0 and 0.5")
        at_least(self, 2, "candidates")

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are given, by measure."""
        return {name: getattr(self, name) for name in MEASURES if getattr(self, name) is not None}

    @property
    def measure(self) -> str:
        """By which cost networks are compared: the first that is bounded."""
        return next(iter(self.bounds))


@dataclass(frozen=True, kw_only=True)
class Folds(Section):
    """On which images every network is trained and measured; the same for all, so that comparisons are paired."""

    kind: Literal["independent", "classic"] = "independent"
    """`independent`: disjoint subsets of the training split, each with a training and a validation part of its own.
    `classic`: k-fold cross-validation, whose training parts overlap."""
    count: int = 3
    examples: int | None = 5000
    """Images of one independent fold, validation part included; of all classic folds together (None: all there are)."""
    validation_fraction: float = 0.5
    """Share of an independent fold that validates."""
    seeds: int = 1
    """Trainings a fold, each with its own initial weights and order of images."""

    def check(self) -> None:
        """Values that no type excludes."""
        at_least(self, 2, "count")
        positive(self, "examples", "seeds")
        if not 0 < self.validation_fraction < 1:
            self.wrong("validation_fraction", "above 0 and below 1")
        if self.kind == "independent" and self.examples is None:
            self.wrong("examples", "a number: how many images an independent fold has")

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(fold, seed) of all trials of a network."""
        return [(fold, seed) for seed in range(self.seeds) for fold in range(self.count)]


@dataclass(frozen=True, kw_only=True)
class Trials(Section):
    """What of a training follows the network."""

    batch_size: Literal["product", "memory", "fixed"] = "product"
    """`training.batch_size` is the baseline's. `product`: divided by α·β²·γ². `memory`: divided by the ratio of
    predicted peak memory. `fixed`: the same for all."""
    learning_rate: Literal["linear", "sqrt", "fixed", "range_test"] = "linear"
    """`optimizer.learning_rate` is the baseline's. `linear` and `sqrt`: it follows the batch size (Goyal et al.,
    arXiv:1706.02677; Krizhevsky, arXiv:1404.5997). `range_test`: measured for each network (Smith,
    arXiv:1506.01186)."""
    attempts: int = 3
    """How often a trial is started whose process dies; after that it counts as failed."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "attempts")


@dataclass(frozen=True, kw_only=True)
class Allocation(Section):
    """How the epochs are shared out among the candidates."""

    name: Literal["full", "halving", "racing"] = "full"
    """`full`: every candidate to the last epoch on every fold. `halving`: successive halving over epochs (Jamieson and
    Talwalkar, arXiv:1502.07943). `racing`: fold after fold, and a candidate leaves when its paired interval says that
    it cannot win."""
    reduction: int = 3
    """Of `halving`: one of so many candidates goes on, with so many times the epochs."""
    minimum_epochs: int = 1
    """Of `halving`: epochs of the first rung."""
    keep_tied: bool = False
    """Of `halving`: those go on too that cannot be told from the last one to go on."""
    minimum_blocks: int = 2
    """Of `racing`: folds and seeds that every candidate is measured on before the first one may leave."""

    def check(self) -> None:
        """Values that no type excludes."""
        at_least(self, 2, "reduction", "minimum_blocks")
        positive(self, "minimum_epochs")


@dataclass(frozen=True, kw_only=True)
class Objective(Section):
    """What the search maximises: metric × (multiply-adds / cost_target)^exponent."""

    metric: str = "validation_accuracy"
    """A column of metrics.jsonl; losses, errors and times are minimised."""
    cost_target: float | None = None
    """Multiply-adds, T of MnasNet's objective (arXiv:1807.11626, eq. 2); None: those of the budget."""
    exponent: float = 0.0
    """MnasNet's w is -0.07."""

    def check(self) -> None:
        """Values that no type excludes."""
        positive(self, "cost_target")


@dataclass(frozen=True, kw_only=True)
class Sweeps(Section):
    """What is measured once the coefficients are found."""

    phis: tuple[float, ...] = (1.0, 2.0, 3.0)
    """Compound members; depth, width and resolution alone follow at the same multiply-adds."""
    ratios: tuple[float, ...] = ()
    """More of them, by their multiply-adds as multiples of the baseline's: φ is then the one that comes nearest."""
    methods: tuple[str, ...] = ("depth", "width", "resolution", "compound")
    batch_norm: bool = False
    """Train the baseline with and without batch normalisation too, for the figure of both losses."""

    def check(self) -> None:
        """Values that no type excludes."""
        for phi in self.phis:
            if not phi > 0:
                self.wrong("phis", "numbers above 0")
        for ratio in self.ratios:
            if not ratio > 1:
                self.wrong("ratios", "numbers above 1")
        for method in self.methods:
            if method not in ("depth", "width", "resolution", "compound"):
                self.wrong("methods", "any of depth, width, resolution, compound")


@dataclass(frozen=True, kw_only=True)
class Search(Section):
    """Everything that decides the outcome of a search."""

    experiment: Experiment = field(default_factory=Experiment)
    """The baseline and how it is trained."""
    budget: Budget = field(default_factory=Budget)
    folds: Folds = field(default_factory=Folds)
    trials: Trials = field(default_factory=Trials)
    allocation: Allocation = field(default_factory=Allocation)
    objective: Objective = field(default_factory=Objective)
    sweeps: Sweeps = field(default_factory=Sweeps)

    def check(self) -> None:
        """Values that contradict each other."""
        epochs = self.experiment.training.epochs
        if self.allocation.name == "halving" and self.allocation.minimum_epochs > epochs:
            self.allocation.wrong("minimum_epochs", f"at most experiment.training.epochs = {epochs}")
        blocks = len(self.folds.blocks)
        if self.allocation.name == "racing" and self.allocation.minimum_blocks >= blocks:
            self.allocation.wrong(
                "minimum_blocks", f"less than folds.count x folds.seeds = {blocks}; else nobody can leave the race"
            )
        data, model, task = self.experiment.data, self.experiment.model, self.experiment.task
        if task.name != "classification":
            task.wrong("name", '"classification" in a search, which compares classifiers')
        for key in ("folds", "fold_examples", "validation_split", "train_examples"):
            if getattr(data, key) is not None:
                data.wrong(key, "left out in a search: its section folds says which images")
        if model.weights is not None:
            model.wrong("weights", "left out in a search: every network starts from its own random weights")
