"""Complete searches from the command line: killed, resumed, in local processes and on a cluster."""

import dataclasses
import html
import json
import random
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.thoroughness import THOROUGH, only_thorough
from tests.trials.one_process import IN_ONE_PROCESS
from tests.verbs import Process, Verbs
from tfeff import config, models
from tfeff.config.family import Family
from tfeff.config.search import HELD_OUT_RATES
from tfeff.errors import UserError
from tfeff.scaling.forecast import forecast
from tfeff.scaling.study import prepare
from tfeff.trials import progress
from tfeff.trials.progress import VALIDATION_SHARE
from tfeff.trials.store import TrialStore

pytestmark = pytest.mark.slow

CONFIG = """
from tfeff.config import *

def get_config():
    return Search(
        experiment=Experiment(
            model=architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
            data=Data(source="embedded:digits", channels=1),
            training=Training(epochs=2, batch_size=32, precision="float32", deterministic=True),
        ),
        choice="mean",
        budget=Budget(macs=2.0, tolerance=0.2, candidates=3),
        folds=Folds(count=2, examples=200, validation_fraction=0.5),
        allocation=Allocation(name="halving", reduction=2, minimum_epochs=1),
        members=Members(phis=(1.0,), {members}),
    )
"""


def start(verbs: Verbs, directory: Path, *flags: str, figures: bool = False) -> Process:
    path = directory.parent / "config.py"
    text = CONFIG.format(members="batch_norm=True" if THOROUGH else 'methods=("width", "compound")')
    path.write_text(text + ("" if THOROUGH else IN_ONE_PROCESS))
    return verbs.start("search", f"--config={path}", f"--workdir={directory}", *flags, figures=figures)


def finish(verbs: Verbs, directory: Path, *flags: str, figures: bool = False) -> str:
    done = start(verbs, directory, *flags, figures=figures).done().succeeds()
    return done.out + done.err


def outcome(directory: Path) -> dict:
    """Returns the results that do not depend on timing."""
    result = json.loads((directory / "result.json").read_text())
    result.pop("seconds_of_trials")
    for row in result["members"]:
        row.pop("latency")
    for row in result["family"]:
        row.pop("latency, ms")
    return result


def done(directory: Path) -> dict:
    """Returns seconds of every finished trial; a repeated trial would take a different time."""
    if not (directory / "search.sqlite").exists():
        return {}
    with TrialStore(directory / config.SEARCH_FILE, None) as store:
        return {record.job: record.seconds for record in store.records() if record.state == "done"}


