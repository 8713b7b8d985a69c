"""Runs a budget search: the competition, the prospects of the choice, and its delivery."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tfeff import config
from tfeff.budget.competition import Competition, Measures
from tfeff.budget.delivery import Delivered, deliver, set_aside
from tfeff.budget.limits import Costs
from tfeff.budget.probing import Probe
from tfeff.budget.prospects import Prospects, prospects
from tfeff.budget.study import Fate, Study
from tfeff.errors import UserError
from tfeff.execution.executor import Executor
from tfeff.training import Reporter
from tfeff.trials.ranking import Ranking
from tfeff.trials.results import Block
from tfeff.trials.runner import running
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate, Trial

STORE, BEST = "search.sqlite", "best"
FREE = ("budget.", "candidates.", "objective.", "forecast", "trials.attempts", "folds.seeds")
"""Keys that select trials or evaluate their results. No trial depends on them, so a search can resume with others."""


@dataclass(frozen=True)
class Findings:
    """The outcome of a search.

    Attributes:
        probes: id -> its probe.
        fates: id -> what became of it, for all networks.
        candidates: id -> how it was trained, for those that were.
        table: id -> fold -> value.
        ranking: of the candidates that were trained on the most folds.
        measured: id -> costs in the exported form, where they were measured.
        delivered: the choice, trained on all training images.
        complete: whether the finalists were trained on all folds.
        prospects: what more images and compute would bring; None if there was no time to find out.
    """

    study: Study
    probes: Mapping[str, Probe]
    fates: Mapping[str, Fate]
    candidates: Mapping[str, Candidate]
    table: Mapping[str, Mapping[Block, float]]
    ranking: Ranking
    measured: Mapping[str, Costs]
    delivered: Delivered
    complete: bool
    prospects: Prospects | None


def open_store(directory: Path, settings: config.BudgetSearch | None) -> TrialStore:
    """The store in the workdir of a search; None opens an existing one with any config."""
    return TrialStore(directory / STORE, settings, FREE)


def run(
    study: Study,
    directory: Path,
    store: TrialStore,
    executor: Executor,
    console: Console,
    measures: Measures,
) -> Findings:
    """Runs a search to the end, resuming from the store.

    Args:
        measures: exports networks and times them.

    Raises:
        UserError: the images have changed since the first trial, every candidate failed, or no network meets the budget
            when it is exported.
        Interrupted: after Ctrl-C or SIGTERM; finished trials are stored.
    """
    settings = study.settings
    with running(settings, study.fingerprint, study.objective, directory, store, executor, console) as runner:
        largest = max(study.shortlist, key=lambda name: study.networks[name].cost.macs)
        trial = Trial(study.candidate(largest).experiment)
        precision = runner.resolve(trial, trial.on_fold(settings.folds, fold=0, seed=0)).training.precision
        competition = Competition(study, store, executor, runner, precision, measures)
        competition.probe()
        competition.compete()
        ranking, complete = competition.ranking()
        found = prospects(competition, ranking.chosen) if settings.forecast else None
        delivered = _deliver(competition, ranking, directory / BEST)
    return Findings(
        study=study,
        probes=competition.probes,
        fates=competition.fates,
        candidates=competition.candidates,
        table=competition.table(list(competition.candidates)),
        ranking=ranking,
        measured=competition.measured,
        delivered=delivered,
        complete=complete,
        prospects=found,
    )


def _deliver(competition: Competition, ranking: Ranking, workdir: Path) -> Delivered:
    """Trains the choice on all training images, exports and measures it; the next one if it misses the budget.

    Raises:
        UserError: none meets it.
    """
    store, bounds, misses = competition.store, competition.study.bounds, list[str]()
    for name in (ranking.chosen, *(each for each in ranking.order if each != ranking.chosen)):
        label = competition.candidates[name].label
        before = store.fact(BEST)
        if workdir.is_dir() and before not in (None, name):
            set_aside(workdir, str(before))
        store.write_fact(BEST, name)
        competition.runner.progress.say(f"training {label} on all training images")
        delivered = deliver(
            competition.study, competition.candidates[name], workdir, competition.measures.exported, Reporter()
        )
        excess = bounds.exceeded(delivered.costs)
        if excess is None:
            competition.fates[name] = Fate("chosen", "the choice")
            for other in ranking.order:
                competition.fates.setdefault(other, Fate("beaten", "not the best by its mean over the folds"))
            return delivered
        reason = f"trained, exported and measured: {excess.text}"
        competition.drop(name, "measured", reason)
        misses.append(f"{label}: {excess.text}")
    raise UserError("config: budget: no finalist meets it when it is exported: " + "; ".join(misses))
