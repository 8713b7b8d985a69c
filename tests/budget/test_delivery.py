"""Budget searches for a detector from the command line, which end with an exported one."""

import html
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.budget.test_study import study_of
from tests.rcnn.voc_digits import write_voc
from tests.thoroughness import only_thorough
from tests.verbs import ROOT, Done, Verbs
from tfeff import config, training
from tfeff.budget import delivery
from tfeff.budget.delivery import make_way
from tfeff.budget.search import open_store
from tfeff.budget.verification import Loss, Verification

TINY = """
from tfeff.config import *

EXPERIMENT = Experiment(
    task=YoloSettings(network=detector("yolo", neck_channels=8, head_repeats=1), max_objects=20),
    model=architecture("resnet", width=4, stage_blocks=(1, 1, 1, 1), stem="7x7", resolution=96),
    data=Data(source="{source}", validation_fraction=0.0),
    training=Training(epochs={epochs}, batch_size=8, precision="float32"),
    optimizer=Optimizer(name="adamw", learning_rate=0.01),
)
"""
START = """
def get_config():
    return EXPERIMENT
"""
SEARCH = """
def get_config():
    return BudgetSearch(
        experiment=EXPERIMENT,
        budget=Limits(macs="0.9x", size="1MB", minutes=10),
        candidates=Candidates(
            starts=("{start}",), widths=(1.0,), depths=(1.0,), resolutions=(1.0, 0.67), scratch=False
        ),
        folds=Folds(kind="classic", count=2, examples=None),
        objective=Objective(metric="validation_mean_ap"),
        forecast=False,
    )
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    directory = tmp_path_factory.mktemp("data") / "voc"
    write_voc(directory, {"train": range(32), "test": range(32, 40)})
    return f"voc:{directory}"


@pytest.fixture(scope="module")
def trained(verbs, tmp_path_factory) -> Path:
    """A detector to start from, of other images."""
    directory = tmp_path_factory.mktemp("start")
    write_voc(directory / "voc", {"train": range(100, 132), "test": range(132, 140)})
    path = directory / "config.py"
    path.write_text(TINY.format(source=f"voc:{directory / 'voc'}", epochs=1) + START)
    verbs("train", f"--config={path}", f"--workdir={directory / 'run'}", "--noevaluate").succeeds()
    return directory / "run"


@pytest.fixture
def start(tmp_path) -> Path:
    """The workdir of a detector without its weights, which are not read before the first training."""
    path, final = tmp_path / "start.py", training.Workdir(tmp_path / "start").final
    path.write_text(TINY.format(source="voc:others", epochs=1) + START)
    final.parent.mkdir(parents=True)
    final.touch()
    (tmp_path / "start" / "config.json").write_text(config.to_json(config.load(path, config.Experiment)))
    return tmp_path / "start"


def search(verbs: Verbs, source: str, trained: Path, directory: Path, *flags: str) -> Done:
    path = directory.parent / "config.py"
    path.write_text(TINY.format(source=source, epochs=10) + SEARCH.format(start=trained))
    return verbs("search", f"--config={path}", f"--workdir={directory}", "--processes=1", *flags)


@pytest.fixture(scope="module")
def whole(verbs, source, trained, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "search"
    done = search(verbs, source, trained, directory).succeeds()
    directory.with_suffix(".txt").write_text(done.out + done.err)
    return directory


@only_thorough
def test_the_answer_is_an_exported_detector_that_meets_the_budget(whole):
    result = json.loads((whole / "result.json").read_text())
    networks = {row["resolution"]: row for row in result["networks"]}
    assert (networks[96]["stage"], networks[64]["stage"]) == ("budget", "chosen")
    assert len(networks[64]["values"]) == 2
    for measure in ("macs", "size"):
        assert result["costs"][measure] <= result["bounds"][measure]
    assert (Path(result["exported"]) / "saved_model.pb").is_file()
    assert re.search(r"On the test images: mAP 0\.\d{3} \(95 % interval 0\.\d{3} to \d\.\d{3}\)", result["answer"])
    report = html.unescape((whole / "report.html").read_text()).replace("\u00a0", " ")
    assert result["answer"] in report
    assert "mAP and cost" in report
    assert "Published classifiers" not in report


@only_thorough
def test_the_choice_inherits_neck_and_heads_and_is_trained_on_all_images(whole, trained):
    saved = config.saved(whole / "best", config.Experiment)
    assert saved.model.weights == str(trained)
    assert saved.task.network.neck_channels == 8
    assert (saved.data.folds, saved.data.validation_fraction, saved.training.epochs) == (None, 0.0, 10)


@only_thorough
def test_a_short_training_comes_first(whole):
    text = whole.with_suffix(".txt").read_text()
    assert "detectors are not probed: short trainings on one fold come first" in text
    lengths = sorted(len((whole / "trials" / name).read_text().splitlines()) for name in metrics(whole))
    assert lengths == [2, 10, 10]


def metrics(directory: Path) -> list[str]:
    trials = directory / "trials"
    return [str(path.relative_to(trials)) for path in trials.rglob("metrics.jsonl")]


def test_another_run_gives_way_to_that_of_the_choice(tmp_path):
    """A choice is known by its config: with another teacher, the same network is another run."""
    first, second = (
        config.override(config.Experiment(), [f"task.teacher.runs={name}", "model.resolution=64"]) for name in "ab"
    )
    best, said = tmp_path / "best", list[str | None]()

    def finish(settings):
        said.append(make_way(best, config.flatten(settings)))
        assert not best.is_dir() or (best / "weights").read_text() == str(settings.task.teacher.runs)
        best.mkdir(exist_ok=True)
        (best / "config.json").write_text(config.to_json(settings))
        (best / "weights").write_text(str(settings.task.teacher.runs))

    for settings in (first, first, second, first):
        finish(settings)
    (other,) = (tmp_path / "others").iterdir()
    assert config.saved(other, config.Experiment) == second
    assert config.saved(best, config.Experiment) == first
    (words,) = filter(None, said)  # the third one comes back without a training
    assert (
        f"with other values of task.teacher.runs; it is trained again, and the earlier run is now {tmp_path}" in words
    )


def test_a_run_of_the_choice_resumes_with_other_values_that_change_no_result(tmp_path):
    best, settings = tmp_path / "best", config.Experiment()
    best.mkdir()
    (best / "config.json").write_text(config.to_json(settings))
    for change in ("data.cache=none", "training.checkpoint_seconds=60", "data.max_lost=0.5"):
        assert make_way(best, config.flatten(config.override(settings, [change]))) is None
        assert best.is_dir()
    assert make_way(best, config.flatten(config.override(settings, ["data.test_split=val"]))) is not None
    assert not best.is_dir()


def test_a_run_of_the_choice_comes_back_in_place_of_one_that_was_killed_before_it_began(tmp_path):
    best, settings = tmp_path / "best", config.Experiment()
    best.mkdir()
    (best / "config.json").write_text(config.to_json(settings))
    make_way(best, config.flatten(config.override(settings, ["model.width_coefficient=2"])))
    (best / "tensorboard").mkdir(parents=True)
    make_way(best, config.flatten(settings))
    assert [each.name for each in best.iterdir()] == ["config.json"]


def test_what_cannot_be_met_is_refused_at_once(verbs, source, start, tmp_path):
    done = search(verbs, source, start, tmp_path / "search", "--config.budget.macs=0.01x")
    done.fails_with("none of 2 networks meets it; the closest")
    assert not (tmp_path / "search" / "trials").exists()


def test_boxes_in_the_source_make_it_a_search_for_a_detector(verbs, source, start, tmp_path):
    done = verbs(
        *("search", f"--config={ROOT / 'configs' / 'own_budget.py'}", f"--workdir={tmp_path / 'search'}", "--dry_run"),
        *(f"--config.data.source={source}", "--config.budget.macs=100M", "--config.candidates.detectors=yolo,grid"),
        *("--config.candidates.starts=" + str(start), "--config.folds.count=2", "--config.candidates.widths=1,0.5"),
    ).succeeds()
    assert "images have boxes" in done.out
    assert f"{start}, 128 px" in done.out
    assert "grid random weights" in done.out
    assert re.search(r"16 training and 16 validation images a fold", done.out)


def test_keys_of_classifiers_are_refused_for_boxes(verbs, source, tmp_path):
    done = verbs(
        *("search", f"--config={ROOT / 'configs' / 'own_budget.py'}", f"--workdir={tmp_path / 'search'}"),
        *(f"--config.data.source={source}", "--config.task.crop=false"),
    )
    done.fails_with("experiment.task.crop", "experiment.task.name is yolo")


def test_the_export_is_evaluated_again_if_the_evaluation_of_the_network_or_its_form_differs(monkeypatch, tmp_path):
    verified = list[str]()
    report, loss = {"top1": 0.9}, Loss(0.01, -0.01, math.inf, 500)

    def verify(workdir, model, exported, split, reporter):
        verified.append(split)
        return Verification({"top1": 0.8}, loss)

    monkeypatch.setattr(delivery, "verify", verify)
    monkeypatch.setattr(delivery, "_export", lambda *_: tmp_path / "saved_model")
    monkeypatch.setattr(delivery.serving, "exportable", lambda *_: None)
    for name in ("train", "trained_model"):
        monkeypatch.setattr(delivery.training, name, lambda *_, **__: None)
    evaluation = SimpleNamespace(split="test", report=report)
    monkeypatch.setattr(delivery.training, "finish_run", lambda *_: evaluation)

    def delivered(store, *changes):
        study = study_of(*changes)
        reporter = training.Reporter(quiet=True)
        return delivery.deliver(study, study.shortlist[0], "float32", 1.0, tmp_path / "best", reporter, store)

    with open_store(tmp_path, config.BudgetSearch()) as store:
        for _ in range(2):
            assert delivered(store) == (tmp_path / "saved_model", evaluation, Verification({"top1": 0.8}, loss))
        assert verified == ["test"]
        delivered(store, "budget.format=litert")
        assert len(verified) == 2
        delivered(store, "budget.format=litert", "budget.precision=int8")
        assert len(verified) == 3
        report["top1"] = 0.91  # other images, or other weights
        delivered(store)
        assert len(verified) == 4