@pytest.fixture(scope="module")
def whole(verbs, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "search"
    directory.with_suffix(".txt").write_text(finish(verbs, directory, figures=True))
    return directory


def test_a_search_writes_coefficients_a_family_and_a_report(whole):
    text = whole.with_suffix(".txt").read_text()
    result = json.loads((whole / "result.json").read_text())
    family = json.loads((whole / "coefficients.json").read_text())
    (winner,) = (row for row in result["candidates"] if row["standing"] == "winner")
    assert [winner[key] for key in ("depth", "width", "resolution")] == [family[k] for k in ("alpha", "beta", "gamma")]
    assert 1.6 <= winner["ratio"] <= 2.4  # the budget and its tolerance
    assert [result[key] for key in ("alpha", "beta", "gamma")] == [family[key] for key in ("alpha", "beta", "gamma")]
    assert result["sentence"] in text
    assert not result["failed_trials"]
    assert {row["standing"] for row in result["candidates"]} >= {"winner", "eliminated"}
    assert [row["φ"] for row in result["family"]] == ["0", "1"]
    for row in result["members"]:
        assert row["latency"] > 0
        assert len(row["values"]) == 2
        if row["phi"]:
            named = Family.load(whole).member(row["phi"], row["method"])
            assert models.estimate(named, num_classes=10, channels=1).macs == row["macs"]
    report = (whole / "report.html").read_text()
    assert result["sentence"] in html.unescape(report).replace("\u00a0", " ")
    assert "python -m tfeff.search" in report
    assert f"python tools/compare_members.py --search={whole} --phi=1 --classes=10 " in report
    figures = ("candidates", "landscape", "allocation", "methods", "method_compound")
    for name in (*figures, "batch_normalization") if THOROUGH else figures:
        assert (whole / "figures" / f"{name}.png").stat().st_size > 10_000
    events = list((whole / "tensorboard").rglob("events*"))
    assert len(events) >= 2 * 2


def test_every_trial_has_a_row_for_each_of_its_epochs(whole):
    with TrialStore(whole / config.SEARCH_FILE, None) as store:
        records = store.records()
    for record in records:
        assert [row["epoch"] for row in record.rows] == list(range(1, record.job.epochs + 1))
    assert {record.job.epochs for record in records} == {1, 2}


@only_thorough
def test_a_finished_search_reports_again_without_training(verbs, whole):
    before = done(whole)
    text = finish(verbs, whole)
    assert done(whole) == before
    assert json.loads((whole / "result.json").read_text())["sentence"] in text


SURFACE = """
from tfeff.config import *

def get_config():
    return Search(
        experiment=Experiment(
            model=architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
            data=Data(source="embedded:digits", channels=1),
            training=Training(epochs=1, batch_size=32, precision="float32", deterministic=True),
        ),
        trials=Trials(batch_size="fixed", learning_rate="fixed"),
        budget=Budget(macs=2.0, tolerance=0.2),
        design=Design(phis=(1.0, 2.0), precision=0.0, trainings=14),
        folds=Folds(count=2, examples=200),
        members=Members(phis=()),
    )
"""


@only_thorough
def test_a_search_by_a_surface_resumes_with_the_same_trainings(verbs, tmp_path):
    path, directory, other = tmp_path / "config.py", tmp_path / "search", tmp_path / "other"
    path.write_text(SURFACE)
    text = verbs("search", f"--config={path}", f"--workdir={directory}", "--dry_run").succeeds().out
    assert "It ends when the 95 % region of the best direction covers 0 % of the plane, or after 14 trainings" in text
    rows = [line.split() for line in text.splitlines() if " points  " in line and line[0].isdigit()]
    assert [(row[0], row[2]) for row in rows] == [("1", "14"), ("2", "14"), ("4", "14")]
    shutil.copytree(directory, other)  # with the measured speed

    verbs("search", f"--config={path}", f"--workdir={directory}", "--config.design.trainings=6").succeeds()
    first = done(directory)
    assert len(first) == 6  # as if it had been killed in its second round
    verbs("search", f"--config={path}", f"--workdir={directory}").succeeds()
    assert first.items() <= done(directory).items()
    verbs("search", f"--config={path}", f"--workdir={other}", "--processes=1").succeeds()
    assert outcome(other) == outcome(directory)
    surface = outcome(directory)["surface"]
    assert surface["ended_by"] == "trainings"
    assert len(surface["trainings"]) == len(done(directory)) == 14
    assert len({job.fold for job in done(directory)}) == 2
    assert all((directory / "figures" / f"{name}.png").exists() for name in ("direction", "candidates"))


def test_a_member_of_the_family_trains(verbs, whole, tmp_path):
    experiment = tmp_path / "member.py"
    experiment.write_text(
        "from tfeff.config import *\n"
        "def get_config():\n"
        "    return Experiment(data=Data(channels=1, train_examples=200), training=Training(epochs=1, batch_size=50))\n"
    )
    flags = (f"--config.member.family={whole}", "--config.member.phi=1", "--noevaluate")
    flags = (*flags, "--config.training.precision=float32")  # else, steps are timed in two precisions
    verbs("train", f"--config={experiment}", f"--workdir={tmp_path / 'run'}", *flags).succeeds()
    trained = config.from_json((tmp_path / "run" / "config.json").read_text(), config.Experiment)
    family = json.loads((whole / "coefficients.json").read_text())
    assert trained.model.depth_coefficient == pytest.approx(family["alpha"])
    assert trained.model.resolution == round(8 * family["gamma"])
    assert (trained.model.width, trained.member.family) == (4, None)


@only_thorough
def test_an_interrupted_and_killed_search_repeats_no_trial_and_gives_the_same_result(verbs, whole, tmp_path):
    directory = tmp_path / "search"
    search = start(verbs, directory, "--processes=1")
    while not done(directory):
        assert search.poll() is None
        time.sleep(0.1)
    search.signal(signal.SIGINT)
    stopped = search.done()
    assert stopped.code == 128 + signal.SIGINT
    assert "finished trials are stored" in stopped.out + stopped.err
    kept = done(directory)
    assert kept

    moments = random.Random(7)
    for _ in range(THOROUGH):
        before = done(directory)
        assert before.items() >= kept.items()
        search = start(verbs, directory, "--processes=1")
        wanted = len(before) + moments.randint(0, 2)
        while len(done(directory)) < wanted and search.poll() is None:
            time.sleep(0.1)
        time.sleep(moments.uniform(0, 5))
        before = done(directory)
        search.kill_all() if moments.random() < 0.5 else search.kill()
        kept = done(directory)
        assert kept.items() >= before.items()
    finish(verbs, directory, "--processes=1")
    assert done(directory).items() >= kept.items()
    assert outcome(directory) == outcome(whole)


@only_thorough
def test_a_cluster_gives_the_same_result_and_survives_the_loss_of_a_node(verbs, whole, tmp_path):
    pytest.importorskip("ray")
    moments = random.Random(11)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        other = cluster.add_node(num_cpus=1)
        directory = tmp_path / "search"
        search = start(verbs, directory, "--executor=ray", f"--ray_address={cluster.address}")
        while not done(directory):
            assert search.poll() is None, search.done()
            time.sleep(0.3)
        for _ in range(THOROUGH - 1):
            search.kill()
            kept = done(directory)
            search = start(verbs, directory, "--executor=ray", f"--ray_address={cluster.address}")
            time.sleep(moments.uniform(12, 30))
            assert done(directory).items() >= kept.items()
        cluster.remove_node(other, allow_graceful=False)
        search.done().succeeds()
    finally:
        cluster.shutdown()
    assert outcome(directory) == outcome(whole)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["budget.macs=1.3", "budget.tolerance=0.0001"], ["closest", "tolerance"]),
        (["folds.examples=12"], ["class"]),
        (["budget.macs=0.5"], ["budget.macs", "above 1"]),
        (["budget.macs=100000000"], ["budget.macs", "a multiple of the baseline's cost"]),
        (["experiment.training.batch_size=5000"], ["batch"]),
        (["experiment.model.name=resnet99"], ["resnet99", "did you mean"]),
        (["experiment.data.source=folder:/nowhere"], ["/nowhere"]),
        (["objective.exponent=0.5"], ["exponent"]),
        (["trials.learning_rate=linar"], ["learning_rate", "linear"]),
        (["experiment.data.folds=3"], ["folds"]),
        (["allocation.name=halving", "allocation.minimum_epochs=40"], ["minimum_epochs"]),
    ],
)
def test_user_errors_are_found_before_any_training(tmp_path, overrides, words):
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(members=""))
    with pytest.raises(UserError) as error:
        prepare(config.override(config.load(path, config.Search), overrides))
    assert [word for word in words if word not in str(error.value)] == []


