"""Trials of learning rates and networks, with an executor that trains nothing."""

import dataclasses
import io
import signal

import pytest
from rich.console import Console

from tfeff import config
from tfeff.config.search import HELD_OUT_RATES
from tfeff.errors import Interrupted, UserError
from tfeff.execution.executor import DISK_FULL, Outcome
from tfeff.training.interruption import Interruption
from tfeff.trials import worker
from tfeff.trials.allocation import Full, Halving
from tfeff.trials.learning_rates import RateCall
from tfeff.trials.progress import TrialProgress
from tfeff.trials.results import Job, TrialObjective
from tfeff.trials.runner import TrialRunner
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate, Trial

EPOCHS = 4
FOLDS = config.Folds(count=2, examples=100)


class Recorder:
    """An executor whose calls end in the order of submission; `error` maps a call to an outcome's error, or None.

    The accuracy of a training is its learning rate.
    """

    slots = 2

    def __init__(self, error=lambda key: None):
        self.error, self.calls, self._queue = error, [], []

    def submit(self, key, function, *arguments):
        assert len(self._queue) < self.slots
        assert key not in {waiting for waiting, *_ in self._queue}
        self.calls.append((key, function, arguments))
        self._queue.append(self.calls[-1])

    def wait(self, timeout):
        key, function, arguments = self._queue.pop(0)
        error = self.error(key)
        if error is not None:
            return [Outcome(key, error=error, retryable=error == "lost")]
        if function is worker.range_test:
            return [Outcome(key, 0.125)]
        if function is worker.held_out:
            rate = arguments[0].experiment.optimizer.learning_rate
            return [Outcome(key, (0.5 - abs(rate - 0.25), None) if rate < 0.5 else (None, "diverged"))]
        if function is worker.training_statistics:
            return [Outcome(key, ([0.5], [0.25]))]
        trial, _, epochs, _ = arguments
        accuracy = trial.experiment.optimizer.learning_rate
        rows = [{"epoch": epoch, "validation_accuracy": accuracy} for epoch in range(1, epochs + 1)]
        return [Outcome(key, {"rows": rows, "seconds": 1.0, "peak_bytes": None})]

    @property
    def running(self):
        return [key for key, *_ in self._queue]

    @property
    def jobs(self):
        return [key for key, *_ in self.calls if isinstance(key, Job)]


def candidate(name, learning_rate):
    experiment = config.Experiment(
        optimizer=config.Optimizer(learning_rate=learning_rate), training=config.Training(epochs=EPOCHS)
    )
    return Candidate(name, name.upper(), experiment, macs=1000)


@pytest.fixture
def make_runner(tmp_path):
    stores = []

    def make(executor, **trials):
        stores.append(TrialStore(tmp_path / "trials.sqlite", config.Search(folds=FOLDS), ("trials.",)))
        settings = config.Trials(**trials)
        progress = TrialProgress(Console(file=io.StringIO()))
        return TrialRunner(tmp_path, FOLDS, settings, stores[-1], executor, TrialObjective(), progress, Interruption())

    yield make
    for store in stores:
        store.close()


def test_trials_are_stored_and_not_repeated(make_runner):
    first, second = Recorder(), Recorder()
    runner = make_runner(first)
    plan = runner.run([candidate("a", 0.1), candidate("b", 0.2)], Full(EPOCHS), "stage")
    assert plan.done
    assert sorted(first.jobs) == [Job(name, fold, 0, EPOCHS) for name in "ab" for fold in (0, 1)]
    assert runner.results == {job: {"a": 0.1, "b": 0.2}[job.candidate] for job in first.jobs}
    for key, _, (trial, directory, epochs, _) in first.calls:
        assert (trial.experiment.data.fold, trial.experiment.data.folds, epochs) == (key.fold, key.fold + 1, EPOCHS)
        assert directory.endswith(f"trials/{key.candidate}/fold{key.fold}-seed0")
    resumed = make_runner(second)
    assert resumed.seconds == dict.fromkeys(first.jobs, 1.0)
    assert resumed.ended == runner.ended == set(first.jobs)
    resumed.run([candidate("b", 0.2), candidate("c", 0.3)], Full(EPOCHS), "stage")
    assert {job.candidate for job in second.jobs} == {"c"}


def test_callers_can_do_something_while_trials_run(make_runner):
    runner, checks = make_runner(Recorder()), []
    runner.on_check = lambda: checks.append(1)
    runner.run([candidate("a", 0.1)], Full(EPOCHS), "stage")
    assert checks


