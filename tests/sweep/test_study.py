"""Complete sweeps from the command line: a grid, killed and resumed, extended, and other samplers."""

import importlib.util
import json
import time
from pathlib import Path

import pytest

from tests.thoroughness import only_thorough
from tests.trials.one_process import IN_ONE_PROCESS
from tests.verbs import Process, Verbs
from tfeff import config
from tfeff.trials.store import TrialStore

pytestmark = pytest.mark.slow

CONFIG = """
from tfeff.config import *

def get_config():
    return Sweep(
        experiment=Experiment(
            model=architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
            data=Data(source="embedded:digits", channels=1, train_examples=None),
            training=Training(epochs=2, batch_size=32, precision="float32", deterministic=True),
        ),
        axes={axes},
        folds=Folds(count=2, examples=150, validation_fraction=0.5),
        {more}
    )
"""
AXES = ("model.dropout=0|0.4", "optimizer.learning_rate=0.1|0.0001")


def start(
    verbs: Verbs,
    directory: Path,
    *flags: str,
    axes: tuple[str, ...] = AXES,
    more: str = "",
    end: str = "",
    figures: bool = False,
) -> Process:
    path = directory.parent / "config.py"
    path.write_text(CONFIG.format(axes=axes, more=more) + end)
    flags = (f"--config={path}", f"--workdir={directory}", "--processes=1", *flags)
    return verbs.start("search", *flags, figures=figures)


def results(directory: Path) -> dict:
    """Returns what does not depend on timing."""
    found = json.loads((directory / "result.json").read_text())
    found.pop("seconds_of_trials")
    found.pop("cost_curve")
    return found


def seconds(directory: Path) -> dict:
    """Returns seconds of every finished trial; a repeated trial would take a different time."""
    if not (directory / "sweep.sqlite").exists():
        return {}
    with TrialStore(directory / config.SWEEP_FILE, None) as store:
        return {record.job: record.seconds for record in store.records() if record.state == "done"}


@pytest.fixture(scope="module")
def grid(verbs: Verbs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("grid") / "sweep"
    directory.with_suffix(".txt").write_text(start(verbs, directory, figures=True).done().succeeds().out)
    return directory


def test_a_grid_ranks_its_candidates_and_writes_a_report(grid: Path) -> None:
    found = results(grid)
    assert len(found["candidates"]) == 4
    means = [row["mean"] for row in found["candidates"]]
    assert means == sorted(means, reverse=True)
    for row in found["candidates"]:
        assert len(row["values"]) == 2
        assert row["mean"] == pytest.approx(sum(row["values"]) / 2)
        assert row["epochs"] == 4
    assert found["sentence"] in grid.with_suffix(".txt").read_text()
    best = config.from_json((grid / "best.json").read_text(), config.Experiment)
    assert str(best.optimizer.learning_rate) == found["candidates"][0]["settings"]["optimizer.learning_rate"]
    assert best.data.folds is None
    report = (grid / "report.html").read_text()
    assert "learning_rate" in report
    for name in ("candidates", "effects", "cost", "map"):
        assert (grid / "figures" / f"{name}.png").stat().st_size > 8_000
    assert len(list((grid / "tensorboard").rglob("events*"))) == 8


def test_the_effect_of_a_value_is_a_mean_over_candidates_and_its_interval_is_over_folds(grid: Path) -> None:
    found = results(grid)
    rows = {
        tuple(row["settings"].values()): dict(zip(row["folds"], row["values"], strict=True))
        for row in found["candidates"]
    }
    dropout, _ = found["effects"]
    for effect in dropout["means"]:
        pair = [values for settings, values in rows.items() if settings[0] == effect["value"]]
        folds = {(fold, 0): (pair[0][fold] + pair[1][fold]) / 2 for fold in pair[0]}
        assert effect["mean"] == pytest.approx(sum(folds.values()) / 2)
        assert effect["low"] < min(folds.values()) <= max(folds.values()) < effect["high"]  # Student's t of two values
    assert [effect["value"] for effect in dropout["means"]] == dropout["order"] == ["0", "0.4"]


def test_an_extended_sweep_trains_only_what_is_new(verbs: Verbs, grid: Path) -> None:
    before = seconds(grid)
    axes = ("model.dropout=0|0.4|0.6", AXES[1])
    start(verbs, grid, "--config.objective.margin=0.9", axes=axes, end=IN_ONE_PROCESS).done().succeeds()
    assert "because a cheaper one is preferred only with 3 folds or more" in results(grid)["sentence"]
    after = seconds(grid)
    assert {job: after[job] for job in before} == before
    assert len(after) == 12


@only_thorough
def test_killed_and_resumed_it_finds_the_same(verbs: Verbs, grid: Path, tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    for wanted in (1, 4):
        process = start(verbs, directory)
        while len(seconds(directory)) < wanted and process.poll() is None:
            time.sleep(0.2)
        process.kill_all()
    kept = seconds(directory)
    assert kept
    start(verbs, directory).done().succeeds()
    assert {job: seconds(directory)[job] for job in kept} == kept
    whole = tmp_path / "whole"
    start(verbs, whole).done().succeeds()
    assert results(directory) == results(whole)


@only_thorough
@pytest.mark.parametrize(
    "more",
    [
        'sampler=Sampler(name="random", candidates=3)',
        pytest.param(
            'sampler=Sampler(name="bayesian", candidates=6, batch=2)',
            marks=pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="requires the extra bayesian"),
        ),
        'sampler=Sampler(name="random", candidates=4), allocation=Allocation(name="halving", reduction=2)',
    ],
)
def test_other_samplers_and_allocations(more: str, verbs: Verbs, tmp_path: Path) -> None:
    axes = ("model.dropout=0..0.5", "optimizer.learning_rate=1e-4~1e-1")
    start(verbs, tmp_path / "sweep", axes=axes, more=more).done().succeeds()
    found = results(tmp_path / "sweep")
    before = seconds(tmp_path / "sweep")
    start(verbs, tmp_path / "sweep", axes=axes, more=more).done().succeeds()
    assert seconds(tmp_path / "sweep") == before
    assert results(tmp_path / "sweep") == found
    assert len(found["candidates"]) == (6 if "bayesian" in more else 3 if "3" in more else 4)
    if "halving" in more:
        assert sorted(row["epochs"] for row in found["candidates"]) == [2, 2, 6, 6]
