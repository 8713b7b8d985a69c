"""Searches that are repeated on stored trainings, in virtual time."""

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from tests.verbs import ROOT
from tfeff import config, models
from tfeff.budget import probing
from tfeff.budget.search import open_store
from tfeff.budget.study import Study
from tfeff.config import BudgetSearch, Candidates, Data, Experiment, Folds, Limits, Training, architecture
from tfeff.errors import UserError
from tfeff.trials import worker
from tfeff.trials.results import Job

NAMES = ("a", "b", "c")


@pytest.fixture
def replay(import_tool):
    return import_tool("regret_replay")


def recorded(replay, means, seconds=10.0, slots=2, folds=2):
    """Returns networks with these means over the folds; the trainings on the test images are worth a tenth."""
    trainings = {
        Job(name, fold, 0, 3): replay.Timed({"rows": [{"epoch": 3, "fold": fold}]}, seconds)
        for name in means
        for fold in range(folds)
    }
    values = {name: dict.fromkeys(range(folds), mean) for name, mean in means.items()}
    return replay.Recorded(
        {}, trainings, {name: replay.Timed(mean / 10, 5.0) for name, mean in means.items()}, values, slots
    )


def test_trainings_run_at_once_and_the_clock_is_that_of_the_one_that_ends(replay):
    found = recorded(replay, {"a": 0.5})
    long = {job: replay.Timed(each.value, 30.0 if job.fold else 10.0) for job, each in found.trainings.items()}
    executor = replay.Replay(dataclasses.replace(found, trainings=long), folds=[1, 0])
    for fold in range(2):
        executor.submit(Job("a", fold, 0, 3), worker.train)
    assert executor.wait(0.5)[0].value["rows"] == [{"epoch": 3, "fold": 0}]  # fold 1 of the search
    assert executor.clock == 10.0
    executor.submit(Job("a", 1, 0, 3), worker.train)
    executor.wait(0.5)
    assert executor.clock == 20.0
    executor.wait(0.5)
    assert executor.clock == 30.0
    assert executor.wait(0.5) == []


def test_random_search_trains_as_many_networks_as_time_allows(replay):
    found = recorded(replay, {"a": 0.5, "b": 0.9, "c": 0.7})
    # 10 s for both folds of a network, and 5 s for the final training

    def chosen(seconds, **options):
        return {replay.random_search(found, NAMES, seconds, seed, **options) for seed in range(20)}

    assert chosen(15.0) == {("a", 15.0), ("b", 15.0), ("c", 15.0)}
    assert chosen(25.0) == {("b", 25.0), ("c", 25.0)}
    assert chosen(35.0) == {("b", 35.0)}
    assert chosen(14.0) == {("a", 10.0), ("b", 10.0), ("c", 10.0)}  # one fold


def test_random_search_fold_by_fold_sees_more_networks(replay):
    found = recorded(replay, {"a": 0.5, "b": 0.9, "c": 0.7})
    assert {replay.random_search(found, NAMES, 20.0, seed, by_fold=True) for seed in range(20)} == {("b", 20.0)}
    values = {"a": {0: 0.5, 1: 0.9}, "b": {0: 0.55, 1: 0.95}}
    trainings = replay.Trainings(dataclasses.replace(found, values=values), 100.0)
    for name, folds in (("a", [0, 1]), ("b", [0])):
        assert trainings.add(name, folds)
    assert trainings.choice[0] == "b"  # better on the fold that they share


def test_steps_are_timed_as_in_the_stored_trainings(import_tool, replay):
    models = [architecture("resnet", width=width) for width in (8, 16)]
    steps = [(each, replay.Timed({"start": 1.0, "image": each.width}, 2.0)) for each in models]
    executor = replay.Replay(dataclasses.replace(recorded(replay, {"a": 0.5}), steps=steps), folds=[0])
    executor.submit("steps of a", worker.calibrate, SimpleNamespace(experiment=Experiment(model=models[1])))
    assert executor.wait(0.5)[0].value["image"] == 16
    assert executor.clock == 2.0
    rows = [{"seconds": 4.0}, {"seconds": 2.0}, {"seconds": 2.0}]
    record = SimpleNamespace(rows=rows, seconds=11.0)
    candidate = SimpleNamespace(experiment=Experiment(training=Training(batch_size=10)))
    found = import_tool("measure_regret").calibration(record, candidate, images=20, loading=1.0)
    assert found.value == {"start": 2.0, "image": 0.1}
    assert found.seconds == 2.0 + worker.TIMED_STEPS * 10 * 0.1


