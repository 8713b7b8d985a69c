"""Runner of the trials that an allocation plans, until it plans no more."""

import dataclasses
import shutil
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from tfeff import config
from tfeff.errors import UserError
from tfeff.execution.executor import DISK_FULL, Executor, Function, Outcome, collect
from tfeff.selection import Fingerprint
from tfeff.training.interruption import Interruption
from tfeff.trials import worker
from tfeff.trials.allocation import Allocation, JobPlan
from tfeff.trials.learning_rates import RateCall, RateSearch, Tried
from tfeff.trials.progress import TrialProgress
from tfeff.trials.ranking import Ranking, rank
from tfeff.trials.results import Block, Job, TrialObjective, by_fold
from tfeff.trials.store import Record, TrialStore
from tfeff.trials.trial import Candidate, Trial, result_row

POLL_SECONDS = 0.5
AGAIN = (
    " ({} times); to try again, rerun with a higher --config.trials.attempts and, if memory is short, fewer --processes"
)
"""Advice if the process of a call is lost too often."""


@contextmanager
def running(
    settings: config.Search | config.Sweep | config.BudgetSearch,
    images: Fingerprint,
    objective: TrialObjective,
    directory: Path,
    store: TrialStore,
    executor: Executor,
    console: Console,
) -> Iterator["TrialRunner"]:
    """Yields a runner for all trials of a search or a sweep; its progress is shown, and signals are noticed.

    Raises:
        UserError: the images, or the way trials are trained, have changed since the first trial.
    """
    folds, source = settings.folds, settings.experiment.data.source
    store.claim_images(images, source, None if folds.kind == "classic" else folds.examples)
    store.claim_version()
    progress = TrialProgress(console, bounded=objective.bounded)
    with Interruption() as interruption, progress.shown():
        yield TrialRunner(
            directory, settings.folds, settings.trials, store, executor, objective, progress, interruption
        )


