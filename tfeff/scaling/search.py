"""The search from its config to the coefficients: candidates, trials, the choice, and what the choice is worth."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tfeff import config
from tfeff.config.family import FILE, Family
from tfeff.errors import UserError
from tfeff.scaling import candidates, sweeps, trial, work
from tfeff.scaling.allocation import Allocation, Full, Halving, Left, Racing, tabulate
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.executor import Executor, collect
from tfeff.scaling.forecast import Rate, core_seconds
from tfeff.scaling.latency import LatencyModel, samples
from tfeff.scaling.objective import Objective
from tfeff.scaling.progress import Progress
from tfeff.scaling.stage import Trials
from tfeff.scaling.statistics import Ranking, rank
from tfeff.scaling.store import Store
from tfeff.scaling.sweeps import Point
from tfeff.training import build
from tfeff.training.interruption import Interruption
from tfeff.training.workdir import write

STORE = "search.sqlite"


@dataclass(frozen=True)
class Study:
    """What a search is about, before anything trains.

    Attributes:
        search: its config.
        baseline: what is scaled.
        objective: what is maximised.
        examples: training images of one trial, and those that it is measured on.
        networks: all distinct networks within the budget.
        chosen: those of them that are tried.
    """

    search: config.Search
    baseline: Baseline
    objective: Objective
    examples: tuple[int, int]
    networks: Sequence[ScaledNetwork]
    chosen: Sequence[ScaledNetwork]

    @property
    def allocation(self) -> Allocation:
        """How the epochs are shared out."""
        section, epochs = self.search.allocation, self.search.experiment.training.epochs
        match section.name:
            case "halving":
                return Halving(epochs, section.minimum_epochs, section.reduction, section.keep_tied)
            case "racing":
                return Racing(epochs, section.minimum_blocks)
            case _:
                return Full(epochs)


@dataclass(frozen=True)
class Findings:
    """What a search found.

    Attributes:
        study: what it was about.
        left: candidates that left early, and why.
        ranking: of the others.
        winner: the network that the family is built on.
        family: with its coefficients.
        points: networks of the sweeps.
        plain: the baseline without batch normalisation, where both were trained.
        latencies: measured seconds of one image's prediction, by network.
    """

    study: Study
    left: dict[str, Left]
    ranking: Ranking
    winner: ScaledNetwork
    family: Family
    points: Sequence[Point]
    plain: ScaledNetwork | None
    latencies: dict[str, float]


def claim(directory: Path, search: config.Search) -> None:
    """Makes the workdir this search's.

    Raises:
        UserError: when it is another one's.
    """
    Store(directory / STORE, search).close()


def prepare(search: config.Search, time_networks: Callable[[Baseline, Sequence[ScaledNetwork]], list[float]]) -> Study:
    """Checks the data and the budget, and lists the candidates.

    Args:
        search: the config.
        time_networks: seconds of one image's prediction by each of some networks; called only under a latency budget.

    Raises:
        UserError: for data that is not there or too little for the folds, a network that cannot be, a budget that no
            network meets.
    """
    base = search.experiment
    source = build.open_source(base, base.data.train_split)
    if base.data.image_size is None and source.size is None:
        raise UserError(
            "config: experiment.data.image_size: give it; the images differ in size, and every candidate has to start "
            "from the same ones"
        )
    baseline = Baseline(base.model, len(source.class_names), base.data.channels)
    start = baseline.start
    parts = [
        build.fold(trial.experiment(search, baseline, start, fold=fold, seed=0), source)
        for fold in range(search.folds.count)
    ]
    examples = (
        min(len(part.train) for part in parts if part is not None),
        min(len(part.validation) for part in parts if part is not None),
    )
    costs = candidates.predicted
    if search.budget.latency is not None:
        timed = samples(baseline)
        model = LatencyModel.fit(list(zip(timed, time_networks(baseline, timed), strict=True)))
        unit = model.seconds(start)

        def costs(network: ScaledNetwork) -> dict[str, float]:
            return network.relative | {"latency": model.seconds(network) / unit}

    networks = candidates.within_budget(baseline, search.budget, costs)
    chosen = candidates.spread(networks, search.budget.candidates)
    if base.training.batch_size > examples[0]:
        raise UserError(
            f"config: folds: {examples[0]} training images a fold are less than one batch of "
            f"{base.training.batch_size}; raise folds.examples or lower experiment.training.batch_size"
        )
    section = search.objective
    target = section.cost_target
    if target is None and section.exponent:
        target = baseline.cost.macs * (search.budget.macs or 1.0)
    return Study(
        search=search,
        baseline=baseline,
        objective=Objective(section.metric, target, section.exponent),
        examples=examples,
        networks=networks,
        chosen=chosen,
    )


@dataclass(frozen=True)
class Forecast:
    """What a search will take, in seconds of all processes together.

    Attributes:
        rate: how fast trainings are here.
        search: of the candidates' trials.
        sweeps: of those after them.
    """

    rate: Rate
    search: float
    sweeps: float


def forecast(study: Study, executor: Executor) -> Forecast:
    """Measures how fast trainings are here.

    The baseline and two candidates are trained for some steps, as many at once as will be later.
    """
    search, baseline = study.search, study.baseline
    ordered = sorted(study.chosen, key=lambda network: network.width)
    timed = [baseline.start, ordered[0], ordered[-1]]
    for index, network in enumerate(timed):
        executor.submit(index, work.calibrate, trial.experiment(search, baseline, network, fold=0, seed=0))
    values = collect(executor, len(timed))
    rate = Rate.fit(
        [(network.cost.macs, values[index]["start"], values[index]["image"]) for index, network in enumerate(timed)]
    )
    macs = {network.id: network.cost.macs for network in study.chosen}
    validation_epochs = search.experiment.training.validation_epochs

    def seconds(allocation: Allocation, macs: dict[str, int]) -> float:
        return core_seconds(rate, allocation, macs, search.folds.blocks, study.examples, validation_epochs)

    growth = statistics.median(network.relative["macs"] for network in study.chosen)
    ratios = [*(growth**phi for phi in search.sweeps.phis), *search.sweeps.ratios]
    swept = {
        f"{method} {ratio}": round(baseline.cost.macs * ratio) for ratio in ratios for method in search.sweeps.methods
    }
    return Forecast(
        rate=rate,
        search=seconds(study.allocation, macs),
        sweeps=seconds(Full(search.experiment.training.epochs), {"baseline": baseline.cost.macs, **swept}),
    )


def time_networks(executor: Executor, baseline: Baseline, networks: Sequence[ScaledNetwork]) -> list[float]:
    """Seconds of one image's prediction by each network, one after the other, so that none slows another down."""
    seconds = []
    for index, network in enumerate(networks):
        executor.submit(index, work.latency, network.model, baseline.num_classes, baseline.channels)
        seconds.append(float(collect(executor, 1)[index]))
    return seconds


