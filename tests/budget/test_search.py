"""Complete budget searches from the command line: an answer, its certainty, and restarts."""

import contextlib
import dataclasses
import html
import json
import random
import re
import shlex
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

from tests.budget.test_verification import right_by_hand
from tests.thoroughness import THOROUGH, only_thorough, thorough
from tests.trials.one_process import IN_ONE_PROCESS
from tests.verbs import Process, Verbs
from tfeff import config, training
from tfeff.budget.search import STORE, _Reporter, open_store
from tfeff.errors import UserError
from tfeff.recipes import own
from tfeff.scaling.search import open_store as scaling_store
from tfeff.trials.results import Job
from tfeff.trials.trial import Candidate

pytestmark = pytest.mark.slow

START = """
from tfeff.config import *

def get_config():
    return Experiment(
        model=architecture("resnet", width=8, stage_blocks=(1, 1), resolution=8),
        data=Data(source="embedded:digits", channels=1, train_split="test", test_split=None),
        training=Training(epochs=3, batch_size=32, precision="float32", deterministic=True),
        optimizer=Optimizer(learning_rate=0.05),
        schedule=Schedule(name="cosine"),
    )
"""
CONFIG = """
from tfeff.config import *

def get_config():
    return BudgetSearch(
        experiment=Experiment(
            model=architecture("resnet", width=8, stage_blocks=(1, 1), resolution=8),
            data=Data(source="embedded:digits", channels=1, validation_fraction=0.0),
            training=Training(epochs=2, batch_size=32, precision="float32", deterministic=True),
        ),
        budget=Limits(params="0.9x", minutes=10),
        candidates=Candidates(
            starts=("{start}",), widths=(1.0, 0.75, 0.5), depths=(1.0,), resolutions=(1.0,), scratch=False
        ),
        folds=Folds(kind="independent", count=2, examples=200),
        objective=Objective({margin}),
    )
"""


def test_trainings_in_this_process_count_as_time_of_the_search():
    ticks = []
    reporter = _Reporter(lambda: ticks.append(1), Console())
    reporter.start(10, 0)
    reporter.advance(5, 100.0, 0.5)
    reporter.epoch({"epoch": 1, "step": 5, "images_per_second": 100.0, "train_loss": 0.5}, 2)
    assert len(ticks) == 2


@pytest.fixture(scope="module")
def trained(verbs, tmp_path_factory) -> Path:
    """A run to start from."""
    directory = tmp_path_factory.mktemp("start")
    (directory / "config.py").write_text(START)
    verbs("train", f"--config={directory / 'config.py'}", f"--workdir={directory / 'run'}", "--noevaluate").succeeds()
    return directory / "run"


def start(
    verbs: Verbs, trained: Path, directory: Path, *flags: str, margin: str = "", figures: bool = False
) -> Process:
    path = directory.parent / "config.py"
    path.write_text(CONFIG.format(start=trained, margin=margin) + ("" if THOROUGH else IN_ONE_PROCESS))
    flags = flags if any("executor" in flag for flag in flags) else ("--processes=1", *flags)
    return verbs.start("search", f"--config={path}", f"--workdir={directory}", *flags, figures=figures)


def finish(verbs: Verbs, trained: Path, directory: Path, *flags: str, margin: str = "", figures: bool = False) -> str:
    done = start(verbs, trained, directory, *flags, margin=margin, figures=figures).done().succeeds()
    return done.out + done.err


