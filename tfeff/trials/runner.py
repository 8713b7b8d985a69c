"""Runs the trials that an allocation asks for, until it asks for no more."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfeff import config
from tfeff.errors import UserError
from tfeff.execution.executor import DISK_FULL, Executor, Function, Outcome, collect
from tfeff.scaling import trial, work
from tfeff.scaling.allocation import Allocation, Job, Plan
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.objective import Objective
from tfeff.scaling.progress import Progress
from tfeff.scaling.store import Store
from tfeff.training.interruption import Interruption

POLL_SECONDS = 0.5


class Trials:
    """The trials of one search: those in the store, and those that run.

    Args:
        search: what is searched.
        baseline: what is scaled.
        directory: the workdir; every trial has one of its own below it.
        store: of their results.
        executor: where they run.
        objective: what a result is worth.
        progress: told of each change.
        interruption: looked at between changes.
    """

    def __init__(
        self,
        search: config.Search,
        baseline: Baseline,
        directory: Path,
        store: Store,
        executor: Executor,
        objective: Objective,
        progress: Progress,
        interruption: Interruption,
    ) -> None:
        self.baseline, self.directory = baseline, directory
        self.store, self.executor, self.objective = store, executor, objective
        self.blocks, self.progress, self.interruption = search.folds.blocks, progress, interruption
        # Other coefficients may round to a network that is known: it keeps those that its trials were made with.
        self.networks = store.networks(baseline)
        self.results: dict[Job, float | None] = {}
        self.rates: dict[str, float] = {}
        self._running: set[Job | str] = set()
        self._last = ""
        self.search = self._settled(search)

    def run(self, networks: Sequence[ScaledNetwork], allocation: Allocation, stage: str) -> Plan:
        """Trains `networks` as `allocation` shares out the epochs; what the store has is not done again."""
        self.networks = {network.id: network for network in networks} | self.networks
        self.store.add_networks(networks)
        ids = list(dict.fromkeys(network.id for network in networks))
        for record in self.store.records():
            if record.job.candidate in self.networks and record.state != "running":
                self.results[record.job] = self._value(record.job, record.rows) if record.state == "done" else None
        self.progress.begin(stage, self.networks, ids, self.blocks, allocation, self.results)
        while True:
            plan = allocation.plan(ids, self.blocks, self.results)
            self.progress.show(plan, self.results, running=len(self._running))
            if plan.done:
                # Those of candidates that left are not needed any more either.
                for candidate in plan.left:
                    for block in self.blocks:
                        self._forget_state(Job(candidate, *block, allocation.epochs))
                return plan
            # The process that has become free still has the graph of its last network.
            for job in sorted(plan.jobs, key=lambda job: job.candidate != self._last):
                if len(self._running) < self.executor.slots:
                    self._submit(job)
            if any(job in self.results for job in plan.jobs):  # some could not start
                continue
            if not self._running:
                raise RuntimeError("the allocation waits for trials that it does not ask for")
            outcomes = self.executor.wait(POLL_SECONDS)
            self.check()
            for outcome in outcomes:
                self._take(outcome)

    def place(self, job: Job) -> Path:
        """The workdir of a trial; jobs that differ in epochs alone go on with one another's training."""
        return self.directory / "trials" / job.candidate / f"fold{job.fold}-seed{job.seed}"

    def experiment(self, job: Job) -> config.Experiment:
        """What a trial trains."""
        network = self.networks[job.candidate]
        rate = self.rates.get(job.candidate)
        return trial.experiment(
            self.search,
            self.baseline,
            network,
            fold=job.fold,
            seed=job.seed,
            learning_rate=rate,
        )

    def _settled(self, search: config.Search) -> config.Search:
        """With what all trials share written out: the statistics of all training images, the arithmetic."""
        data, training = search.experiment.data, search.experiment.training
        if data.normalization == "dataset" and data.mean is None:
            mean, std = self._once(f"reading {data.source}", work.statistics_of, search.experiment)
            data = dataclasses.replace(data, mean=mean, std=std)
        if training.precision == "auto":
            start = trial.experiment(search, self.baseline, self.baseline.start, fold=0, seed=0)
            precision = self._once("timing precision=auto on the baseline", work.precision, start)
            training = dataclasses.replace(training, precision=precision)
        return dataclasses.replace(
            search, experiment=dataclasses.replace(search.experiment, data=data, training=training)
        )

    def _once(self, what: str, function: Function, experiment: config.Experiment) -> Any:
        """What a function says of an experiment, asked once a search."""

        def ask() -> Any:
            self.progress.say(what)
            return collect(self.executor, {what: (function, experiment)}, self.check)[what]

        return self.store.remember(what, ask)

    def check(self) -> None:
        """Raises Interrupted when the search is asked to stop."""
        self.interruption.check("finished trials are kept, running ones save their state")

    def _submit(self, job: Job) -> None:
        if job in self._running:
            return
        if self.search.trials.learning_rate == "range_test" and not self._has_rate(job):
            return
        self.store.start(job)
        board = self.directory / "tensorboard" / job.candidate / f"fold{job.fold}-seed{job.seed}"
        self._running.add(job)
        self.executor.submit(job, work.train, self.experiment(job), str(self.place(job)), job.epochs, str(board))

    def _has_rate(self, job: Job) -> bool:
        """Whether the network's learning rate is known; if not, its range test is started."""
        fact = f"learning_rate {job.candidate}"
        if job.candidate not in self.rates:
            kept, failed = self.store.fact(fact), self.store.fact(f"failed {fact}")
            if failed is not None:
                self._fail(job, failed)
                return False
            if kept is None:
                if fact not in self._running:
                    self._running.add(fact)
                    first = Job(job.candidate, 0, 0, job.epochs)
                    self.executor.submit(fact, work.range_test, self.experiment(first))
                return False
            self.rates[job.candidate] = float(kept)
        return True

    def _take(self, outcome: Outcome) -> None:
        """Keeps what a call gave, or starts it again."""
        key = outcome.key
        assert isinstance(key, str | Job)
        self._running.remove(key)
        self._last = key.candidate if isinstance(key, Job) else self._last
        if outcome.error == DISK_FULL:
            raise UserError(f"{DISK_FULL} of {self.directory}; finished trials are kept: free some and run again")
        if isinstance(key, str):
            if outcome.error is None:
                self.store.write_fact(key, repr(outcome.value))
                return
            deaths = int(self.store.fact(f"deaths {key}") or 0) + 1
            self.store.write_fact(f"deaths {key}", str(deaths))
            if not outcome.died or deaths >= self.search.trials.attempts:
                self.store.write_fact(f"failed {key}", f"its learning-rate range test failed: {outcome.error}")
            return
        if outcome.error is None:
            value = outcome.value
            self.store.finish(key, value["rows"], value["seconds"], value["peak_bytes"])
            self.results[key] = self._value(key, value["rows"])
            if key.epochs >= self.search.experiment.training.epochs:
                self._forget_state(key)
        elif outcome.died and self.store.died(key) < self.search.trials.attempts:
            self.progress.say(f"{self.networks[key.candidate].label}, fold {key.fold}: {outcome.error}; starts again")
        else:
            self._fail(key, outcome.error)

    def _fail(self, job: Job, error: str) -> None:
        self.store.fail(job, error)
        self.results[job] = None
        self.progress.say(f"{self.networks[job.candidate].label}, fold {job.fold}: failed: {error}")

    def _forget_state(self, job: Job) -> None:
        """Removes what a trial that will not go on would go on from."""
        shutil.rmtree(self.place(job) / "checkpoints", ignore_errors=True)

    def _value(self, job: Job, rows: Sequence[Mapping[str, float]]) -> float:
        return self.objective.value(trial.outcome(self.search, rows), self.networks[job.candidate].cost.macs)