def test_a_probe_that_failed_fails_again(replay):
    executor = replay.Replay(recorded(replay, {"a": 0.5}), folds=[0])
    executor.submit("a", probing.probe)
    (outcome,) = executor.wait(0.5)
    assert (outcome.error, outcome.retryable) == ("its probe failed", False)


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(models, "imagenet_origin", lambda name: "a package")
    return BudgetSearch(
        experiment=Experiment(
            model=architecture("efficientnet-lite0", weights="imagenet", resolution=32),
            data=Data(source="embedded:digits", channels=3, image_size=32, validation_fraction=0.0),
            training=Training(epochs=3, batch_size=32, precision="float32"),
        ),
        candidates=Candidates(
            starts=("efficientnet-lite0",), widths=(1.0, 0.75, 0.5), depths=(1.0, 0.5), scratch=False, count=12
        ),
        folds=Folds(kind="classic", count=3, examples=None),
        budget=Limits(minutes=10),
    )


@pytest.fixture
def pool(import_tool, settings):
    return import_tool("measure_regret").Pool.of(settings, ["1x", "0.2x"])


def test_a_margin_is_refused(import_tool, settings, tmp_path):
    open_store(tmp_path, config.replaced(settings, {"objective.margin": 0.01})).close()
    with pytest.raises(UserError, match=r"objective\.margin: "):
        import_tool("measure_regret").replay(tmp_path, tmp_path / "out")


def test_trainings_are_not_shortened(replay, pool, monkeypatch):
    monkeypatch.setattr(Study, "may_shorten", True)

    def competition(study, *_):
        raise ValueError(f"shortened: {study.may_shorten}")

    monkeypatch.setattr(replay, "Competition", competition)
    with pytest.raises(ValueError, match="shortened: False"):
        replay.search(pool.studies["1x"], recorded(replay, {"a": 0.5}), 100.0, [0, 1])


def test_the_figure_shows_the_regret_on_test_images(import_tool):
    row = {"bound": "1x", "search": "random", "regret on folds, points": 9.0}
    rows = [{**row, "time": share, "regret on test images, points": -share} for share in (0.25, 0.5)]
    (panel,) = import_tool("measure_regret").drawn(rows).axes
    (line,) = [each for each in panel.lines if each.get_label() == "random"]
    assert line.get_ydata().tolist() == [-0.25, -0.5]
    assert panel.get_ylim()[0] < -0.5


def test_smaller_bounds_allow_fewer_networks_and_a_search_leaves_out_smaller_ones(pool):
    large, small = pool.within["1x"], pool.within["0.2x"]
    assert set(small) < set(large)
    assert set(pool.studies["1x"].shortlist) < set(large)
    assert max(pool.study.networks[name].cost.macs for name in small) <= pool.studies["0.2x"].bounds.values["macs"]


def test_with_enough_time_the_search_finds_the_best_network_and_with_little_it_keeps_to_it(replay, pool):
    study = pool.studies["1x"]
    rng = np.random.default_rng(0)
    trainings, values, finals = {}, {}, {}
    for name in pool.study.shortlist:
        mean, seconds = rng.uniform(0.6, 0.9), 10.0
        values[name] = {fold: mean + 0.001 * fold for fold in range(3)}
        finals[name] = replay.Timed(mean, seconds)
        for fold in range(3):
            rows = [{"epoch": epoch, "seconds": 3.0, "validation_accuracy": values[name][fold]} for epoch in (1, 2, 3)]
            value = {"rows": rows, "seconds": seconds, "peak_bytes": None}
            trainings[Job(name, fold, 0, 3)] = replay.Timed(value, seconds)
    probes = dict.fromkeys(pool.study.shortlist, replay.Timed({"correct": [True] * 50}, 1.0))
    steps = [(each.model, replay.Timed({"start": 1.0, "image": 0.01}, 2.0)) for each in pool.study.networks.values()]
    found = replay.Recorded(probes, trainings, finals, values, 2, steps)
    chosen, spent = replay.search(study, found, 10_000.0, [1, 2, 0])
    assert chosen == found.best(study.shortlist)
    _, spent = replay.search(study, found, 100.0, [0, 1, 2])
    assert spent <= 100.0


@pytest.mark.parametrize("name", ["bccd", "cifar10", "hymenoptera"])
def test_published_trainings_can_be_replayed(name, tmp_path):
    shutil.copy(ROOT / "docs" / "results" / f"regret_{name}.sqlite", tmp_path / "search.sqlite")
    with open_store(tmp_path, None) as store:
        config.from_json(store.fact("config"), BudgetSearch, where=name)
        for each in store.candidates():
            config.from_json(store.fact(f"experiment of {each}"), Experiment, where=each)
