"""Searches in which trainings fail, or networks turn out slower than estimated."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.budget.test_search import START
from tests.thoroughness import only_thorough
from tfeff import config, training
from tfeff.budget.competition import Competition
from tfeff.budget.search import open_store, run, watch
from tfeff.budget.study import Estimates, prepare
from tfeff.config import BudgetSearch, Candidates, Data, Experiment, Folds, Limits, Objective, Training, architecture
from tfeff.errors import UserError
from tfeff.execution.local import LocalProcesses
from tfeff.trials.allocation import JobPlan
from tfeff.trials.results import Job, TrialObjective
from tfeff.trials.trial import Candidate

ESTIMATED = {1.0: 0.009, 0.8: 0.007, 0.65: 0.005, 0.5: 0.003}
"""Width -> seconds."""
MEASURED = ESTIMATED | {0.8: 0.0085}


class Runner:
    """A runner that looks trainings up: network -> value on each fold, None if the training fails."""

    def __init__(self, values, said):
        self.values, self.results, self.seconds, self.rows = values, {}, {}, {}
        self.progress = SimpleNamespace(say=said.append)

    def run(self, group, lengths, stage, blocks):
        for each in group:
            for fold, seed in blocks:
                job = Job(each.name, fold, seed, each.experiment.training.epochs)
                self.results[job] = self.values[each.name][fold]
                self.seconds[job], self.rows[job] = 10.0, [{"seconds": 5.0}, {"seconds": 5.0}]
        return JobPlan((), {}, True)


def competition(values, minutes=None, seconds=0.0, metric="validation_accuracy"):
    """Returns a competition of networks whose values on the folds are known."""
    folds, said = max(map(len, values.values())), []
    settings = BudgetSearch(budget=Limits(minutes=minutes), folds=Folds(kind="independent", count=folds, examples=100))
    candidates = {name: Candidate(name, name.upper(), Experiment(training=Training(epochs=2)), 1000) for name in values}
    study = SimpleNamespace(
        settings=settings,
        detects=False,
        fates={},
        shortlist=list(values),
        candidate=lambda name, precision, pace: candidates[name],
        objective=TrialObjective(metric),
        bounds=SimpleNamespace(values={}),
        costs={name: {"macs": 1000.0} for name in values},
        validation_trials=1000.0,
    )
    store = SimpleNamespace(cached=lambda name, compute: compute())
    clock = SimpleNamespace(seconds=seconds, save=lambda: None)
    runner = Runner(values, said)
    found = Competition(study, store, SimpleNamespace(slots=1), runner, "float32", None, clock)
    found.said = said
    return found


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ({"a": (0.90, 0.89, 0.91), "b": (0.92, 0.91, None)}, ("b", "a")),
        ({"a": (0.90, None, 0.91), "b": (0.92, 0.91, None)}, ("b", "a")),
    ],
)
def test_a_network_whose_training_failed_on_a_fold_is_ranked(values, order):
    found = competition(values)
    found.compete()
    assert found.ranking().order == order
    assert (found.complete, found.fates) == (True, {})


def test_an_unbounded_metric_leaves_one_network():
    found = competition({"a": (-0.5, -0.51, -0.5), "b": (-9.0, -9.01, -9.0)}, metric="validation_loss")
    found.compete()
    assert {name: fate.stage for name, fate in found.fates.items()} == {"b": "race"}
    assert found.ranking().chosen == "a"


class Device:
    """A device with latencies by width, on which the first exported models take longer.

    Args:
        late: how many of them.
    """

    form = "on a device of the test"

    def __init__(self, late=0):
        self.late, self.exports = late, 0

    def estimated(self, networks, num_classes):
        return Estimates([{"latency": ESTIMATED[network.width]} for network in networks], {"latency": 0.1})

    def networks(self, networks, num_classes):
        for network in networks:
            yield {"latency": MEASURED[network.width]}

    def exported(self, path):
        assert path.is_dir()
        self.exports += 1
        return {"latency": 0.0081 if self.exports <= self.late else 0.004}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A run to start from, on other images."""
    directory = tmp_path_factory.mktemp("start")
    (directory / "config.py").write_text(START)
    settings = config.replaced(config.load(directory / "config.py", Experiment), {"training.epochs": 1})
    return training.train(settings, directory / "run").path


def searched(start, directory, device):
    settings = BudgetSearch(
        experiment=Experiment(
            model=architecture("resnet", width=8, stage_blocks=(1, 1), resolution=8),
            data=Data(source="embedded:digits", channels=1, validation_fraction=0.0, train_examples=None),
            training=Training(epochs=1, batch_size=32, precision="float32"),
        ),
        budget=Limits(latency="8ms", minutes=10),
        candidates=Candidates(
            starts=(str(start),), widths=tuple(ESTIMATED), depths=(1.0,), resolutions=(1.0,), scratch=False
        ),
        folds=Folds(kind="independent", count=2, examples=100),
        objective=Objective(margin=1.0),  # so that no candidate is dropped before it is trained on all folds
        forecast=False,
    )
    directory.mkdir()
    with open_store(directory, settings) as store, LocalProcesses(1, directory / "log") as executor:
        study = prepare(settings, device)
        return run(study, directory, store, executor, Console(file=io.StringIO()), device, watch(store))


@only_thorough
def test_a_choice_that_misses_the_budget_when_it_is_exported_gives_way_to_the_next_one(start, tmp_path):
    device = Device(late=1)
    found = searched(start, tmp_path / "search", device)
    stages = {found.study.networks[name].width: fate for name, fate in found.fates.items()}
    assert stages[1.0].stage == "budget"
    assert stages[0.8].stage == "measured"
    assert stages[0.8].reason == "exported and measured: a latency of 8.5 ms, above 8 ms"
    last = {stages[width].stage for width in (0.65, 0.5)}
    assert last == {"measured", "chosen"}
    missed = next(fate for fate in (stages[0.65], stages[0.5]) if fate.stage == "measured")
    assert missed.reason == "trained, exported and measured: a latency of 8.1 ms, above 8 ms"
    assert device.exports == 2
    assert found.delivered.costs["latency"] == 0.004
    assert (found.delivered.exported / "saved_model.pb").is_file()
    with pytest.raises(UserError, match="no finalist meets it when it is exported"):
        searched(start, tmp_path / "hopeless", Device(late=9))