def run(study: Study, directory: Path, executor: Executor, console: Console) -> Findings:
    """Searches to the end, from where it stands.

    Args:
        study: what `prepare` made.
        directory: the workdir, held by this process.
        executor: where trials run.
        console: for progress.

    Raises:
        UserError: for a store of another search, or when no candidate could be trained.
        Interrupted: after Ctrl-C or SIGTERM; finished trials are kept.
    """
    search, baseline = study.search, study.baseline
    store = Store(directory / STORE, search)
    progress = Progress(console)
    with Interruption() as interruption, progress.shown():
        trials = Trials(search, baseline, directory, store, executor, study.objective, progress, interruption)
        plan = trials.run(study.chosen, study.allocation, "search")
        finalists = [network for network in study.chosen if network.id not in plan.left]
        if not finalists:
            reasons = "; ".join(sorted({left.reason for left in plan.left.values()}))
            raise UserError(f"no candidate is left: {reasons}. See {directory / 'trials.log'}")
        epochs = search.experiment.training.epochs
        table = tabulate(trials.results, epochs, [network.id for network in finalists], trials.blocks)
        ranking = rank(
            table,
            {network.id: float(network.cost.macs) for network in finalists},
            names={network.id: network.label for network in finalists},
            metric=study.objective.title,
            left=len(plan.left),
        )
        winner = next(network for network in finalists if network.id == ranking.chosen)
        family = Family(
            baseline=baseline.start.model,
            alpha=winner.depth,
            beta=winner.width,
            gamma=winner.scale,
            finding=ranking.sentence,
        )
        write(directory / FILE, family.to_json())
        progress.say(ranking.sentence)
        progress.say(f"wrote {directory / FILE}: α {family.alpha:.3f}, β {family.beta:.3f}, γ {family.gamma:.3f}")

        points = sweeps.points(baseline, family, search.sweeps)
        trials.run([point.network for point in points], Full(epochs), "sweeps")
        plain = _without_batch_norm(study, trials) if search.sweeps.batch_norm else None
        latencies = _latencies(store, executor, baseline, [winner, *(point.network for point in points)])
    store.close()
    return Findings(study, dict(plan.left), ranking, winner, family, points, plain, latencies)


def _without_batch_norm(study: Study, trials: Trials) -> ScaledNetwork:
    """Trains the baseline without batch normalisation."""
    baseline = study.baseline
    model = dataclasses.replace(baseline.model, batch_norm=False)
    plain = dataclasses.replace(baseline, model=model).start
    trials.run([plain], Full(study.search.experiment.training.epochs), "without batch normalisation")
    return plain


def _latencies(
    store: Store, executor: Executor, baseline: Baseline, networks: Sequence[ScaledNetwork]
) -> dict[str, float]:
    """Measured seconds of one image's prediction by network; each is timed once a search."""
    for network in networks:
        if store.fact(f"latency {network.id}") is None:
            (seconds,) = time_networks(executor, baseline, [network])
            store.write_fact(f"latency {network.id}", repr(seconds))
    return {network.id: float(store.fact(f"latency {network.id}") or "nan") for network in networks}
