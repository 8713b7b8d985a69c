import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfeff import checked, config, training
from tfeff.analysis import diagnosis
from tfeff.analysis.comparison import run
from tfeff.analysis.comparison.run import open_runs, read_split, read_splits, require_same_examples, unique_names
from tfeff.data.input.decoding import Decoding
from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options
from tfeff.errors import UserError
from tfeff.training.evaluation import SplitImages

QUIET = training.Reporter(quiet=True)
pytestmark = pytest.mark.usefixtures("without_figures")


def paths(runs):
    return [run.path for run in runs]


def test_models_are_named_by_their_workdirs(runs):
    models = open_runs(paths(runs))
    assert [model.name for model in models] == ["small", "large"]
    assert [model.network.count_params() for model in models] == [
        training.trained_model(run).count_params() for run in runs
    ]


def test_names_are_unique():
    assert unique_names([Path("/a/x"), Path("/b/y")]) == ["x", "y"]
    assert unique_names([Path("/a/x/0"), Path("/a/y/0"), Path("/a/y/1")]) == ["x/0", "y/0", "y/1"]


def test_runs_that_cannot_be_compared(runs, tmp_path):
    small, large = runs
    with pytest.raises(UserError, match="at least one finished run"):
        open_runs([])
    with pytest.raises(UserError, match="is empty"):
        open_runs([""])
    with pytest.raises(UserError, match=r"small: given twice"):
        open_runs([small.path, large.path, large.path / ".." / "small"])
    with pytest.raises(UserError, match=r"no config\.json there"):
        open_runs([small.path, tmp_path / "nothing"])
    for other in (config.YoloSettings(), config.RCNNSettings(), config.LocalizationSettings()):
        detector = training.Workdir(shutil.copytree(small.path, tmp_path / other.name))
        (detector.path / "config.json").write_text(config.to_json(config.Experiment(task=other)))
        message = "a detector, which cannot be compared with a" if other.IS_DETECTOR else "a run of localization"
        with pytest.raises(UserError, match=message):
            open_runs([small.path, detector.path])
    record = large.dataset()
    large.write_dataset(record | {"class_names": ["zero", *record["class_names"][1:]]})
    with pytest.raises(UserError, match=r"different classes \(only one of them has 0, zero\)"):
        open_runs(paths(runs))
    large.write_dataset(record | {"class_names": record["class_names"][::-1]})
    with pytest.raises(UserError, match="in a different order"):
        open_runs(paths(runs))
    large.final.unlink()
    with pytest.raises(UserError, match="large: the run is not finished"):
        open_runs(paths(runs))


def test_a_model_key_changes_with_weights_and_test_time_augmentation(runs):
    keys = {open_runs([runs[0].path])[0].key}
    settings = config.override(runs[0].config(), ["task.tta.mirrored=true"])
    (runs[0].path / "config.json").write_text(config.to_json(settings))
    keys.add(open_runs([runs[0].path])[0].key)
    shutil.copy(runs[1].final, runs[0].final)
    keys.add(open_runs([runs[0].path])[0].key)
    assert len(keys) == 3


def test_training_images_are_pointed_out(runs):
    (model,) = open_runs([runs[0].path])
    assert not read_split(model, "test", QUIET).notes
    (note,) = read_split(model, "train", QUIET).notes
    assert "small was trained on images of this split" in note


def test_images_that_a_run_knows_from_an_earlier_one_are_pointed_out(runs):
    small, large = runs
    (model,) = open_runs([small.path])
    tested = read_split(model, "test", QUIET).images.dataset
    small.write_fingerprint(dataclasses.replace(small.fingerprint(), trained=tested.origins[:7]))
    settings = config.override(large.config(), [f"model.weights={small.path}"])
    (large.path / "config.json").write_text(config.to_json(settings))
    (model,) = open_runs([large.path])
    expected = f"7 of {len(tested):,} test images are training images of {small.path}, from which this run learns"
    (note,) = read_split(model, "test", QUIET).notes
    assert note.startswith(f"large: {expected}")
    (note,) = training.evaluate_run(large, "test", QUIET).report["notes"]
    assert note.startswith(expected)
    (note,) = diagnosis.open_run(large.path).splits["test"].notes
    assert note.startswith(expected)