def test_user_errors_end_with_a_message(verbs, tmp_path):
    start(verbs, tmp_path / "search", "--config.folds.count=20").done().fails_with("20", "images")


def test_a_workdir_of_another_search_is_refused(verbs, whole):
    search = start(verbs, whole, "--config.experiment.training.epochs=6")
    search.done().fails_with("experiment.training.epochs", "saved 2", "now 6")


GIVEN = """
from tfeff.config import *

def get_config():
    return Search(
        experiment=Experiment(
            model=architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
            data=Data(source="embedded:digits", channels=1),
            training=Training(epochs=3, batch_size=32, validation_epochs=3, precision="float32", deterministic=True),
        ),
        coefficients=(1.2, 1.1, 1.15),
        folds=Folds(count=2, examples=200, validation_split="test"),
        trials=Trials(batch_size="fixed", learning_rate="held_out"),
        members=Members(phis=(2.0,), methods=("width", "width+resolution", "compound")),
    )
"""


@only_thorough
def test_given_coefficients_are_compared_on_a_split_of_its_own_and_folds_are_added(verbs, tmp_path):
    path, directory = tmp_path / "config.py", tmp_path / "search"
    path.write_text(GIVEN)
    flags = ("search", f"--config={path}", f"--workdir={directory}")
    verbs(*flags).succeeds()
    first = done(directory)
    assert len(first) == 4 * 2
    result = json.loads((directory / "result.json").read_text())
    assert [result[key] for key in ("alpha", "beta", "gamma")] == [1.2, 1.1, 1.15]
    assert [row["against"] for row in result["comparisons"]] == ["width alone", "width and resolution"]
    assert "candidates" not in result
    trials = [json.loads(path.read_text()) for path in directory.glob("trials/*/fold*/config.json")]
    assert {trial["data"]["validation_split"] for trial in trials} == {"test"}
    chosen = {trial["optimizer"]["learning_rate"] for trial in trials}
    base = config.Experiment().optimizer.learning_rate
    for rates in result["tried_rates"].values():
        assert {rate for rate, _ in rates} >= {base / 3, base, base * 3}
    assert chosen == {max(rates, key=lambda pair: pair[1])[0] for rates in result["tried_rates"].values()}
    assert {row["learning rate"] for row in result["networks"]} == {f"{rate:g}" for rate in chosen}
    assert {row["folds"] for row in result["networks"]} == {2}
    assert all("test accuracy" in row for row in result["networks"])
    assert result["config"]["folds"]["validation_split"] == "test"
    assert "The coefficients were given" in (directory / "report.html").read_text()

    verbs(*flags, "--config.folds.count=3").succeeds()
    added = done(directory)
    assert first.items() <= added.items()  # the first folds are not trained again
    assert {job.fold for job in added.keys() - first.keys()} == {2}


