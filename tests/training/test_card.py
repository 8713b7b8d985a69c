import shutil
from pathlib import Path

import pytest
import yaml

from tests.training.tracking.small_run import SETTINGS
from tests.undrawn import undrawn
from tfeff import training
from tfeff.training.workdir import Workdir

pytestmark = pytest.mark.usefixtures("without_figures")
QUIET = training.Reporter(quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workdir:
    workdir = training.train(SETTINGS, tmp_path_factory.mktemp("card"))
    with undrawn():
        training.finish_run(workdir, QUIET)
    return workdir


def test_the_head_has_the_result(finished: Workdir) -> None:
    _, head, text = finished.card.read_text().split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["pipeline_tag"] == "image-classification"
    (result,) = metadata["model-index"][0]["results"]
    assert result["dataset"]["name"] == "embedded:digits"
    assert result["metrics"] == [{"type": "accuracy", "value": round(finished.result()["accuracy"], 4)}]
    assert "test images right" in text
    assert f"--workdir={finished.path}" in text
    assert "| model.width | 2 |" in text


def test_the_images_that_the_network_has_learned_from_are_those_without_the_held_out_ones(finished: Workdir) -> None:
    record = finished.dataset()
    assert record["train_examples"] < record["found"]["train"]["images"]
    assert f"It has learned from {record['train_examples']:,} images" in finished.card.read_text()


def test_another_evaluation_renews_result_and_contents(finished: Workdir, tmp_path: Path) -> None:
    copy = Workdir(shutil.copytree(finished.path, tmp_path / "run"))
    before, record = copy.result(), copy.dataset()
    copy.write_result({**before, "accuracy": 0.125})
    stale = {
        "name": "embedded:digits/test",
        **{key: value for key, value in record["found"]["train"].items() if key != "name"},
    }
    copy.write_dataset({**record, "found": {**record["found"], "test": {**stale, "images": 12345}}})
    training.evaluate_again(copy, "testing", QUIET)
    assert copy.result() == before
    card = copy.card.read_text()
    assert "12345" not in card
    assert f"value: {before['accuracy']:.4f}" in card


def test_images_that_were_trained_on_never_become_the_result(finished: Workdir, tmp_path: Path) -> None:
    copy = Workdir(shutil.copytree(finished.path, tmp_path / "run"))
    unknown = {key: each for key, each in copy.result().items() if key not in ("split", "accuracy")}
    copy.write_result(unknown | {"not_evaluated": "there is neither a test split nor a validation set"})
    card = copy.card.read_text()
    assert training.evaluate_again(copy, "train", QUIET).report["split"] == "train"
    assert (copy.result()["not_evaluated"], copy.card.read_text()) == (
        "there is neither a test split nor a validation set",
        card,
    )


@pytest.mark.slow
def test_an_edited_card_is_kept(finished: Workdir) -> None:
    first = finished.card.read_text()
    training.finish_run(finished, QUIET)
    assert finished.card.read_text() == first
    for edited in (first + "added\n", "# My network\n"):  # with the line that says how to keep changes, and without
        Path(finished.card).write_text(edited)
        training.finish_run(finished, QUIET)
        assert finished.card.read_text() == edited
