"""The search from its config to the coefficients: candidates, trials, the choice, and what the choice is worth."""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tfeff import config, training
from tfeff.config.family import FILE, Family
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.execution.executor import Executor, collect
from tfeff.scaling import candidates, sweeps, trial, work
from tfeff.scaling.allocation import Allocation, Full, Halving, Left, Racing, tabulate
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.forecast import Rate, core_seconds
from tfeff.scaling.latency import Clock, Latency, LatencyModel, samples
from tfeff.scaling.objective import Objective
from tfeff.scaling.progress import Progress
from tfeff.scaling.stage import Trials
from tfeff.scaling.statistics import Ranking, rank
from tfeff.scaling.store import Store
from tfeff.scaling.sweeps import Point
from tfeff.training import selection
from tfeff.training.interruption import Interruption

STORE = "search.sqlite"
TIMING_ROUNDS = 6
"""How often candidates are chosen anew because some took more or less time than expected."""


@dataclass(frozen=True)
class Study:
    """What a search is about, before anything trains.

    Attributes:
        search: its config.
        baseline: what is scaled.
        objective: what is maximised.
        examples: training images of one trial, and those that it is measured on.
        fingerprint: of all images.
        networks: all distinct networks within the budget.
        chosen: those of them that are tried.
    """

    search: config.Search
    baseline: Baseline
    objective: Objective
    examples: tuple[int, int]
    fingerprint: str
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
        latencies: measured, by network.
    """

    study: Study
    left: dict[str, Left]
    ranking: Ranking
    winner: ScaledNetwork
    family: Family
    points: Sequence[Point]
    plain: ScaledNetwork | None
    latencies: dict[str, Latency]


def prepare(search: config.Search, clock: Callable[[Baseline, ScaledNetwork], Latency] | None = None) -> Study:
    """Checks the data and the budget, and lists the candidates.

    Args:
        search: the config, `settled`.
        clock: times networks; only a latency budget needs it.

    Raises:
        UserError: for data that is not there or too little for the folds, a network that cannot be, a budget that no
            network meets, a batch, an objective or sweeps that would come to nothing.
    """
    base = search.experiment
    source = selection.open_source(base)
    dataset = selection.load(base, source, base.data.train_split)
    if base.data.image_size is None and dataset.size is None:
        raise UserError(
            "config: experiment.data.image_size: give it; the images differ in size, and every candidate has to start "
            "from the same ones"
        )
    baseline = Baseline(base.model, len(dataset.class_names), base.data.channels)
    start = baseline.start
    parts = [
        selection.fold(trial.experiment(search, baseline, start, fold=fold, seed=0), dataset, validates=False)
        for fold in range(search.folds.count)
    ]
    examples = (
        min(len(part.train) for part in parts if part is not None),
        min(len(part.validation) for part in parts if part is not None),
    )
    if base.training.batch_size > examples[0]:
        raise UserError(
            f"config: folds: {examples[0]} training images a fold are less than one batch of "
            f"{base.training.batch_size}; raise folds.examples or lower experiment.training.batch_size"
        )
    section = search.objective
    target = section.cost_target
    if target is None and section.exponent:
        target = baseline.cost.macs * (search.budget.macs or 1.0)
    objective = Objective(section.metric, target, section.exponent)
    objective.value(dict.fromkeys(training.METRICS, 1.0), baseline.cost.macs)
    networks, chosen = _candidates(baseline, search.budget, clock)
    _check_sweeps(search, baseline, chosen)
    return Study(
        search=search,
        baseline=baseline,
        objective=objective,
        examples=examples,
        fingerprint=dataset.fingerprint,
        networks=networks,
        chosen=chosen,
    )


def _candidates(
    baseline: Baseline, budget: config.Budget, clock: Callable[[Baseline, ScaledNetwork], Latency] | None
) -> tuple[list[ScaledNetwork], list[ScaledNetwork]]:
    """All networks within a budget, and those to try."""
    if budget.latency is None:
        networks = candidates.within_budget(baseline, budget)
        return networks, candidates.spread(networks, budget.candidates)
    assert clock is not None

    def timed(network: ScaledNetwork, relative: float) -> ScaledNetwork:
        return dataclasses.replace(network, relative=network.relative | {"latency": relative})

    # A fit over what has been timed says where to look; what counts is what each of those chosen takes itself.
    measured = {network.id: timed(network, clock(baseline, network).relative) for network in samples(baseline)}
    for _ in range(TIMING_ROUNDS):
        model = LatencyModel.fit([(network, network.relative["latency"]) for network in measured.values()])
        found = candidates.within_budget(baseline, budget, functools.partial(_fitted, model))
        networks = [measured.get(network.id) or timed(network, model.relative(network)) for network in found]
        networks = [network for network in networks if candidates.keeps(network, budget)]
        chosen = candidates.spread(networks, budget.candidates)
        new = [network for network in chosen if network.id not in measured]
        if not new and chosen:
            return networks, chosen
        measured |= {network.id: timed(network, clock(baseline, network).relative) for network in new}
    chosen = [network for network in measured.values() if candidates.keeps(network, budget)]
    if len(chosen) < 2:
        raise UserError(
            f"config: budget.latency: of {len(measured)} networks that were timed {len(chosen)} took what it says to "
            f"within {budget.tolerance:.1%}; raise budget.tolerance, take a larger baseline, or a quieter machine"
        )
    return chosen, candidates.spread(chosen, budget.candidates)


def _fitted(model: LatencyModel, network: ScaledNetwork) -> dict[str, float]:
    """Relative costs, latency by a fit."""
    return network.relative | {"latency": model.relative(network)}


def _check_sweeps(search: config.Search, baseline: Baseline, chosen: Sequence[ScaledNetwork]) -> None:
    """Looks for what would go wrong once the search is over, whichever candidate wins.

    Raises:
        UserError: for networks of the sweeps, or batches, that cannot be.
    """
    if search.sweeps.batch_norm:
        try:
            _ = _without_batch_norm(baseline).start
        except UserError as error:
            raise UserError(f"config: sweeps.batch_norm: {error}; leave it off") from None
    for winner in chosen:
        for point in sweeps.points(baseline, _family(baseline, winner), search.sweeps):
            trial.batch_size(search, baseline, point.network)


def _family(baseline: Baseline, winner: ScaledNetwork, finding: str = "") -> Family:
    return Family(
        baseline=baseline.start.model, alpha=winner.depth, beta=winner.width, gamma=winner.scale, finding=finding
    )


def _without_batch_norm(baseline: Baseline) -> Baseline:
    return dataclasses.replace(baseline, model=dataclasses.replace(baseline.model, batch_norm=False))


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
    # As many at once as there will be: processes slow each other down.
    timed = [(baseline.start, ordered[0], ordered[-1])[index % 3] for index in range(max(3, executor.slots))]
    experiments = [trial.experiment(search, baseline, network, fold=0, seed=0) for network in timed]
    values = collect(executor, {index: (work.calibrate, of) for index, of in enumerate(experiments)})
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


def run(study: Study, directory: Path, store: Store, executor: Executor, console: Console) -> Findings:
    """Searches to the end, from where it stands.

    Args:
        study: what `prepare` made.
        directory: the workdir, held by this process.
        store: what has been done so far.
        executor: where trials run.
        console: for progress.

    Raises:
        UserError: when the images are others than before, or no candidate could be trained.
        Interrupted: after Ctrl-C or SIGTERM; finished trials are kept.
    """
    search, baseline = study.search, study.baseline
    if store.fact("images") not in (None, study.fingerprint):
        raise UserError(
            f"{search.experiment.data.source}: its images are not those that the trials in {store.path} were made on; "
            "put them back, or give another --workdir"
        )
    store.write_fact("images", study.fingerprint)
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
            {network.id: network.relative[search.budget.measure] for network in finalists},
            names={network.id: network.label for network in finalists},
            metric=study.objective.title,
            left=len(plan.left),
        )
        winner = next(network for network in finalists if network.id == ranking.chosen)
        family = _family(baseline, winner, ranking.sentence)
        write(directory / FILE, family.to_json())
        progress.say(ranking.sentence)
        progress.say(f"wrote {directory / FILE}: α {family.alpha:.3f}, β {family.beta:.3f}, γ {family.gamma:.3f}")

        points = sweeps.points(baseline, family, search.sweeps)
        swept = [point.network for point in points]
        plain = None
        if search.sweeps.batch_norm:
            plain = _without_batch_norm(baseline).start
            swept += [baseline.start, plain]
        if swept:
            trials.run(swept, Full(epochs), "sweeps")
        clock = Clock(store, executor)
        networks = {network.id: network for network in (baseline.start, winner, *(point.network for point in points))}
        latencies = {}
        for id_, network in networks.items():
            try:
                latencies[id_] = clock(baseline, network, trials.check)
            except UserError as error:  # the search is over: its report lacks a number
                progress.say(f"{network.label}: no latency: {error}")
    return Findings(study, dict(plan.left), ranking, winner, family, points, plain, latencies)