def test_images_that_chose_weights_are_pointed_out(monkeypatch, runs):
    (model,) = open_runs([runs[0].path])
    chosen = config.override(model.settings, ["training.keep=best"])
    monkeypatch.setitem(model.__dict__, "plan", training.Plan.of(chosen))
    (note,) = read_split(model, "validation", QUIET).notes
    assert note.startswith("for small, images of this split also chose the epoch whose weights are kept")


def test_training_images_and_skipped_ones_are_pointed_out_in_a_split_called_validation(image_folder, monkeypatch, runs):
    root = image_folder({f"{split}/{name}": 3 for split in ("train", "validation", "test") for name in "ab"})
    splits = {"train": "validation", "validation": "test", "test": "train"}
    changes = [f"data.source=folder:{root}", *(f"data.{role}_split={split}" for role, split in splits.items())]
    (model,) = open_runs([runs[0].path])
    monkeypatch.setitem(model.__dict__, "plan", training.Plan.of(config.override(runs[0].config(), changes)))
    images = SimpleNamespace(skipped=[SimpleNamespace(id="b/1.png")])
    monkeypatch.setattr(run, "split_images", lambda *_: SplitImages("validation", images, (), None))
    skipped, trained = read_split(model, "validation", QUIET).notes
    assert skipped == "skipped a corrupt image: b/1.png"
    assert "was trained on images of this split" in trained


def test_images_are_decoded_once_to_find_corrupt_ones(image_folder, monkeypatch, runs, tmp_path):
    root = image_folder({f"{split}/{digit}": 2 for split in ("train", "test") for digit in range(10)})
    (root / "test" / "3" / "001.png").write_bytes(b"no image")
    for each in runs:
        changes = [f"data.source=folder:{root}", "data.corrupt_images=skip"]
        (each.path / "config.json").write_text(config.to_json(config.override(each.config(), changes)))
    passes, decode = [], Decoding.run
    monkeypatch.setattr(Decoding, "run", lambda *given: passes.append(given) or decode(*given))
    for _ in range(2):
        _, caches, notes = read_splits(open_runs(paths(runs)), "test", QUIET, tmp_path / "unreadable")
        assert [len(each) for each in caches] == [19, 19]
        assert any("skipped a corrupt image" in note for note in notes)
        assert len(passes) == 1


def test_examples_are_the_same_by_content(image_folder, tmp_path, runs):
    model, other = open_runs(paths(runs))
    folder = image_folder({"test/a": 3, "test/b": 4})
    copy = shutil.copytree(folder, tmp_path / "copy")

    def load(path):
        return catalog.open_labels(f"folder:{path}", Options()).load("test")

    first = load(folder)
    require_same_examples((model, first), (other, load(copy)))
    relabeled = dataclasses.replace(first, labels=first.labels[::-1].copy())
    with pytest.raises(UserError, match="the same images have different labels, boxes or flags"):
        require_same_examples((model, first), (other, relabeled))
    with pytest.raises(UserError, match=r"small and .*large: the same images in another order in"):
        require_same_examples((model, first), (other, first.take(np.array([1, 0, 2, 3, 4, 5, 6]))))
    with pytest.raises(UserError, match=r"small and .*large are evaluated on different examples: those of"):
        require_same_examples((model, first), (other, first.take(np.array([1, 1, 2, 3, 4, 5, 6]))))
    (copy / "test/a/000.png").unlink()
    with pytest.raises(UserError, match=r"different examples: 7 of .* and 6 of"):
        require_same_examples((model, first), (other, load(copy)))


def test_validation_images_drawn_differently_are_different_examples(runs):
    _, large = runs
    record = json.loads(config.to_json(large.config()))
    record["data"]["seed"] = 5
    checked.write_json(large.path / "config.json", record)
    models = open_runs(paths(runs))
    reads = [read_split(model, "validation", QUIET).images.dataset for model in models]
    with pytest.raises(UserError, match="different examples"):
        require_same_examples((models[0], reads[0]), (models[1], reads[1]))
