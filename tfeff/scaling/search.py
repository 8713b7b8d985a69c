"""A search: training and ranking of the candidates, and training of members of the winner's family."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from tfeff import config
from tfeff.config.family import FILE, Family
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.execution.executor import Executor
from tfeff.scaling import members
from tfeff.scaling.baseline import ScaledNetwork, candidate, experiment, stored_networks
from tfeff.scaling.choice import ScalingChoice, by_mean, by_surface
from tfeff.scaling.exploration import explored
from tfeff.scaling.latency import Clock, Latency
from tfeff.scaling.members import Point
from tfeff.scaling.study import Study, without_batch_norm
from tfeff.trials.allocation import Full, JobPlan
from tfeff.trials.learning_rates import Tried
from tfeff.trials.runner import TrialRunner, running
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate, Trial

FREE = (
    "members.",
    "objective.",
    "allocation.",
    "budget.",
    "choice",
    "design.",
    "coefficients",
    "reference",
    "trials.attempts",
    "folds.seeds",
)
"""Keys that select trials or evaluate their results. No trial depends on them, so a search can resume with others."""


@dataclass(frozen=True)
class Findings:
    """The outcome of a search.

    Attributes:
        choice: the outcome of the candidates' trials; None if the coefficients were given.
        plain: the baseline without batch normalization, if it was trained.
        learning_rates: network -> its learning rate, if a range test or trainings found it.
        tried_rates: network -> learning rates with which it was trained to find its own, with their objective.
    """

    study: Study
    choice: ScalingChoice | None
    family: Family
    points: Sequence[Point]
    plain: ScaledNetwork | None
    latencies: dict[str, Latency]
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    tried_rates: Mapping[str, Sequence[Tried]] = field(default_factory=dict)


def open_store(directory: Path, search: config.Search) -> TrialStore:
    """Returns the store in the workdir of a search."""
    free = list(FREE)
    if search.folds.kind == "independent":
        free.append("folds.count")
    if search.trials.learning_rate == "held_out":
        free.remove("objective.")  # learning rates depend on it
    return TrialStore(directory / config.SEARCH_FILE, search, tuple(free))


def run(study: Study, directory: Path, store: TrialStore, executor: Executor, console: Console) -> Findings:
    """Runs a search to the end, resuming from the store.

    Raises:
        UserError: the images have changed since the first trial, or every candidate failed.
        Interrupted: after Ctrl-C or SIGTERM; finished trials are stored.
    """
    search, baseline = study.search, study.baseline
    with running(search, study.fingerprint, study.objective, directory, store, executor, console) as runner:
        reference = Trial(experiment(search, baseline, baseline.unscaled)).on_fold(search.folds, fold=0, seed=0)
        resolved = dataclasses.replace(search, experiment=runner.resolve(Trial(search.experiment), reference))

        def as_candidates(networks: Sequence[ScaledNetwork]) -> list[Candidate]:
            stored = stored_networks(store, baseline)
            return [candidate(resolved, baseline, stored.get(network.id, network)) for network in networks]

        epochs = search.experiment.training.epochs
        choice = None
        if search.coefficients is None:
            if search.choice == "mean":
                plan = runner.run(as_candidates(study.chosen), study.allocation, "search")
                choice = _ranked(study, runner, plan)
            else:
                choice = by_surface(explored(study, runner, store, executor, as_candidates))
            family = baseline.family(choice.coefficients, choice.sentence)
            runner.progress.say(choice.sentence)
        else:
            family = study.given_family
        points = members.points(baseline, family, search.members)
        family = members.with_others(family, points)
        write(directory / FILE, family.to_json())
        neck = f", neck depth {family.neck_depth:.3f}, neck width {family.neck_width:.3f}" if family.detector else ""
        runner.progress.say(
            f"wrote {directory / FILE}: α {family.alpha:.3f}, β {family.beta:.3f}, γ {family.gamma:.3f}{neck}"
        )

        compared = as_candidates([point.network for point in points])
        plain = None
        if search.members.batch_norm:
            plain = without_batch_norm(baseline).unscaled
            with_it, without = as_candidates([baseline.unscaled, plain])
            # The config's rate is one for the baseline; without batch normalization, it is often far too high.
            label = f"{without.label}, without batch normalization"
            compared += [with_it, dataclasses.replace(without, label=label, tests_rates=True)]
        if compared:
            runner.run(compared, Full(epochs), "members", search.member_blocks)
        clock = Clock(store, executor)
        networks = {network.id: network for network in (baseline.unscaled, *(p.network for p in points))}
        latencies = {}
        for id_, network in networks.items():
            try:
                latencies[id_] = clock(baseline, network, runner.check)
            except UserError as error:  # the trials are done: report without this number
                runner.progress.say(f"no latency: {error}")
    return Findings(study, choice, family, points, plain, latencies, runner.learning_rates, runner.tried_rates)


def _ranked(study: Study, runner: TrialRunner, plan: JobPlan) -> ScalingChoice:
    """Returns the coefficients that follow from the ranking of the candidates."""
    search, networks = study.search, study.chosen
    costs = {network.id: network.relative[search.budget.measure] for network in networks}
    labels = {network.id: network.label for network in networks}
    epochs = search.experiment.training.epochs
    ranking = runner.rank(plan, epochs, labels, costs, margin=search.objective.margin)
    return by_mean(networks, dict(plan.eliminated), ranking)