def test_the_first_candidate_of_a_name_is_trained(make_runner):
    runner = make_runner(Recorder())
    runner.run([candidate("a", 0.1), candidate("a", 0.2)], Full(EPOCHS), "first")
    runner.run([candidate("a", 0.3), candidate("b", 0.4)], Full(EPOCHS), "second")
    assert {job.candidate: value for job, value in runner.results.items()} == {"a": 0.1, "b": 0.4}


def test_every_rung_of_halving_is_a_complete_training(make_runner, tmp_path):
    executor = Recorder()
    runner = make_runner(executor)
    for trial in ("a/fold0-seed0-epochs2", "a/fold1-seed0-epochs2", "b/fold0-seed0-epochs2", "b/fold0-seed0"):
        (tmp_path / "trials" / trial / "checkpoints").mkdir(parents=True)
    plan = runner.run([candidate("a", 0.1), candidate("b", 0.2)], Halving(EPOCHS, 2, 2), "stage")
    assert set(plan.eliminated) == {"a"}
    trained = {(key.candidate, key.epochs): call for key, _, call in executor.calls}
    assert set(trained) == {("a", 2), ("b", 2), ("b", 4)}
    for (name, epochs), (trial, directory, until, _) in trained.items():
        assert trial.experiment.training.epochs == until == epochs  # its schedule ends there
        assert directory.endswith(f"{name}/fold1-seed0" + "-epochs2" * (epochs == 2))
    assert not list(tmp_path.rglob("checkpoints"))


class Counted(Halving):
    """Successive halving that counts its plans."""

    plans = 0

    def plan(self, *arguments):
        type(self).plans += 1
        return super().plan(*arguments)


def test_plans_are_made_when_processes_would_be_idle_not_after_each_trial(make_runner, monkeypatch):
    monkeypatch.setattr(Counted, "plans", 0)
    monkeypatch.setattr("tfeff.trials.progress.remaining_jobs", lambda *_: [])
    executor = Recorder()
    plan = make_runner(executor).run(
        [candidate(f"c{number}", 0.01 * number) for number in range(1, 41)], Counted(EPOCHS, 2, 2), "stage"
    )
    assert len(executor.jobs) == len(set(executor.jobs)) == 2 * 40 + 2 * 20
    assert set(plan.eliminated) == {f"c{number}" for number in range(1, 21)}
    assert Counted.plans <= 10


def test_a_free_worker_continues_with_the_network_that_it_has_just_trained(make_runner):
    executor = Recorder()
    executor.slots = 1
    make_runner(executor).run([candidate(name, 0.1) for name in "abc"], Full(EPOCHS), "stage")
    assert [(job.candidate, job.fold) for job in executor.jobs] == [(name, fold) for name in "abc" for fold in (0, 1)]


def test_a_held_out_part_chooses_each_learning_rate(make_runner, tmp_path):
    executor = Recorder()
    runner = make_runner(executor, learning_rate="held_out")
    (tmp_path / "trials" / "b" / "rate0.6").mkdir(parents=True)
    runner.run([candidate("a", 0.1), candidate("b", 0.2)], Full(EPOCHS), "stage")
    calls = {key: call for key, function, call in executor.calls if function is worker.held_out}
    assert [round(key.rate, 3) for key in calls if key.candidate == "a"] == [0.1, 0.033, 0.3, 0.9]
    assert [round(key.rate, 3) for key in calls if key.candidate == "b"] == [0.2, 0.067, 0.6]
    trial, objective, macs, directory = calls[RateCall("b", 0.2 * 3)]
    experiment = trial.experiment
    assert experiment.optimizer.learning_rate == 0.2 * 3
    assert experiment.training.epochs == EPOCHS
    assert (experiment.data.fold, experiment.data.validation_split) == (0, None)
    assert (objective, macs) == (TrialObjective(), 1000)
    assert directory == str(tmp_path / "trials" / "b" / "rate0.6")
    assert not (tmp_path / "trials" / "b" / "rate0.6").exists()
    # The accuracy of a training is its learning rate.
    assert {job.candidate: value for job, value in runner.results.items()} == {"a": 0.1 * 3, "b": 0.2}
    assert [value for _, value in runner.tried_rates["b"]] == [pytest.approx(0.45), pytest.approx(0.25 + 0.2 / 3), None]


