"""Runs the trials that an allocation asks for, until it asks for no more."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfeff import config
from tfeff.errors import UserError
from tfeff.scaling import trial, work
from tfeff.scaling.allocation import Allocation, Job, Plan
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.executor import DISK_FULL, Executor, Outcome, collect
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
        self.search, self.baseline, self.directory = search, baseline, directory
        self.store, self.executor, self.objective = store, executor, objective
        self.blocks, self.progress, self.interruption = search.folds.blocks, progress, interruption
        self.networks: dict[str, ScaledNetwork] = {}
        self.results: dict[Job, float | None] = {}
        self.rates: dict[str, float] = {}
        self._running: set[Job | str] = set()
        self._last = ""
        self._statistics = self._measured_statistics()

    def run(self, networks: Sequence[ScaledNetwork], allocation: Allocation, stage: str) -> Plan:
        """Trains `networks` as `allocation` shares out the epochs; what the store has is not done again."""
        # Other coefficients may round to a network that is known: it keeps those that its trials were made with.
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
                return plan
            # The process that has become free still has the graph of its last network.
            for job in sorted(plan.jobs, key=lambda job: job.candidate != self._last):
                if len(self._running) < self.executor.slots:
                    self._submit(job)
            if not self._running:
                raise RuntimeError("the allocation waits for trials that it does not ask for")
            outcomes = self.executor.wait(POLL_SECONDS)
            self.interruption.check("finished trials are kept, running ones save their state")
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
            statistics=self._statistics,
        )

    def _measured_statistics(self) -> tuple[list[float], list[float]] | None:
        """Mean and deviation of all training images, where the networks are to have them."""
        data = self.search.experiment.data
        if data.normalization != "dataset" or data.mean is not None:
            return None
        kept = self.store.fact("statistics")
        if kept is None:
            self.progress.say(f"reading {data.source}")
            self.executor.submit("statistics", work.statistics_of, self.search.experiment)
            kept = json.dumps(collect(self.executor, 1)["statistics"])
            self.store.write_fact("statistics", kept)
        mean, std = json.loads(kept)
        return mean, std

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
            kept = self.store.fact(fact)
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
                raise UserError(f"{key}: the range test failed ({outcome.error}); set trials.learning_rate otherwise")
            return
        if outcome.error is None:
            value = outcome.value
            self.store.finish(key, value["rows"], value["seconds"], value["peak_bytes"])
            self.results[key] = self._value(key, value["rows"])
            if key.epochs >= self.search.experiment.training.epochs:
                shutil.rmtree(self.place(key) / "checkpoints", ignore_errors=True)
        elif outcome.died and self.store.died(key) < self.search.trials.attempts:
            self.progress.say(f"{self.networks[key.candidate].label}, fold {key.fold}: {outcome.error}; starts again")
        else:
            self.store.fail(key, outcome.error)
            self.results[key] = None
            self.progress.say(f"{self.networks[key.candidate].label}, fold {key.fold}: failed: {outcome.error}")

    def _value(self, job: Job, rows: Sequence[Mapping[str, float]]) -> float:
        return self.objective.value(rows[-1], self.networks[job.candidate].cost.macs)
