import csv
import json
import re
import sys
from pathlib import Path

import pytest

from tests.reporting.test_html import Document
from tfeff import config, training
from tfeff.config import Choice
from tfeff.training import findings, provenance

pytestmark = pytest.mark.usefixtures("without_figures")
QUIET = training.Reporter(quiet=True)
HOSTILE = "<b>& because</b>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1, train_examples=144),
        training=config.Training(epochs=2, batch_size=32, precision="float32"),
    )
    workdir = tmp_path_factory.mktemp("a run")
    return training.train(settings, workdir, tensorboard=False, choices={"training.epochs": Choice((1, 2), HOSTILE)})


@pytest.fixture(scope="module")
def evaluated(finished):
    with pytest.MonkeyPatch.context() as patch:
        from tfeff.reporting import figure

        patch.setattr(figure, "save", lambda drawn, path: ())
        patch.setattr(figure, "rgb", lambda drawn: __import__("numpy").zeros((1, 1, 3), "uint8"))
        return training.finish_run(finished, QUIET)


def test_the_page_has_the_result_the_reasons_and_where_the_run_comes_from(finished, evaluated):
    text = finished.page.read_text()
    document = Document(text)
    headings = ["Result", "Images", "Class activation", "Use it", "Training", "Data", "Settings", "Provenance"]
    assert document.text("h2") == headings
    right = round(evaluated.report["top1"] * 359)
    assert any(f"{right} of 359 test images right" in words for words in document.text("p"))
    assert HOSTILE in document.text("td")
    assert not document.all("b")
    (call,) = finished.provenance()["calls"]
    assert set(call) == {"started", "command", "commit", "versions", "machine"}
    assert call["machine"] in document.text("td")
    assert any(f"tfeff.predict --workdir='{finished.path}'" in words for words in document.text("code"))
    assert not re.search(r"https?://", re.sub(r"base64,[\w+/=]+", "", text))


def test_the_list_of_predictions_has_every_image(finished, evaluated):
    rows = list(csv.DictReader(evaluated.listing.open()))
    assert len(rows) == evaluated.report["examples"]
    assert sum(row["correct"] == "yes" for row in rows) == round(evaluated.report["top1"] * len(rows))
    assert all((row["truth"] == row["prediction"]) == (row["correct"] == "yes") for row in rows)
    assert len(evaluated.mistakes) == sum(row["correct"] == "no" for row in rows)


def test_the_answer_comes_first(finished, evaluated):
    lines = evaluated.to_text().splitlines()
    assert re.fullmatch(r"\d+ of 359 test images right: [\d.]+ % \(95 % interval [\d.]+ to [\d.]+ %\)", lines[0])
    assert f"report           {finished.page}" in lines
    assert lines.index(f"report           {finished.page}") < next(n for n, line in enumerate(lines) if "──" in line)


@pytest.mark.slow
def test_evaluating_another_split_leaves_the_page(finished, evaluated):
    finished.page.write_text("kept")
    assert training.evaluate_again(finished, "train", QUIET).page is None
    assert finished.page.read_text() == "kept"
    assert training.evaluate_again(finished, "test", QUIET).page == finished.page
    assert "test images right" in finished.page.read_text()


def test_a_damaged_record_of_calls_costs_only_that_part_of_the_page(finished, evaluated):
    path = finished.path / "provenance.json"
    saved = path.read_text()
    path.write_text(saved.replace("started", "stopped"))
    try:
        training.evaluate_again(finished, "test", QUIET)
        assert "Provenance" not in Document(finished.page.read_text()).text("h2")
    finally:
        path.write_text(saved)


def test_a_resumed_run_adds_a_call_and_keeps_the_choices(finished):
    finished.add_call(provenance.call(), {}, "digest")
    record = json.loads((finished.path / "provenance.json").read_text())
    assert len(record["calls"]) == 2
    assert record["choices"] == {"training.epochs": {"value": [1, 2], "why": HOSTILE}}


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("tfeff train", "tfeff train --a='b c'"),
        (str(Path(provenance.__file__).parents[1] / "train.py"), "python -m tfeff.train --a='b c'"),
        ("my script.py", "python 'my script.py' --a='b c'"),
    ],
)
def test_the_command_can_be_typed_again(program, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "--a=b c"])
    assert provenance.command().replace("'--a=b c'", "--a='b c'") == command


def test_thresholds_for_several_sizes_of_a_gallery_are_named_once(finished, evaluated):
    plan = training.Plan.of(config.Experiment(task=config.EmbeddingSettings()))
    said = findings.trust(plan, finished, {"split": "validation"}, evaluated.evaluator, "validation")
    assert said.endswith("these validation images also chose the similarity threshold and the unknown threshold.")


@pytest.mark.parametrize(
    ("overrides", "split", "said"),
    [
        (
            {"training.keep": "best"},
            "validation",
            "these validation images also chose the epoch whose weights are kept.",
        ),
        ({"task.temperature_scaling": True}, "validation", "these validation images also chose the temperature."),
        ({}, "validation", "Nothing was chosen on these validation images; if you choose settings by them"),
        (
            {"training.early_stopping_epochs": 3},
            "test",
            "was 75.0 %, on the test images it is 50.0 %. Believe the test",
        ),
        (
            {"training.early_stopping_epochs": 3},
            "test",
            "while the validation images chose the epoch whose weights are kept and when to stop.",
        ),
    ],
)
def test_which_number_to_believe(overrides, split, said, finished, evaluated, monkeypatch):
    settings = config.override(finished.config(), {**overrides, "data.validation_fraction": 0.1})
    monkeypatch.setattr(type(finished), "validated", lambda self, names: {"accuracy": 0.75})
    report = {**evaluated.report, "split": split, "top1": 0.5}
    assert said in findings.trust(training.Plan.of(settings), finished, report, evaluated.evaluator, split)
