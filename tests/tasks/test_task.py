"""A new task costs a class, a config section and a line in the table; a new kind of prediction, an evaluator."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.tasks import one_vs_rest
from tfeff import config, runs, selection, training
from tfeff.config.tasks import TASKS
from tfeff.errors import UserError
from tfeff.reports import EVALUATORS
from tfeff.runs.prediction import find_images

SETTINGS = (
    *("task.name=one_vs_rest", "task.hidden=24", "data.channels=1", "data.normalization=dataset"),
    *("model.width=8", "model.stage_blocks=1,1", "model.resolution=16", "optimizer.learning_rate=0.05"),
    *("training.epochs=3", "training.batch_size=32", "training.precision=float32", "training.monitor=exact"),
    *("training.keep=best", "schedule.warmup_epochs=0.5"),
)


@pytest.fixture(autouse=True)
def one_more_task(monkeypatch):
    monkeypatch.setitem(TASKS, "one_vs_rest", one_vs_rest.Section())
    monkeypatch.setitem(EVALUATORS, "one_vs_rest", one_vs_rest.OneVsRestEvaluator())


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_new_task_is_trained_evaluated_exported_and_predicts(tmp_path):
    reporter = training.Reporter(quiet=True)
    workdir = training.train(config.override(config.Experiment(), SETTINGS), tmp_path / "run", reporter=reporter)
    assert training.finish_run(workdir, reporter) is not None
    first, last = workdir.rows()[0], workdir.rows()[-1]
    assert last["train_positive_loss"] < first["train_positive_loss"]
    assert last["train_loss"] == pytest.approx(last["train_positive_loss"] + last["train_negative_loss"])

    run = runs.open_run(workdir.path)
    evaluated = run.evaluate(quiet=True)
    assert evaluated.report["accuracy"] == json.loads((workdir.path / "result.json").read_text())["accuracy"]
    assert evaluated.report["accuracy"] > 0.6
    run.export(tmp_path / "exported")

    test = selection.open_source(selection.request(workdir.config())).load("test")
    images, labels = tmp_path / "images", test.labels[:60]
    images.mkdir()
    for index in range(60):
        Image.fromarray(np.squeeze(test.read(tf.constant(index)).numpy())).save(images / f"{index:02}.png")
    predictor = runs.load_predictor(tmp_path / "exported")
    found = runs.write_predictions(predictor, find_images(images, tmp_path / "out"), tmp_path / "out", key="")
    right = [row["label"] == test.class_names[label] for row, label in zip(found.rows.values(), labels, strict=True)]
    assert len(right) == 60
    assert np.mean(right) > 0.6
    assert max(sum(probability for _, probability in row["top"]) for row in found.rows.values()) > 1  # not a softmax


def test_the_saved_config_of_a_new_task_is_typed(tmp_path):
    settings = config.override(config.Experiment(), SETTINGS)
    assert settings.task == one_vs_rest.Section(hidden=24)
    assert config.from_json(config.to_json(settings), config.Experiment) == settings
    with pytest.raises(UserError, match=r'task has no key "box_weight"; it requires task.name=localization'):
        config.override(settings, ["task.box_weight=1"])
    with pytest.raises(UserError, match=r"task.hidden is 'x'; it should be an integer"):
        config.override(settings, ["task.hidden=x"])
    assert json.loads(config.to_json(settings))["task"]["name"] == "one_vs_rest"


def test_a_task_without_an_evaluator_is_refused_before_training(monkeypatch, tmp_path):
    monkeypatch.delitem(EVALUATORS, "one_vs_rest")
    settings = config.override(config.Experiment(), SETTINGS)
    with pytest.raises(UserError, match="'one_vs_rest', which has no evaluator"):
        training.train(settings, tmp_path / "run", reporter=training.Reporter(quiet=True))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
