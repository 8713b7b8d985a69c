"""Runs the trials that an allocation plans until it plans no more."""

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from tfeff import config
from tfeff.errors import UserError
from tfeff.execution.executor import DISK_FULL, Executor, Function, Outcome, collect
from tfeff.training.interruption import Interruption
from tfeff.trials import worker
from tfeff.trials.allocation import Allocation, Plan
from tfeff.trials.learning_rates import RateCall, RateSearch, Tried
from tfeff.trials.objective import Objective
from tfeff.trials.progress import Progress
from tfeff.trials.ranking import Ranking, rank
from tfeff.trials.results import Block, Job, by_fold
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate, of_length, on_fold, result_row

POLL_SECONDS = 0.5


@contextmanager
def running(
    settings: config.Search | config.Sweep,
    fingerprints: tuple[str, str | None],
    objective: Objective,
    directory: Path,
    store: TrialStore,
    executor: Executor,
    console: Console,
) -> Iterator["TrialRunner"]:
    """A runner for all trials of a search or a sweep, while its progress is shown and signals are noticed.

    Args:
        settings: of the search or the sweep.
        fingerprints: hashes of the images from which folds are drawn, and of those that all folds are validated on;
            None if each fold has its own part.
        objective: maps metrics to the value that candidates are compared by.
        directory: the workdir, locked by this process.
        store: results so far.
        executor: runs the trials.
        console: shows the progress.

    Raises:
        UserError: the images, or the way trials are trained, have changed since the first trial.
    """
    folds, source = settings.folds, settings.experiment.data.source
    images, validated = fingerprints
    store.claim_images(images if folds.kind == "classic" else f"{images}, in folds of {folds.examples}", source)
    if validated is not None:
        store.claim_images(validated, source, "validation images")
    store.claim_version()
    progress = Progress(console)
    with Interruption() as interruption, progress.shown():
        yield TrialRunner(
            directory, settings.folds, settings.trials, store, executor, objective, progress, interruption
        )


