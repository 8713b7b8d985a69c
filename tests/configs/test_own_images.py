"""Trains on a generated folder, with a network that is small enough for a test."""

import json
from pathlib import Path

import pytest

from tests.verbs import ROOT
from tfeff import config

PATH = ROOT / "configs" / "own_images.py"
TINY = (
    *("--config.model.weights=none", "--config.model.width=4", "--config.model.stage_blocks=1,1"),
    *("--config.training.epochs=1", "--config.task.tta.mirrored=false"),
)


@pytest.fixture
def root(image_folder) -> Path:
    return image_folder({"train/ant": 20, "train/bee": 20, "test/ant": 4, "test/bee": 4}, size=(40, 48))


def test_training_prints_and_saves_what_it_chose_and_resumes_with_it(verbs, root, tmp_path):
    workdir = tmp_path / "run"
    command = ("train", f"--config={PATH}", f"--workdir={workdir}", f"--config.data.source=folder:{root}", *TINY)
    done = verbs(*command).succeeds()
    table = done.out.split(":\n")[1].partition("\n\n")[0]
    for row in (["training.batch_size", "8"], ["model.name", "resnet"], ["model.resolution", "32"]):
        assert any(line.split()[:2] == row for line in table.splitlines()), done.out
    assert "training.epochs" not in table
    saved = config.load(workdir / "config.json", config.Experiment)
    assert (saved.training.batch_size, saved.model.resolution, saved.training.epochs) == (8, 32, 1)
    assert (workdir / "saved_model").is_dir()
    assert json.loads((workdir / "result.json").read_text())

    # As if something else had been chosen then, which would not be chosen now.
    path = workdir / "config.json"
    assert '"cache": "memory"' in path.read_text()
    path.write_text(path.read_text().replace('"cache": "memory"', '"cache": "none"'))
    again = verbs(*command, "--config.training.epochs=2").succeeds()
    assert "keeping the values that were chosen when this run began" in again.out
    resumed = config.load(path, config.Experiment)
    assert (resumed.data.cache, resumed.training.epochs) == ("none", 2)
    other = verbs(*command, "--config.training.epochs=2", "--config.seed=5")
    other.fails_with("belongs to another config", "seed: saved 0, now 5")


@pytest.mark.parametrize(
    ("count", "overrides", "expected"),
    [
        (30, ("model.weights=none",), {"model.name": "resnet", "training.batch_size": 8, "optimizer.frozen": ()}),
        (600, ("model.weights=none",), {"training.batch_size": 32, "training.epochs": 56}),
        (30, ("model.weights=none", "training.batch_size=5"), {"training.batch_size": 5}),
        (30, ("model.weights=none", "model.name=mobilenet-v2"), {"model.name": "mobilenet-v2", "model.width": None}),
        (30, ("model.weights=w.npz", "model.name=resnet"), {"model.weights": "w.npz", "model.stage_blocks": None}),
        (30, ("model.weights=none", "model.resolution=24"), {"model.resolution": 24, "data.image_size": 24}),
        (30, ("model.weights=w.npz",), {"optimizer.learning_rate_factors": ("*=0.1", "head_classifier*=1")}),
        (30, ("model.weights=w.npz", "model.transfer=auto"), {"optimizer.learning_rate_factors": ()}),
    ],
)
def test_choices(image_folder, count, overrides, expected):
    root = image_folder({f"train/{name}": count // 2 for name in ("ant", "bee")}, size=(8, 8))
    recipe = config.load_recipe(PATH, config.Experiment)
    settings, _ = config.complete(recipe, [f"data.source=folder:{root}", *overrides])
    values = config.flatten(settings)
    assert {key: values[key] for key in expected} == expected


def test_a_missing_folder(verbs, tmp_path):
    done = verbs("train", f"--config={PATH}", f"--workdir={tmp_path / 'run'}", "--config.data.source=folder:nowhere")
    done.fails_with("own_images.py", "nowhere does not exist")
    assert not (tmp_path / "run").exists()
