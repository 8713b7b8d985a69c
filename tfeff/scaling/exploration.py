"""Training of the networks from which the best direction is learned, round by round."""

import dataclasses
from collections.abc import Callable, Sequence

from tfeff.config.search import SINGLE
from tfeff.execution.executor import Executor
from tfeff.reporting.tables import percent
from tfeff.scaling.baseline import ScaledNetwork, candidate
from tfeff.scaling.direction import BestDirection, Trained, find, limits, planner
from tfeff.scaling.members import scaled
from tfeff.scaling.study import Study
from tfeff.trials.allocation import Listed
from tfeff.trials.design import Choice, State, explore
from tfeff.trials.progress import Rate, measured_rate
from tfeff.trials.results import Job, is_finite
from tfeff.trials.runner import TrialRunner
from tfeff.trials.store import TrialStore
from tfeff.trials.surface import to_surface_scale
from tfeff.trials.trial import Candidate


def stored_rate(study: Study, store: TrialStore, executor: Executor) -> Rate:
    """Returns the speed of training on the machine on which a search began, measured once per store.

    It is that of the baseline and of each single dimension at the largest cost; at the same multiply-adds, their speeds
    differ.
    """

    def measure() -> list[float]:
        search, baseline = study.search, study.baseline
        assert search.budget.macs is not None
        macs = round(baseline.cost.macs * search.budget.macs ** max(search.design.phis))
        networks = [baseline.unscaled, *(scaled(baseline, name, macs) for name in SINGLE)]
        timed = [candidate(search, baseline, network) for network in networks]
        return list(dataclasses.astuple(measured_rate(timed, search.folds, executor)))

    return Rate(*store.cached("rate", measure))


def explored(
    study: Study,
    runner: TrialRunner,
    store: TrialStore,
    executor: Executor,
    as_candidates: Callable[[Sequence[ScaledNetwork]], list[Candidate]],
) -> BestDirection:
    """Returns the best direction, by trainings that are planned round by round.

    Which ones is a function of the stored results and the stored speed.

    Args:
        as_candidates: networks -> candidates for trials.

    Raises:
        UserError: every training failed.
    """
    search, blocks = study.search, study.search.folds.blocks
    epochs, bounded = search.experiment.training.epochs, study.objective.bounded
    runner.progress.say("timing some networks")
    planned = planner(search, study.networks, stored_rate(study, store, executor), study.examples)

    def values(chosen: Sequence[Choice]) -> list[float | None]:
        found = [runner.results[Job(study.networks[place].id, *blocks[fold], epochs)] for place, fold in chosen]
        return [value if is_finite(value) else None for value in found]

    def train(chosen: Sequence[Choice], number: int) -> list[float | None]:
        networks = [study.networks[place] for place, _ in chosen]
        trainings = [(network.id, blocks[fold]) for network, (_, fold) in zip(networks, chosen, strict=True)]
        runner.run(as_candidates(networks), Listed(epochs, trainings), f"round {number}")
        count = study.examples[1]
        return [
            None if value is None else to_surface_scale(value, bounded=bounded, count=count) for value in values(chosen)
        ]

    def report(chosen: Sequence[Choice], state: State) -> None:
        shares = ", ".join(f"{name} {percent(share)}" for name, share in zip(SINGLE, state.direction.mean, strict=True))
        runner.progress.say(
            f"{len(chosen)} trainings: best direction {shares}; its region covers {percent(state.extent)} of the plane"
        )

    found = explore(planned, limits(search.design), train, report)
    trained = [
        Trained(study.networks[place], planned.places[place].phi, blocks[fold], value)
        for (place, fold), value in zip(found.chosen, values(found.chosen), strict=True)
    ]
    return find(
        search,
        study.baseline,
        found,
        trained,
        study.objective.title,
        bounded=bounded,
        validated=study.examples[1],
    )