class TrialRunner:
    """Runs trials and stores their results.

    Args:
        directory: workdir of the experiment; each trial gets its own workdir below it.
        folds: folds and seeds of every candidate.
        trials: learning-rate rule and number of attempts.
        store: results so far.
        executor: runs the training runs.
        objective: maps metrics to the value that candidates are compared by.
        progress: is notified of each change.
        interruption: is checked between changes.
    """

    def __init__(
        self,
        directory: Path,
        folds: config.Folds,
        trials: config.Trials,
        store: TrialStore,
        executor: Executor,
        objective: Objective,
        progress: Progress,
        interruption: Interruption,
    ) -> None:
        self.directory, self.folds, self.trials = directory, folds, trials
        self.store, self.executor, self.objective = store, executor, objective
        self.progress, self.interruption = progress, interruption
        self.results: dict[Job, float | None] = {}
        self._seconds: dict[Job, float] = {}
        self._candidates: dict[str, Candidate] = {}
        self._learning_rates: dict[str, float] = {}
        self._running: set[Job | RateCall] = set()
        self._last = ""

    def resolve(self, experiment: config.Experiment, reference: config.Experiment) -> config.Experiment:
        """Writes out what all trials share: the channel statistics of all training images, and the precision.

        Args:
            experiment: of the baseline.
            reference: trial on which `precision=auto` is timed.
        """
        data, training = experiment.data, experiment.training
        if data.normalization == "dataset" and data.mean is None:
            mean, std = self._once(f"reading {data.source}", worker.training_statistics, experiment)
            data = dataclasses.replace(data, mean=mean, std=std)
        if training.precision == "auto":
            precision = self._once("timing precision=auto on the baseline", worker.fastest_precision, reference)
            training = dataclasses.replace(training, precision=precision)
        return dataclasses.replace(experiment, data=data, training=training)

    def run(
        self, candidates: Sequence[Candidate], allocation: Allocation, stage: str, blocks: Sequence[Block] | None = None
    ) -> Plan:
        """Trains candidates as planned by `allocation`; stored results are reused.

        Args:
            candidates: of several with the same name, only the first one ever passed is trained.
            allocation: plans the jobs.
            stage: name of this stage, for the progress.
            blocks: (fold, seed) of the trials; None: all of the folds.
        """
        blocks = self.folds.blocks if blocks is None else blocks
        for candidate in candidates:
            self._candidates.setdefault(candidate.name, candidate)
        self.store.add_candidates(candidates)
        names = list(dict.fromkeys(candidate.name for candidate in candidates))
        for record in self.store.records():
            if record.job.candidate in self._candidates and record.state != "running":
                self.results[record.job] = self._value(record.job, record.rows) if record.state == "done" else None
                if record.seconds is not None:
                    self._seconds[record.job] = record.seconds
        self._learning_rates |= self.learning_rates
        selected = {name: self._candidates[name] for name in names}
        self.progress.begin(stage, selected, blocks, allocation, self.executor.slots)
        while True:
            plan = allocation.plan(names, blocks, self.results)
            trainings = self._rate_trainings(names)
            self.progress.show(plan, self.results, len(self._running), self._seconds, trainings)
            if plan.done and not self._running:  # another rate may still run for a candidate that has failed
                return plan
            # The worker that has just become free still has the graph of its last network.
            for job in sorted(plan.jobs, key=lambda job: job.candidate != self._last):
                if len(self._running) < self.executor.slots:
                    self._submit(job)
            if any(job in self.results for job in plan.jobs):  # some jobs could not start
                continue
            if not self._running:
                raise RuntimeError("the allocation is not done but plans no job")
            outcomes = self.executor.wait(POLL_SECONDS)
            for outcome in (outcome for outcome in outcomes if outcome.error is None):
                self._handle(outcome)
            self.check()  # before failures are counted: the interruption may have caused them
            for outcome in (outcome for outcome in outcomes if outcome.error is not None):
                self._handle(outcome)

    def rank(
        self,
        plan: Plan,
        epochs: int,
        labels: Mapping[str, str],
        costs: Mapping[str, float],
        rule: str = "cheapest",
    ) -> Ranking:
        """Ranks the candidates that were trained to the end.

        Args:
            plan: what `run` returned.
            epochs: of a complete training.
            labels: name -> label of all candidates of the plan.
            costs: name -> cost in any unit.
            rule: as for `tfeff.trials.ranking.rank`.

        Raises:
            UserError: every candidate failed.
        """
        finalists = [name for name in labels if name not in plan.eliminated]
        if not finalists:
            reasons = "; ".join(sorted({elimination.reason for elimination in plan.eliminated.values()}))
            raise UserError(f"every candidate failed: {reasons}; see {self.directory / 'trials.log'}")
        table = self.table(finalists, epochs)
        return rank(
            table, costs, rule=rule, labels=labels, metric=self.objective.title, eliminated=len(plan.eliminated)
        )

    def table(self, candidates: Sequence[str], epochs: int) -> dict[str, dict[Block, float]]:
        """Candidate -> fold -> value after trainings of `epochs` epochs, averaged over seeds."""
        return by_fold(self.results, epochs, candidates, self.folds.blocks)

    def workdir(self, job: Job) -> Path:
        """The workdir of a trial."""
        return self.directory / "trials" / job.candidate / self._name(job)

    def experiment(self, job: Job) -> config.Experiment:
        """The experiment that a job trains."""
        experiment = on_fold(self._candidates[job.candidate].experiment, self.folds, job.fold, job.seed)
        experiment = of_length(experiment, job.epochs)
        rate = self._learning_rates.get(job.candidate)
        return experiment if rate is None else with_rate(experiment, rate)

    @property
    def learning_rates(self) -> dict[str, float]:
        """Candidate -> its learning rate, if a range test or trainings found it."""
        found = {search.candidate: search.rate for search in self._rate_searches(self._candidates)}
        return {name: rate for name, rate in found.items() if rate is not None}

    @property
    def tried_rates(self) -> dict[str, list[Tried]]:
        """Candidate -> the learning rates with which it was trained to find its own, if that was found."""
        searches = self._rate_searches(self._candidates)
        return {search.candidate: search.tried for search in searches if search.tried and search.rate is not None}

    def _rate_searches(self, candidates: Iterable[str]) -> list[RateSearch]:
        """One for each candidate, if trainings find the learning rates."""
        return [search for search in map(self._rate_search, candidates) if search is not None]

    def _rate_search(self, candidate: str) -> RateSearch | None:
        """The search for the learning rate of a candidate; None if the config has given the rate."""
        rule = self.trials.learning_rate
        if rule not in ("range_test", "held_out"):
            return None
        return RateSearch(rule, self._candidates[candidate], self.store)

    def check(self) -> None:
        """Raises Interrupted after Ctrl-C or SIGTERM."""
        self.interruption.check("finished trials are stored, running trials save a checkpoint")

    def _once(self, fact: str, function: Function, experiment: config.Experiment) -> Any:
        """The value of `function(experiment)`, computed in a worker once per store."""

        def compute() -> Any:
            self.progress.say(fact)
            return collect(self.executor, {fact: (function, experiment)}, self.check)[fact]

        return self.store.cached(fact, compute)

    def _submit(self, job: Job) -> None:
        if job in self._running:
            return
        if job.candidate not in self._learning_rates and (search := self._rate_search(job.candidate)) is not None:
            self._find_rate(search, job)
            return
        self.store.start(job)
        events = self.directory / "tensorboard" / job.candidate / self._name(job)
        self._running.add(job)
        self.executor.submit(job, worker.train, self.experiment(job), str(self.workdir(job)), job.epochs, str(events))

    def _find_rate(self, search: RateSearch, job: Job) -> None:
        """Starts calls that find the learning rate of a job's candidate, or fails the job."""
        if search.failure is not None:
            self._fail(job, search.failure)
        candidate, first = self._candidates[job.candidate], Job(job.candidate, 0, 0, job.epochs)
        for call in search.waiting:
            if call in self._running or len(self._running) >= self.executor.slots:
                continue
            self._running.add(call)
            if call.rate is None:
                self.progress.say(f"{candidate.label}: finding its learning rate")
                self.executor.submit(call, worker.range_test, self.experiment(first))
            else:
                self.progress.say(f"{candidate.label}: trying the learning rate {call.rate:.3g}")
                folds = dataclasses.replace(self.folds, validation_split=None)
                part = with_rate(on_fold(candidate.experiment, folds, first.fold, first.seed), call.rate)
                directory = str(self._rate_directory(call))
                self.executor.submit(call, worker.held_out, part, self.objective, candidate.macs, directory)

    def _rate_directory(self, call: RateCall) -> Path:
        return self.directory / "trials" / call.candidate / f"rate{call.rate:g}"

    def _rate_trainings(self, candidates: Sequence[str]) -> dict[str, float]:
        """Candidate without a learning rate -> number of complete trainings that finding it takes at most."""
        share = 1 - self.folds.validation_fraction
        waiting = {search.candidate: search.most_waiting for search in self._rate_searches(candidates)}
        return {name: trainings * share for name, trainings in waiting.items() if trainings}

    def _handle(self, outcome: Outcome) -> None:
        """Stores the value of a call, or arranges another attempt."""
        key = outcome.key
        assert isinstance(key, RateCall | Job)
        self._running.remove(key)
        self._last = key.candidate
        if outcome.error == DISK_FULL:
            raise UserError(
                f"{DISK_FULL} of {self.directory}; finished trials are stored: free some space and rerun the command"
            )
        if isinstance(key, RateCall):
            self._handle_rate(key, outcome)
            return
        if outcome.error is None:
            value = outcome.value
            self.store.finish(key, value["rows"], value["seconds"], value["peak_bytes"])
            self.results[key] = self._value(key, value["rows"])
            self._seconds[key] = value["seconds"]
            self._remove_checkpoints(key)
        elif outcome.retryable and self.store.count_death(key) < self.trials.attempts:
            self._say(key, f"{outcome.error}; restarting the trial")
        else:
            self._fail(key, outcome.error)

    def _handle_rate(self, call: RateCall, outcome: Outcome) -> None:
        """Stores what a call has found about a learning rate, or arranges another attempt."""
        search, label = self._rate_search(call.candidate), self._candidates[call.candidate].label
        assert search is not None
        if outcome.error is not None:
            if outcome.retryable and search.count_death(call) < self.trials.attempts:
                self.progress.say(f"{label}: {outcome.error}; trying its learning rate again")
            else:
                search.fail(outcome.error)
            return
        value, error = (outcome.value, None) if call.rate is None else outcome.value
        search.add(call, value)
        if error is not None:
            self.progress.say(f"{label}: at the learning rate {call.rate:.3g}: {error}")
        if call.rate is not None:
            shutil.rmtree(self._rate_directory(call), ignore_errors=True)
        if search.rate is not None:
            self._learning_rates[call.candidate] = search.rate
            self.progress.say(f"{label}: learning rate {search.rate:.3g}")

    def _fail(self, job: Job, error: str) -> None:
        self.store.fail(job, error)
        self.results[job] = None
        self._say(job, f"failed: {error}")

    def _say(self, job: Job, text: str) -> None:
        self.progress.say(f"{self._candidates[job.candidate].label}, fold {job.fold}: {text}")

    def _remove_checkpoints(self, job: Job) -> None:
        """Removes the checkpoints of a finished trial."""
        shutil.rmtree(self.workdir(job) / "checkpoints", ignore_errors=True)

    def _value(self, job: Job, rows: Sequence[Mapping[str, float]]) -> float:
        candidate = self._candidates[job.candidate]
        return self.objective.value(result_row(self.experiment(job).training, rows), candidate.macs)

    def _name(self, job: Job) -> str:
        """The name of a trial's directory."""
        whole = job.epochs == self._candidates[job.candidate].experiment.training.epochs
        return f"fold{job.fold}-seed{job.seed}" + ("" if whole else f"-epochs{job.epochs}")


def with_rate(experiment: config.Experiment, rate: float) -> config.Experiment:
    """An experiment at another learning rate."""
    return dataclasses.replace(experiment, optimizer=dataclasses.replace(experiment.optimizer, learning_rate=rate))
