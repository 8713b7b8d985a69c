"""A sweep from its config to its ranking: candidates are trained as trials on shared folds."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tfeff import config, models, training
from tfeff.data.contents import Contents
from tfeff.errors import UserError
from tfeff.execution.executor import Executor
from tfeff.selection import Fingerprint
from tfeff.sweep.combinations import Combination, bayesian, listed
from tfeff.training import checks
from tfeff.trials.allocation import Allocation, Elimination, Full, allocation
from tfeff.trials.progress import Rate, core_seconds, measured_rate
from tfeff.trials.ranking import Ranking
from tfeff.trials.results import TrialObjective, by_fold
from tfeff.trials.runner import running
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate, Trial, check_batch_size, open_images

FREE = ("axes", "sampler.", "objective.", "allocation.", "trials.attempts", "folds.seeds")
"""Keys that select trials or evaluate their results. No trial depends on them, so a sweep can resume with others."""


@dataclass(frozen=True)
class SweepStudy:
    """A sweep before any training.

    Attributes:
        examples: number of training and of validation images of one trial.
        found: what the splits hold, by role.
        combinations: what is tried; empty for a sampler that waits for results.
    """

    sweep: config.Sweep
    objective: TrialObjective
    allocation: Allocation
    num_classes: int
    examples: tuple[int, int]
    fingerprint: Fingerprint
    found: Mapping[str, Contents]
    combinations: Sequence[Combination]

    def candidate(self, combination: Combination, base: config.Experiment) -> Candidate:
        """Returns a combination as a candidate for trials, with the other values of `base`."""
        experiment = dataclasses.replace(self.sweep, experiment=base).member(combination.assignments)
        channels = experiment.data.channels
        cost = models.estimate(experiment.description, num_classes=self.num_classes, channels=channels)
        settings = {**combination.values, "params": cost.params, "macs": cost.macs}
        return Candidate(combination.name, combination.label, experiment, cost.macs, settings)


@dataclass(frozen=True)
class SweepFindings:
    """The outcome of a sweep.

    Attributes:
        ranking: ranking of the others.
        learning_rates: name -> rate that a range test found; empty without range tests.
    """

    study: SweepStudy
    combinations: Mapping[str, Combination]
    candidates: Mapping[str, Candidate]
    eliminated: Mapping[str, Elimination]
    ranking: Ranking
    learning_rates: Mapping[str, float]

    @property
    def best(self) -> config.Experiment:
        """The training run of the chosen candidate, on all images."""
        name = self.ranking.chosen
        experiment = self.study.sweep.member(self.combinations[name].assignments)
        if name not in self.learning_rates:
            return experiment
        optimizer = dataclasses.replace(experiment.optimizer, learning_rate=self.learning_rates[name])
        return dataclasses.replace(experiment, optimizer=optimizer)


def open_store(directory: Path, sweep: config.Sweep) -> TrialStore:
    """Returns the store in the workdir of a sweep."""
    free = (*FREE, "folds.count") if sweep.folds.kind == "independent" else FREE
    return TrialStore(directory / config.SWEEP_FILE, sweep, free)


def prepare(sweep: config.Sweep, directory: Path | None = None) -> SweepStudy:
    """Checks the data and the combinations.

    Args:
        sweep: the config.
        directory: see `open_images`.

    Raises:
        UserError: the data is missing or too small for the folds, images of different sizes have no common size, a
            network cannot be built, or the objective is not measured.
    """
    base = sweep.experiment
    images = open_images(base, sweep.folds, sweep.folds.blocks, directory)
    combinations = [] if sweep.sampler.name == "bayesian" else listed(sweep.parsed, sweep.sampler, base.seed)
    section = sweep.objective
    if section.exponent and section.cost_target is None:
        section.wrong("cost_target", "a number of multiply-adds, because objective.exponent is set")
    objective = TrialObjective(section.metric, section.cost_target, section.exponent)
    objective.value(
        dict.fromkeys(training.objectives(training.Plan.of(base).task), 1.0), 1.0
    )  # raises if trainings cannot be compared by it
    study = SweepStudy(
        sweep=sweep,
        objective=objective,
        allocation=allocation(sweep.allocation, base.training.epochs),
        num_classes=len(images.dataset.class_names),
        examples=images.examples,
        fingerprint=images.fingerprint,
        found=images.found,
        combinations=combinations,
    )
    checked = set[str]()
    for combination in combinations or _ends(sweep):
        try:
            experiment = study.candidate(combination, base).experiment
            check_batch_size(experiment.task, experiment.training.batch_size, study.examples[0])
            images.require_unknown(experiment.sources)
            if sweep.allocation.name == "halving":
                Trial(experiment).of_length(sweep.allocation.minimum_epochs)
            # These numbers change nothing that is checked.
            model = dataclasses.replace(experiment.model, dropout=0.0)
            update = dataclasses.replace(experiment.optimizer, learning_rate=1.0, momentum=0.0, weight_decay=0.0)
            key = repr(dataclasses.replace(experiment, model=model, optimizer=update))
            if key not in checked:
                checks.check(training.Plan.of(experiment), 1, new_run=True)
                checked.add(key)
        except UserError as error:
            raise UserError(f"{combination.label}: {error}") from None
    return study


def _ends(sweep: config.Sweep) -> list[Combination]:
    """Returns a combination for each value of a list, and both ends of a range.

    The other keys have their first values.
    """
    values = {axis.key: axis.choices or (axis.text(0.0), axis.text(1.0)) for axis in sweep.parsed}
    first = {key: texts[0] for key, texts in values.items()}
    return [Combination({**first, key: text}) for key, texts in values.items() for text in texts]


def forecast(study: SweepStudy, executor: Executor) -> tuple[Rate, float] | None:
    """Times some training steps; returns the rate and the seconds of all trials, summed over processes.

    None for R-CNN, which trains on stored features: they would have to be computed first.
    """
    base, sweep = study.sweep.experiment, study.sweep
    if base.task.CUTS_REGIONS:
        return None
    planned = [study.candidate(each, base) for each in study.combinations]
    macs = {each.name: each.macs for each in planned}
    if not planned:
        same = study.candidate(Combination({}), base)
        macs = {str(index): same.macs for index in range(sweep.sampler.candidates)}
        planned = [same]
    ordered = sorted(planned, key=lambda each: each.macs)
    rate = measured_rate([ordered[0], ordered[-1]], sweep.folds, executor)
    epochs = base.training.validation_epochs
    return rate, core_seconds(rate, study.allocation, macs, sweep.folds.blocks, study.examples, epochs)


def run(study: SweepStudy, directory: Path, store: TrialStore, executor: Executor, console: Console) -> SweepFindings:
    """Runs a sweep to the end, resuming from the store.

    Raises:
        UserError: the images have changed since the first trial, or every candidate failed.
        Interrupted: after Ctrl-C or SIGTERM; finished trials are stored.
    """
    sweep = study.sweep
    epochs, blocks = sweep.experiment.training.epochs, sweep.folds.blocks
    with running(sweep, study.fingerprint, study.objective, directory, store, executor, console) as runner:
        trial = Trial(sweep.experiment)
        base = runner.resolve(trial, trial.on_fold(sweep.folds, fold=0, seed=0))
        combinations = {each.name: each for each in study.combinations}

        def candidates(some: Sequence[Combination]) -> list[Candidate]:
            return [study.candidate(each, base) for each in some]

        def scores(batch: Sequence[Combination]) -> dict[str, float | None]:
            runner.run(candidates(batch), Full(epochs), "sweep")
            rows = by_fold(runner.results, epochs, [each.name for each in batch], blocks)
            # Of a candidate that fails on some folds, the others are no measure.
            whole = len({fold for fold, _ in blocks})
            return {name: sum(row.values()) / whole if len(row) == whole else None for name, row in rows.items()}

        if sweep.sampler.name == "bayesian":
            for found in bayesian(sweep.parsed, sweep.sampler, sweep.experiment.seed, scores):
                combinations = {each.name: each for each in found}
        tried = {each.name: each for each in candidates(list(combinations.values()))}
        plan = runner.run(list(tried.values()), study.allocation, "sweep")
        labels = {name: each.label for name, each in tried.items()}
        costs = {name: each.macs for name, each in tried.items()}
        ranking = runner.rank(plan, epochs, labels, costs, margin=sweep.objective.margin)
        runner.progress.say(ranking.sentence)
    return SweepFindings(study, combinations, tried, dict(plan.eliminated), ranking, runner.learning_rates)
