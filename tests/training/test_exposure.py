"""Held-out images that earlier runs were trained on."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.training.test_loop import experiment
from tfeff import config, selection, training
from tfeff.errors import UserError
from tfeff.training import exposure
from tfeff.trials.trial import open_images

FOLDS = config.Folds(kind="classic", count=3, examples=None)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (directory / "train" / label).mkdir(parents=True)
        for number in range(24):
            path = directory / "train" / label / f"{label}{number}.png"
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
            os.utime(path, (1e9, 1e9))
    return f"folder:{directory}"


def on(source, *changes, **data):
    """Returns three folds of the photographs, of which one is held out."""
    data = {"source": source, "channels": 3, "train_examples": None, "test_split": None, "folds": 3} | data
    return experiment("training.batch_size=8", "training.epochs=1", *changes, **data, validation_fraction=0.0)


@pytest.fixture(scope="module")
def first(photographs, tmp_path_factory):
    """A run on the folds 1 and 2."""
    return training.train(on(photographs, fold=0), tmp_path_factory.mktemp("first") / "run")


def held_out(settings):
    wanted = selection.request(settings)
    return selection.choose(wanted, selection.read(wanted, lambda *_: None)).validation.dataset


def test_images_of_the_same_fold_are_unknown(photographs, first):
    settings = on(photographs, f"model.weights={first.path}", fold=0)
    assert exposure.known(settings.sources, held_out(settings)) == {}


def test_all_images_of_another_fold_are_known(photographs, first, tmp_path, capsys):
    settings = on(photographs, f"model.weights={first.final}", fold=1)
    assert exposure.known(settings.sources, held_out(settings)) == {str(first.path): 16}
    training.train(settings, tmp_path / "run")
    assert f"16 of 16 validation images are training images of {first.path}, from which" in capsys.readouterr().out


def test_a_run_in_the_home_directory_is_found(photographs, first, monkeypatch):
    monkeypatch.setenv("HOME", str(first.path.parent))
    held = held_out(on(photographs, fold=1))
    assert exposure.known(("~/run",), held) == {str(first.path): 16}
    assert exposure.known(("~/run/checkpoints/final.npz",), held) == {str(first.path): 16}


def test_runs_are_followed_to_those_that_they_learned_from(photographs, first, tmp_path):
    second = training.train(on(photographs, f"task.teacher.runs={first.path}", fold=1), tmp_path / "second")
    settings = on(photographs, f"model.weights={second.path}", fold=1)
    assert exposure.known(settings.sources, held_out(settings)) == {str(first.path): 16}
    settings = on(photographs, f"model.weights={second.path}", fold=2)
    assert exposure.known(settings.sources, held_out(settings)) == {str(second.path): 16, str(first.path): 16}


def test_copies_are_recognized_by_name_size_and_date(first, tmp_path):
    shutil.copytree(first.config().data.source.removeprefix("folder:"), tmp_path, dirs_exist_ok=True)
    settings = on(f"folder:{tmp_path}", f"model.weights={first.path}")

    def copies():
        wanted = selection.request(settings)
        return selection.load(wanted, selection.open_source(wanted), "train")

    assert exposure.known(settings.sources, copies()) == {str(first.path): 32}
    for path in list(tmp_path.rglob("*.png")):
        path.rename(path.with_name(f"other_{path.name}"))  # files of one size and date are not one image
    assert exposure.known(settings.sources, copies()) == {}


def test_trainings_on_folds_are_compared_on_unknown_images(photographs, first):
    settings = on(photographs, f"model.weights={first.path}", folds=None)
    images = open_images(config.override(settings, ["data.image_size=8"]), FOLDS, FOLDS.blocks)
    with pytest.raises(UserError, match=r"was trained on 32 of the 48 images that are held out to compare trainings"):
        images.require_unknown(settings.sources)
    images.require_unknown(on(photographs, folds=None).sources)


def test_inside_a_run_other_names_are_not_those_of_the_run(photographs, first, monkeypatch):
    held = held_out(on(photographs, fold=1))
    monkeypatch.chdir(first.path)
    assert exposure.known(("imagenet", "efficientnet-lite0"), held) == {}
    assert exposure.known((".",), held) == {".": 16}
    monkeypatch.chdir(first.path / "checkpoints")
    assert exposure.known(("final.npz",), held) == {str(first.path): 16}