def test_rates_that_were_tried_before_an_interruption_are_not_tried_again(make_runner):
    class Stopped(Recorder):
        def wait(self, timeout):
            if len(self.calls) > 3:
                runner.interruption.signal_number = signal.SIGTERM
            return super().wait(timeout)

    first, second = Stopped(), Recorder()
    runner = make_runner(first, learning_rate="held_out")
    with pytest.raises(Interrupted):
        runner.run([candidate("a", 0.2)], Full(EPOCHS), "stage")
    make_runner(second, learning_rate="held_out").run([candidate("a", 0.2)], Full(EPOCHS), "stage")
    tried = [{key for key, function, _ in side.calls if function is worker.held_out} for side in (first, second)]
    assert tried == [{RateCall("a", 0.2), RateCall("a", 0.2 / 3), RateCall("a", 0.2 * 3)}, set()]


def test_only_the_learning_rate_whose_training_is_lost_is_tried_again(make_runner):
    lost = RateCall("a", 0.2 / 3)
    executor = Recorder(lambda key: "lost" if key == lost and [k for k, *_ in executor.calls].count(lost) < 2 else None)
    runner = make_runner(executor, learning_rate="held_out")
    runner.run([candidate("a", 0.2)], Full(EPOCHS), "stage")
    tried = [key for key, function, _ in executor.calls if function is worker.held_out]
    assert sorted(tried, key=lambda call: call.rate) == [lost, lost, RateCall("a", 0.2), RateCall("a", 0.2 * 3)]
    assert set(runner.results.values()) == {0.2}


def test_no_call_is_left_running_at_the_end(make_runner):
    """Not even another learning rate of a network that has failed."""
    executor = Recorder(lambda key: "no such file" if key == RateCall("a", 0.2) else None)
    runner = make_runner(executor, learning_rate="held_out")
    plan = runner.run([candidate("a", 0.2)], Full(EPOCHS), "stage")
    assert (set(plan.eliminated), executor.running) == ({"a"}, [])
    assert len(executor.calls) == 2


def test_progress_expects_the_trainings_that_find_learning_rates(make_runner, monkeypatch):
    executor = Recorder(lambda key: "no such file" if key == RateCall("b", 0.2) else None)
    runner = make_runner(executor, learning_rate="held_out")
    expected = []
    monkeypatch.setattr(runner.progress, "show", lambda *arguments: expected.append(arguments[-1]()))
    runner.run([candidate("a", 0.2), candidate("b", 0.2)], Full(EPOCHS), "stage")
    share = 1 - FOLDS.validation_fraction
    assert expected[0] == {"a": HELD_OUT_RATES * share, "b": HELD_OUT_RATES * share}
    assert [each.get("a", 0) for each in expected] == sorted((each.get("a", 0) for each in expected), reverse=True)
    assert expected[-1] == {}
    errors = {record.error for record in runner.store.records() if record.job.candidate == "b"}
    assert errors == {"no learning rate was found: no such file"}


def test_members_can_run_on_further_folds(make_runner):
    executor = Recorder()
    runner = make_runner(executor)
    runner.run([candidate("a", 0.1)], Full(EPOCHS), "members", FOLDS.further)
    assert [(job.fold, job.seed) for job in executor.jobs] == [(2, 0), (3, 0)]


def test_an_interruption_keeps_what_has_finished_and_counts_no_lost_attempt(make_runner):
    class Stopped(Recorder):
        def wait(self, timeout):
            runner.interruption.signal_number = signal.SIGINT
            return [*super().wait(timeout), *super().wait(timeout)]

    runner = make_runner(Stopped(lambda key: "lost" if key.fold else None))
    with pytest.raises(Interrupted):
        runner.run([candidate("a", 0.1)], Full(EPOCHS), "stage")
    assert [(record.state, record.deaths) for record in runner.store.records()] == [("done", 0), ("running", 0)]


@pytest.mark.parametrize(("error", "attempts"), [("lost", 3), ("no such dataset", 1)])
def test_lost_trials_are_retried_and_other_errors_are_final(make_runner, error, attempts):
    executor = Recorder(lambda key: error if key.candidate == "a" else None)
    runner = make_runner(executor, attempts=3)
    plan = runner.run([candidate("a", 0.1), candidate("b", 0.2)], Full(EPOCHS), "stage")
    assert executor.jobs.count(Job("a", 0, 0, EPOCHS)) == attempts
    assert set(plan.eliminated) == {"a"}
    assert {record.error for record in runner.store.records() if record.has_failed} == {error}