def test_a_search_cannot_select_by_the_split_of_all_folds(verbs, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(GIVEN.replace("coefficients=(1.2, 1.1, 1.15),", ""))
    verbs("search", f"--config={path}", f"--workdir={tmp_path / 'search'}").fails_with("folds.validation_split")


GIVEN_COEFFICIENTS = config.Search(
    experiment=config.Experiment(
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1),
        training=config.Training(epochs=7, batch_size=50, validation_epochs=7),
    ),
    coefficients=(1.2, 1.1, 1.15),
    folds=config.Folds(count=2, examples=200, validation_fraction=0.25, validation_split="test"),
    trials=config.Trials(batch_size="fixed", learning_rate="held_out"),
    members=config.Members(phis=(2.0,), methods=("width", "compound")),
)


def test_trainings_that_find_learning_rates_are_counted(monkeypatch):
    timing = {"start": 0.0, "image": 1e-3}
    monkeypatch.setattr(progress, "collect", lambda executor, calls, check: dict.fromkeys(calls, timing))
    fixed = dataclasses.replace(GIVEN_COEFFICIENTS, trials=config.Trials(batch_size="fixed", learning_rate="fixed"))
    seconds = [forecast(prepare(each), None, SimpleNamespace(slots=1)).members for each in (fixed, GIVEN_COEFFICIENTS)]
    networks = 3  # the baseline and two members
    added = networks * HELD_OUT_RATES * (7 * 150 + 50 * VALIDATION_SHARE) * 1e-3
    assert seconds[1] - seconds[0] == pytest.approx(added)
    validated = prepare(GIVEN_COEFFICIENTS).examples[1]
    assert seconds[0] == pytest.approx(networks * 2 * (7 * 200 + validated * VALIDATION_SHARE) * 1e-3)