class _Queue:
    """Planned jobs that have not started, in the order of the plan."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = OrderedDict.fromkeys(jobs)
        self._by_candidate = defaultdict[str, list[Job]](list)
        for job in self._jobs:
            self._by_candidate[job.candidate].append(job)

    def starting_with(self, candidate: str) -> Iterator[Job]:
        """Returns the jobs, those of a candidate first."""
        yield from (job for job in self._by_candidate[candidate] if job in self._jobs)
        yield from (job for job in self._jobs if job.candidate != candidate)

    def remove(self, jobs: Iterable[Job]) -> None:
        """Removes some jobs."""
        for job in jobs:
            del self._jobs[job]


class TrialRunner:
    """Runner that stores the results of trials.

    Args:
        directory: workdir of the experiment; each trial gets its own workdir below it.
        trials: learning-rate rule and number of attempts.

    Attributes:
        results: job -> its value, of the candidates passed to `run`.
        ended: finished and failed trainings, also of candidates that were not passed to `run` yet.
        seconds: finished training -> seconds of its process, also of candidates that were not passed to `run` yet.
        rows: finished training -> its metrics, one row per epoch.
        on_check: called by `check`, which is called repeatedly while trials run.
    """

    def __init__(
        self,
        directory: Path,
        folds: config.Folds,
        trials: config.Trials,
        store: TrialStore,
        executor: Executor,
        objective: TrialObjective,
        progress: TrialProgress,
        interruption: Interruption,
    ) -> None:
        self.directory, self.folds, self.trials = directory, folds, trials
        self.store, self.executor, self.objective = store, executor, objective
        self.progress, self.interruption = progress, interruption
        self.results: dict[Job, float | None] = {}
        self.ended = set[Job]()
        self.seconds: dict[Job, float] = {}
        self.rows: dict[Job, Sequence[Mapping[str, Any]]] = {}
        self.on_check: Callable[[], None] = lambda: None
        self._candidates: dict[str, Candidate] = {}
        self._learning_rates: dict[str, float] = {}
        self._running: set[Job | RateCall] = set()
        self._last = ""
        self._stored: dict[str, list[Record]] = {}
        for record in store.records():
            self._stored.setdefault(record.job.candidate, []).append(record)
            if record.has_ended(trials.attempts):
                self.ended.add(record.job)
            if record.state == "done" and record.seconds is not None:
                self.seconds[record.job], self.rows[record.job] = record.seconds, record.rows

    def resolve(self, base: Trial, reference: Trial, label: str = "the baseline") -> config.Experiment:
        """Writes out what all trials share: the channel statistics of all training images, and the precision.

        Args:
            base: the training of the baseline, before a fold is set.
            reference: trial on which `precision=auto` is timed.
            label: its network.
        """
        experiment = base.experiment
        data, model, training = experiment.data, experiment.model, experiment.training
        if data.normalization == "dataset":
            mean, std = self._once(f"reading {data.source}", worker.training_statistics, base)
            data = dataclasses.replace(data, normalization="family")
            model = dataclasses.replace(model, mean=mean, std=std)
        if training.precision == "auto":
            # Whatever network is timed, trials that are stored have this precision.
            words = f"timing precision=auto on {label}"
            precision = self._once("precision", worker.fastest_precision, reference, words)
            training = dataclasses.replace(training, precision=precision)
        return dataclasses.replace(experiment, data=data, model=model, training=training)

    def run(
        self, candidates: Sequence[Candidate], allocation: Allocation, stage: str, blocks: Sequence[Block] | None = None
    ) -> JobPlan:
        """Trains candidates as planned by `allocation`; stored results are reused.

        Args:
            candidates: the candidates. If names repeat, only the first candidate is trained.
            blocks: (fold, seed) of the trials; None: all of the folds.
        """
        blocks = self.folds.blocks if blocks is None else blocks
        new = dict[str, Candidate]()
        for candidate in candidates:
            if candidate.name not in self._candidates:
                new.setdefault(candidate.name, candidate)
        self._candidates |= new
        self.store.add_candidates(new.values())
        names = list(dict.fromkeys(candidate.name for candidate in candidates))
        for record in (record for name in new for record in self._stored.pop(name, ())):
            if record.has_ended(self.trials.attempts):
                self.results[record.job] = self._value(record.job, record.rows) if record.state == "done" else None
        self._learning_rates |= self._found_rates(new)
        selected = {name: self._candidates[name] for name in names}
        self.progress.begin(stage, selected, blocks, allocation, self.executor.slots, self.results)
        plan, known = allocation.plan(names, blocks, self.results), len(self.results)
        waiting, ended = _Queue(plan.jobs), False
        while True:
            self.progress.show(plan, len(self._running), self.seconds, lambda: self._rate_trainings(names))
            if plan.done and not self._running:  # another rate may still run for a candidate that has failed
                return plan
            # The worker that has just become free still has the graph of its last network.
            tried = list[Job]()
            for job in waiting.starting_with(self._last):
                if len(self._running) >= self.executor.slots:
                    break
                self._submit(job)
                tried.append(job)
            waiting.remove(job for job in tried if job in self._running or job in self.results)
            # Planned jobs stay planned until they end, so another plan is needed only if they leave a process idle. A
            # lost trial ends without a result, and is planned again.
            if len(self._running) < self.executor.slots and (ended or len(self.results) > known):
                plan, known = allocation.plan(names, blocks, self.results), len(self.results)
                waiting, ended = _Queue(job for job in plan.jobs if job not in self._running), False
                continue
            if not self._running:
                raise RuntimeError("the allocation is not done but plans no job")
            outcomes = self.executor.wait(POLL_SECONDS)
            ended = ended or bool(outcomes)
            for outcome in (outcome for outcome in outcomes if outcome.error is None):
                self._handle(outcome)
            self.check()  # before failures are counted: the interruption may have caused them
            for outcome in (outcome for outcome in outcomes if outcome.error is not None):
                self._handle(outcome)

    def rank(
        self,
        plan: JobPlan,
        epochs: int,
        labels: Mapping[str, str],
        costs: Mapping[str, float],
        *,
        margin: float | None = None,
        chooses: bool = True,
    ) -> Ranking:
        """Ranks the candidates that were trained to the end.

        Args:
            plan: what `run` returned.
            costs: name -> cost in any unit.
            margin, chooses: as for `tfeff.trials.ranking.rank`.

        Raises:
            UserError: every candidate failed.
        """
        finalists = [name for name in labels if name not in plan.eliminated]
        if not finalists:
            reasons = "; ".join(sorted({elimination.reason for elimination in plan.eliminated.values()}))
            raise UserError(f"every candidate failed: {reasons}; see {self.directory / 'trials.log'}")
        table, failed = self.table(finalists, epochs), sum(each.failed for each in plan.eliminated.values())
        return rank(
            table,
            costs,
            margin=margin,
            bounded=self.objective.bounded,
            chooses=chooses,
            labels=labels,
            metric=self.objective.title,
            eliminated=len(plan.eliminated) - failed,
            failed=failed,
            blocks=self.folds.blocks,
        )

    def table(self, candidates: Sequence[str], epochs: int) -> dict[str, dict[Block, float]]:
        """Returns candidate -> fold -> value after trainings of `epochs` epochs, averaged over seeds."""
        return by_fold(self.results, epochs, candidates, self.folds.blocks)

    def workdir(self, job: Job) -> Path:
        """Returns the workdir of a trial."""
        return self.directory / "trials" / job.candidate / self._name(job)

    def trial(self, job: Job) -> Trial:
        """Returns what a job trains."""
        trial = Trial(self._candidates[job.candidate].experiment).on_fold(self.folds, job.fold, job.seed)
        trial, rate = trial.of_length(job.epochs), self._learning_rates.get(job.candidate)
        return trial if rate is None else trial.at_rate(rate)

    @property
    def learning_rates(self) -> dict[str, float]:
        """Candidate -> its learning rate, if a range test or trainings found it."""
        return self._found_rates(self._candidates)

    def _found_rates(self, candidates: Iterable[str]) -> dict[str, float]:
        found = {search.candidate: search.rate for search in self._rate_searches(candidates)}
        return {name: rate for name, rate in found.items() if rate is not None}

    @property
    def tried_rates(self) -> dict[str, list[Tried]]:
        """Candidate -> the learning rates with which it was trained to find its own, if that was found."""
        searches = self._rate_searches(self._candidates)
        return {search.candidate: search.tried for search in searches if search.tried and search.rate is not None}

    def _rate_searches(self, candidates: Iterable[str]) -> list[RateSearch]:
        """Returns one for each candidate, if trainings find the learning rates."""
        return [search for search in map(self._rate_search, candidates) if search is not None]

    def _rate_search(self, candidate: str) -> RateSearch | None:
        """Returns the search for the learning rate of a candidate; None if the config has given the rate."""
        rule = self.trials.learning_rate
        if rule not in ("range_test", "held_out"):
            if not self._candidates[candidate].tests_rates:
                return None
            rule = "range_test"
        return RateSearch(rule, self._candidates[candidate], self.store, self.trials.attempts)

    def check(self) -> None:
        """Raises Interrupted after Ctrl-C or SIGTERM."""
        self.on_check()
        self.interruption.check("finished trials are stored, running trials save a checkpoint")

    def _once(self, fact: str, function: Function, trial: Trial, words: str | None = None) -> Any:
        """Returns the value of `function(trial)`, computed in a worker once per store.

        Args:
            fact: its name in the store, which also announces it.
            words: announce it instead.
        """

        def compute() -> Any:
            self.progress.say(words or fact)
            return collect(self.executor, {fact: (function, trial)}, self.check)[fact]

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
        self.executor.submit(job, worker.train, self.trial(job), str(self.workdir(job)), job.epochs, str(events))

    def _find_rate(self, search: RateSearch, job: Job) -> None:
        """Starts calls that find the learning rate of a job's candidate, or fails the job."""
        if search.failure is not None:
            self._fail(job, search.failure, lost=search.lost)
        candidate, first = self._candidates[job.candidate], Job(job.candidate, 0, 0, job.epochs)
        for call in search.waiting:
            if call in self._running or len(self._running) >= self.executor.slots:
                continue
            self._running.add(call)
            if call.rate is None:
                self.progress.say(f"{candidate.label}: finding its learning rate")
                self.executor.submit(call, worker.range_test, self.trial(first))
            else:
                self.progress.say(f"{candidate.label}: trying the learning rate {call.rate:.3g}")
                part = Trial(candidate.experiment).for_rates(self.folds).at_rate(call.rate)
                directory = str(self._rate_directory(call))
                self.executor.submit(call, worker.held_out, part, self.objective, candidate.macs, directory)

    def _rate_directory(self, call: RateCall) -> Path:
        return self.directory / "trials" / call.candidate / f"rate{call.rate:g}"

    def _rate_trainings(self, candidates: Sequence[str]) -> dict[str, float]:
        """Returns candidate without a learning rate -> number of complete trainings that finding it takes at most."""
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
            self._end(key, self._value(key, value["rows"]))
            self.seconds[key], self.rows[key] = value["seconds"], value["rows"]
            shutil.rmtree(self.workdir(key) / "checkpoints", ignore_errors=True)
        elif outcome.retryable and self.store.count_death(key) < self.trials.attempts:
            self._say(key, f"{outcome.error}; restarting the trial")
        else:
            self._fail(key, outcome.error, lost=outcome.retryable)

    def _handle_rate(self, call: RateCall, outcome: Outcome) -> None:
        """Stores what a call has found about a learning rate, or arranges another attempt."""
        search, label = self._rate_search(call.candidate), self._candidates[call.candidate].label
        assert search is not None
        if outcome.error is not None:
            deaths = search.count_death(call) if outcome.retryable else 0
            if 0 < deaths < self.trials.attempts:
                self.progress.say(f"{label}: {outcome.error}; trying its learning rate again")
            else:
                search.fail(outcome.error, deaths)
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

    def _fail(self, job: Job, error: str, *, lost: bool = False) -> None:
        self.store.fail(job, error, lost=lost)
        self._end(job, None)
        self._say(job, f"failed: {error}{AGAIN.format(self.trials.attempts) if lost else ''}")

    def _end(self, job: Job, value: float | None) -> None:
        self.results[job] = value
        self.ended.add(job)
        self.progress.finish(job, value)

    def _say(self, job: Job, text: str) -> None:
        self.progress.say(f"{self._candidates[job.candidate].label}, fold {job.fold}: {text}")

    def _value(self, job: Job, rows: Sequence[Mapping[str, float]]) -> float:
        candidate = self._candidates[job.candidate]
        training = dataclasses.replace(candidate.experiment.training, epochs=job.epochs)
        return self.objective.value(result_row(training, rows), candidate.macs)

    def _name(self, job: Job) -> str:
        """Returns the name of a trial's directory."""
        whole = job.epochs == self._candidates[job.candidate].experiment.training.epochs
        return f"fold{job.fold}-seed{job.seed}" + ("" if whole else f"-epochs{job.epochs}")