@pytest.mark.parametrize(("error", "attempts"), [("lost", 2), ("no such dataset", 0)])
def test_lost_trials_are_trained_again_with_more_attempts(make_runner, error, attempts):
    """The machine may have more memory than before."""
    job = Job("a", 0, 0, EPOCHS)
    for executor, allowed, expected in (
        (Recorder(lambda key: error), 3, 3 if attempts else 1),
        (Recorder(), 3, 0),
        (Recorder(lambda key: error), 5, attempts),
        (Recorder(), 6, min(attempts, 1)),
    ):
        runner = make_runner(executor, attempts=allowed)
        runner.run([candidate("a", 0.1)], Full(EPOCHS), "stage")
        assert executor.jobs.count(job) == expected
    assert (runner.results[job] is None) == (error != "lost")


@pytest.mark.parametrize("rule", ["range_test", "held_out"])
@pytest.mark.parametrize(("error", "attempts"), [("lost", 2), ("no such dataset", 0)])
def test_lost_learning_rates_are_sought_again_with_more_attempts(make_runner, rule, error, attempts):
    call = RateCall("a", None if rule == "range_test" else 0.2)
    for executor, allowed, expected in (
        (Recorder(lambda key: error if key == call else None), 3, 3 if attempts else 1),
        (Recorder(), 3, 0),
        (Recorder(lambda key: error if key == call else None), 5, attempts),
        (Recorder(), 6, min(attempts, 1)),
    ):
        runner = make_runner(executor, attempts=allowed, learning_rate=rule)
        runner.run([candidate("a", 0.2)], Full(EPOCHS), "stage")
        assert [key for key, *_ in executor.calls].count(call) == expected
    assert set(runner.results.values()) == ({None} if error != "lost" else {0.125 if rule == "range_test" else 0.2})


@pytest.mark.parametrize("count", [1, 5])
def test_the_last_trial_is_retried(make_runner, count):
    died = list[Job]()

    def lose(key: Job) -> str | None:
        if key.candidate == f"c{count - 1}" and not died:
            died.append(key)
            return "lost"
        return None

    executor = Recorder(lose)
    plan = make_runner(executor, attempts=3).run([candidate(f"c{n}", 0.1) for n in range(count)], Full(EPOCHS), "stage")
    assert not plan.eliminated
    assert executor.jobs.count(died[0]) == 2


def test_a_full_disk_ends_the_run(make_runner):
    with pytest.raises(UserError, match="free some space"):
        make_runner(Recorder(lambda key: DISK_FULL)).run([candidate("a", 0.1)], Full(EPOCHS), "stage")


def test_a_range_test_finds_the_learning_rate_once_per_candidate(make_runner):
    for expected in (1, 0):  # a second runner reads it from the store
        executor = Recorder()
        runner = make_runner(executor, learning_rate="range_test")
        runner.run([candidate(f"a{expected}", 0.1), candidate("b", 0.2)], Full(EPOCHS), "stage")
        assert set(runner.results.values()) == {0.125}
        assert (set(runner.learning_rates.values()), runner.tried_rates) == ({0.125}, {})
        assert sum(key == RateCall("b") for key, *_ in executor.calls) == expected


def test_a_single_candidate_can_have_its_rate_tested(make_runner):
    for expected in (1, 0):  # a second runner reads it from the store
        executor = Recorder()
        runner = make_runner(executor, learning_rate="fixed")
        tested = dataclasses.replace(candidate("b", 0.2), tests_rates=True)
        runner.run([candidate("a", 0.1), tested], Full(EPOCHS), "stage")
        assert {job.candidate: value for job, value in runner.results.items()} == {"a": 0.1, "b": 0.125}
        assert runner.learning_rates == {"b": 0.125}
        assert [key for key, *_ in executor.calls if isinstance(key, RateCall)] == [RateCall("b")] * expected


def test_a_failed_range_test_fails_the_trials(make_runner):
    executor = Recorder(lambda key: "diverged" if key == RateCall("a") else None)
    runner = make_runner(executor, learning_rate="range_test")
    plan = runner.run([candidate("a", 0.1), candidate("b", 0.2)], Full(EPOCHS), "stage")
    assert set(plan.eliminated) == {"a"}
    assert "a" not in {job.candidate for job in executor.jobs}


def test_channel_statistics_are_computed_once_and_written_out(make_runner):
    data = config.Data(channels=1, normalization="dataset")
    experiment = config.Experiment(data=data, training=config.Training(precision="float32"))
    executor = Recorder()
    runner = make_runner(executor)
    resolved = runner.resolve(Trial(experiment), Trial(experiment))
    assert (list(resolved.model.mean), list(resolved.model.std)) == ([0.5], [0.25])
    assert runner.resolve(Trial(experiment), Trial(experiment)) == resolved
    assert len(executor.calls) == 1