@pytest.fixture(scope="module")
def whole(verbs, trained, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "search"
    directory.with_suffix(".txt").write_text(finish(verbs, trained, directory, figures=True))
    return directory


def test_the_answer_meets_the_budget_and_says_how_good_it_is(whole, trained):
    text = whole.with_suffix(".txt").read_text()
    result = json.loads((whole / "result.json").read_text())
    networks = {row["id"]: row for row in result["networks"]}
    chosen = networks[result["chosen"]]
    assert chosen["stage"] == "chosen"
    assert chosen["costs"]["params"] <= result["bounds"]["params"]
    assert result["answer"] in " ".join(text.split())
    assert re.search(r"On the test images: accuracy \d+\.\d % \(95 % interval", result["answer"])
    assert "as exported (saved_model) and as trained." in result["answer"]
    assert result["exported_evaluation"]["top1"] == result["evaluation"]["top1"]
    assert result["export_loss"]["low"] < 0 < result["export_loss"]["high"]
    assert 0 < result["minutes"]["taken"] < result["minutes"]["given"] == 10
    assert result["answer"].endswith(f"The search took {result['minutes']['taken']:.1f} minutes of 10.")
    assert len(chosen["values"]) == 2
    report = html.unescape((whole / "report.html").read_text()).replace("\u00a0", " ")
    assert result["answer"] in report
    assert '<a href="best/report.html">' in report
    assert (whole / "best" / "report.html").is_file()
    first, *_, last = result["prospects"]
    assert (first["with"], last["with"]) == ("as it is", "twice the epochs")
    assert first["accuracy"] == pytest.approx(chosen["mean"])
    assert re.search(r"Twice the images would add .* As a check, .* was measured", result["answer"])
    assert result["labels"]["low"] < result["labels"]["high"]
    assert result["failed_trials"] == []
    assert f"{result['labels']['suspects']:,} look wrong" in result["answer"]
    for name in ("params", "macs"):
        assert (whole / "figures" / f"{name}.png").stat().st_size > 10_000


def test_every_network_has_a_fate(whole):
    result = json.loads((whole / "result.json").read_text())
    stages = {(row["width"], row["stage"]) for row in result["networks"]}
    assert (1.0, "budget") in stages  # it has all parameters of the baseline
    assert all(row["reason"] for row in result["networks"])
    assert sum(stage == "chosen" for _, stage in stages) == 1


def test_without_a_margin_smaller_networks_of_the_same_start_are_left_out(whole):
    result = json.loads((whole / "result.json").read_text())
    reasons = {row["width"]: (row["stage"], row["reason"]) for row in result["networks"]}
    assert reasons[0.5][0] == "larger"
    assert "width 0.75" in reasons[0.5][1]


def test_the_choice_is_an_ordinary_run(whole, verbs):
    exported = json.loads((whole / "result.json").read_text())["exported"]
    assert (Path(exported) / "saved_model.pb").is_file()
    done = verbs("evaluate", f"--workdir={whole / 'best'}", "--split=test").succeeds()
    accuracy = json.loads((whole / "best" / "evaluation_test.json").read_text())["top1"]
    assert accuracy == json.loads((whole / "result.json").read_text())["evaluation"]["top1"], done.out


def test_the_choice_is_trained_on_all_training_images(whole):
    trained_on = config.saved(whole / "best", config.Experiment).data
    assert trained_on.folds is None
    assert trained_on.validation_fraction == 0.0


@only_thorough
def test_a_finished_search_answers_again_without_training(verbs, trained, whole):
    with open_store(whole, None) as store:
        before = {record.job: record.seconds for record in store.records()}
    text = finish(verbs, trained, whole)
    with open_store(whole, None) as store:
        assert {record.job: record.seconds for record in store.records()} == before
    assert json.loads((whole / "result.json").read_text())["answer"] in " ".join(text.split())


def outcome(directory: Path) -> dict:
    """Returns the results that do not depend on timing."""
    result = json.loads((directory / "result.json").read_text())
    result["answer"] = re.sub(r"The search took .*", "", result["answer"])
    for key in ("exported", "minutes"):
        result.pop(key)
    for row in (result, *result["networks"]):
        row["costs"] = {name: row["costs"][name] for name in ("macs", "params", "memory")}
        row.pop("reason", None)
    return result


@only_thorough
def test_a_search_killed_again_and_again_gives_the_same_answer(verbs, trained, whole, tmp_path):
    directory, moments = tmp_path / "search", random.Random(7)
    for number in range(3 + THOROUGH):
        process = start(verbs, trained, directory, f"--processes={1 + number % 2}")
        time.sleep(moments.uniform(8, 30))
        moments.choice([process.kill, process.kill_all])()
    finish(verbs, trained, directory)
    assert outcome(directory) == outcome(whole)


def finished_trials(directory: Path) -> int:
    """Returns how many trials a search that may be running has stored as finished."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{directory / STORE}?mode=ro", uri=True)) as store:
            return store.execute("SELECT COUNT(*) FROM trials WHERE state = 'done'").fetchone()[0]
    except sqlite3.OperationalError:  # there is no store yet, or no table
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, thorough(signal.SIGTERM)])
def test_a_search_that_is_stopped_ends_with_the_best_so_far(verbs, trained, tmp_path, number):
    directory = tmp_path / "search"
    search = start(verbs, trained, directory, "--config.budget.minutes=20", margin="margin=0.02")
    while not finished_trials(directory):
        assert search.poll() is None, search.done()
        time.sleep(0.1)
    search.signal(number)
    stopped = search.done()
    assert stopped.code == 128 + number
    assert "rerun the same command to resume" in stopped.err
    found = re.search(
        r"best so far: (.*), mean validation accuracy 0\.\d+ .*; to train and export it now:\n(.*)", stopped.err
    )
    assert found, stopped.err
    label, command = found.groups()
    python, dash, module, *flags = shlex.split(command)
    assert (python, dash, module) == ("python", "-m", "tfeff.search")
    assert not (directory / "result.json").exists()
    with open_store(directory, None) as store:
        ended = {record.job for record in store.records()}
    verbs("search", *flags).succeeds()
    result = json.loads((directory / "result.json").read_text())
    chosen = next(row for row in result["networks"] if row["id"] == result["chosen"])
    assert chosen["name"] == label
    assert result["minutes"]["given"] < 20
    assert (Path(result["exported"]) / "saved_model.pb").is_file()
    with open_store(directory, None) as store:
        assert {record.job for record in store.records()} == ended  # nothing else was trained on a fold


def test_int8_is_evaluated_as_it_is_exported(verbs, trained, tmp_path):
    form = "--config.budget.format=litert", "--config.budget.precision=int8", "--config.forecast=false"
    finish(verbs, trained, tmp_path / "search", *form)
    result = json.loads((tmp_path / "search" / "result.json").read_text())
    workdir = training.Workdir(tmp_path / "search" / "best")
    plan = training.Plan.opened(workdir)
    images = training.split_images(workdir, plan.images, "test", training.Reporter(quiet=True)).images
    right = right_by_hand(Path(result["exported"]) / "model.tflite", images)
    assert result["exported_evaluation"]["top1"] == pytest.approx(right.mean())
    assert f"accuracy {100 * right.mean():.1f} % (95 % interval" in result["answer"]
    assert "as exported (litert, int8)" in result["answer"]


@only_thorough
def test_two_processes_give_the_same_answer(verbs, trained, whole, tmp_path):
    finish(verbs, trained, tmp_path / "search", "--processes=2")
    assert outcome(tmp_path / "search") == outcome(whole)


@only_thorough
def test_a_cluster_that_loses_a_machine_gives_the_same_answer(verbs, trained, whole, tmp_path):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    directory = tmp_path / "search"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = cluster.add_node(num_cpus=1)
        search = start(verbs, trained, directory, "--executor=ray", f"--ray_address={cluster.address}")
        while not list((directory / "trials").rglob("step_*.npz")):
            assert search.poll() is None, search.done()
            time.sleep(0.3)
        cluster.remove_node(other, allow_graceful=False)
        search.done().succeeds()
    finally:
        cluster.shutdown()
    assert outcome(directory) == outcome(whole)


@only_thorough
def test_without_time_one_candidate_is_trained_on_one_fold_and_the_answer_says_so(verbs, trained, tmp_path):
    finish(verbs, trained, tmp_path / "search", "--config.budget.minutes=0.001", margin="margin=0.02")
    result = json.loads((tmp_path / "search" / "result.json").read_text())
    assert sum(len(row["values"]) for row in result["networks"]) == 1
    assert "The time was over before the networks were compared on all folds" in result["answer"]
    assert (result["prospects"], result["labels"]) == ([], None)
    assert re.search(r"There is no forecast .*: no time was left; .* \(budget.minutes=\d+\)\.$", result["answer"])


def test_a_search_resumes_with_other_networks_but_not_with_another_rule_of_training(tmp_path):
    with open_store(tmp_path, config.BudgetSearch()) as store:
        store.start(Job("network", 0, 0, 1))
    open_store(tmp_path, config.override(config.BudgetSearch(), {"candidates.widths": (1.0,)})).close()
    candidate = Candidate("network", "network", config.Experiment(), 1)
    renamed = config.override(candidate.experiment, {"data.test_split": "holdout"})
    with open_store(tmp_path, config.BudgetSearch()) as store:
        store.add_candidates([candidate])
    with open_store(
        tmp_path, config.override(config.BudgetSearch(), {"experiment.data.test_split": "holdout"})
    ) as store:
        store.add_candidates([dataclasses.replace(candidate, experiment=renamed)])  # no trial depends on it
        longer = config.override(renamed, {"training.epochs": 3})
        with pytest.raises(UserError, match="were trained differently"):
            store.add_candidates([dataclasses.replace(candidate, experiment=longer)])
    with pytest.raises(UserError, match=r"candidates\.training: saved 'experiment', now 'rules'"):
        open_store(tmp_path, config.override(config.BudgetSearch(), {"candidates.training": "rules"}))


def test_the_workdir_of_another_kind_of_search_is_refused(tmp_path):
    open_store(tmp_path, config.BudgetSearch()).close()
    with pytest.raises(UserError, match=r"another kind of search.* choose another --workdir"):
        scaling_store(tmp_path, config.Search())


def test_the_workdir_of_a_run_is_refused(verbs, trained):
    start(verbs, trained, trained).done().fails_with("it holds the results of a run (config.json)")


def test_a_budget_that_no_network_meets_is_refused_at_once(verbs, trained, tmp_path):
    done = start(verbs, trained, tmp_path / "search", "--config.budget.params=0.01x").done()
    done.fails_with("none of 3 networks meets it; the closest")
    assert not (tmp_path / "search" / "trials").exists()


def test_a_dry_run_lists_the_networks(verbs, trained, tmp_path):
    text = finish(verbs, trained, tmp_path / "search", "--dry_run", margin="margin=0.02")
    assert "2 of 3 networks compete within params" in text  # with a margin, smaller ones may be preferred
    assert (tmp_path / "search" / STORE).is_file()


def test_without_a_teacher_images_without_labels_are_listed_for_labeling(verbs, trained, whole, tmp_path):
    unlabeled, directory = tmp_path / "unlabeled", tmp_path / "search"
    unlabeled.mkdir()
    for number, pixels in enumerate(load_digits().images[:16]):
        Image.fromarray(np.uint8(pixels * 15)).save(unlabeled / f"{number}.png")
    shutil.copytree(whole, directory)  # nothing has to be trained again
    assert "trained on all images" not in finish(verbs, trained, directory, f"--config.data.unlabeled={unlabeled}")
    result = json.loads((directory / "result.json").read_text())
    table = directory / "best" / "analysis" / "label_next.csv"
    words = f"Labels of 16 of the 16 images of {unlabeled} would teach it most"
    assert words in result["answer"]
    assert f"{table} lists them." in result["answer"]
    assert result["to_label"] == str(table)
    assert len(table.read_text().splitlines()) == 17
    assert 'href="best/analysis/label_next.csv"' in (directory / "report.html").read_text()
    assert config.saved(directory / "best", config.Experiment).data.unlabeled is None


@only_thorough
def test_the_choice_imitates_a_larger_network(verbs, trained, tmp_path):
    unlabeled = tmp_path / "unlabeled"
    unlabeled.mkdir()
    for number, pixels in enumerate(load_digits().images[:64]):
        Image.fromarray(np.uint8(pixels * 15)).save(unlabeled / f"{number}.png")
    directory = tmp_path / "search"
    flags = "--config.distill=true", f"--config.experiment.data.unlabeled={unlabeled}", "--config.forecast=false"
    assert "It imitates" in finish(verbs, trained, directory, *flags)
    (teacher,) = (directory / "teachers").iterdir()
    settings = config.saved(directory / "best", config.Experiment)
    assert settings.task.teacher.runs == (str(teacher),)
    assert settings.data.unlabeled == str(unlabeled)
    assert config.saved(teacher, config.Experiment).model.width_coefficient == 1.0
    assert settings.model.width_coefficient < 1.0
    trials = [config.saved(each.parent, config.Experiment) for each in (directory / "trials").rglob("config.json")]
    assert trials
    assert all(each.data.unlabeled is None and not each.task.teacher.runs for each in trials)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment.task.teacher.runs": ("efficientnet-lite2",)}, "may have seen the images"),
        ({"experiment.data.unlabeled": "photos", "experiment.task.name": "yolo"}, "omitted for detectors"),
        ({"experiment.task.teacher.variants": 4}, "networks compete without a teacher"),
        ({"distill": True, "experiment.task.name": "yolo"}, "false for detectors"),
        ({"distill": True, "experiment.training.resolution_factors": (0.5, 1.0)}, "false with .*resolution_factors"),
        ({"distill": True, "experiment.training.rematerialize": True}, "false with experiment.training.rematerialize"),
        ({"distill": True, "experiment.training.feature_variants": 2}, "false with .*feature_variants"),
        ({"distill": True, "experiment.training.quantization": "int8"}, "false with .*quantization"),
        (
            {"distill": True, "experiment.optimizer.unfreeze": ("1=*",), "candidates.training": "rules"},
            "false with experiment.optimizer.unfreeze, unless you set optimizer.frozen",
        ),
    ],
)
def test_teachers_are_trained_by_the_search_alone(changes, message):
    with pytest.raises(UserError, match=message):
        config.override(config.BudgetSearch(), changes)


@pytest.mark.parametrize(("key", "value"), [("weights", "runs/mine"), ("dropout", 0.3), ("bn_momentum", 0.5)])
def test_values_of_the_baseline_without_effect_are_refused(key, value):
    base = own.budget("folder:x").base
    config.override(base, {"experiment.model.resolution": 96, "experiment.model.width_coefficient": 2.0})
    with pytest.raises(UserError, match=rf"experiment\.model\.{key}: omit it.*candidates\.starts"):
        config.override(base, {f"experiment.model.{key}": value})
