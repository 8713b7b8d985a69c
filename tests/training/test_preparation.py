"""What a run begins with: weights inherited from another run, of another width or depth."""

import importlib

import numpy as np
import pytest

from tests.thoroughness import only_thorough
from tests.training.test_loop import assert_same_arrays, experiment, final
from tfeff import config, models, selection, training

build = importlib.import_module("tfeff.models.build")  # the function has the same name


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return training.train(experiment("model.width=4", "training.epochs=8"), tmp_path_factory.mktemp("source"))


@pytest.fixture(autouse=True)
def no_earlier_inheritance(monkeypatch):
    monkeypatch.setattr(build, "_RECENT", {})


@pytest.mark.slow
def test_a_narrower_network_begins_close_to_its_source(tmp_path, source, capsys):
    changes = f"model.weights={source.path}", "model.width=3", "training.epochs=1", "optimizer.learning_rate=1e-6"
    inherited = training.train(experiment(*changes), tmp_path / "inherited").rows()[0]
    output = capsys.readouterr().out
    assert "inherited from resnet" in output
    assert "reconstructed on 130 images" in output or "reconstructed on 128 images" in output
    random = training.train(experiment(*changes[1:]), tmp_path / "random").rows()[0]
    before = source.rows()[-1]
    assert random["validation_loss"] - inherited["validation_loss"] > 0.5 * (
        random["validation_loss"] - before["validation_loss"]
    )


@pytest.mark.slow
def test_a_wider_and_deeper_network_begins_as_its_source(tmp_path, source):
    changes = f"model.weights={source.path}", "model.width=7", "model.stage_blocks=2,1", "optimizer.learning_rate=1e-9"
    settings = experiment(*changes, "training.epochs=1", "optimizer.frozen=stem*,stage*")  # with their statistics
    workdir = training.train(settings, tmp_path / "wide")
    network, theirs = (training.trained_model(each) for each in (workdir, source))
    images = np.random.default_rng(0).uniform(0, 255, (9, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(network(images), theirs(images), atol=1e-4)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    network = config.detector("yolo", neck="fpn", levels=("P3", "P4"), neck_channels=8)
    settings = config.Experiment(
        task=config.YoloSettings(network=network),
        model=config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), stem="7x7", resolution=64),
        data=config.Data(source="embedded:placed_digits", train_examples=32, channels=1, validation_examples=16),
        training=config.Training(epochs=1, batch_size=8, precision="float32"),
    )
    return settings, training.train(settings, tmp_path_factory.mktemp("detector"))


@only_thorough
def test_a_wider_detector_begins_as_its_source(tmp_path, detector, capsys):
    settings, source = detector
    changes = f"model.weights={source.path}", "model.width=6", "task.network.neck_channels=12"
    frozen = "optimizer.frozen=stem*,stage*,neck*,class_head_conv*,box_head_conv*"
    wider = config.override(settings, [*changes, frozen, "optimizer.learning_rate=1e-9"])
    workdir = training.train(wider, tmp_path / "wide")
    assert "0 reconstructed" in capsys.readouterr().out
    network, theirs = (training.trained_model(each) for each in (workdir, source))
    images = np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 1)).astype(np.float32)
    for name, values in theirs(images).items():
        np.testing.assert_allclose(network(images)[name], values, atol=1e-4)


@only_thorough
def test_a_detector_of_another_kind_inherits_the_backbone(tmp_path, detector, capsys):
    settings, source = detector
    changes = f"model.weights={source.path}", "model.width=6", "task.network.neck=panet"
    training.train(config.override(settings, changes), tmp_path / "other")
    assert "neck and heads are new: neck panet instead of fpn" in " ".join(capsys.readouterr().out.split())


def test_held_out_images_take_no_part(tmp_path, source, monkeypatch):
    seen = []
    real = build.inherit

    def watched(theirs, heir, images, **options):
        seen.append(images)
        return real(theirs, heir, images, **options)

    monkeypatch.setattr(build, "inherit", watched)
    settings = experiment(f"model.weights={source.path}", "model.width=3", folds=3, fold=1, validation_fraction=0.0)
    data = training.train(settings, tmp_path / "fold", until_epoch=1)
    assert data.dataset()["train_examples"] == 96
    assert len(seen) == 1
    assert len(np.unique(seen[0].reshape(len(seen[0]), -1), axis=0)) <= 96
    assert len(seen[0]) == 96


@pytest.mark.slow
def test_kill_and_resume_give_the_same_weights(tmp_path, source):
    settings = experiment(f"model.weights={source.path}", "model.width=3", "training.deterministic=true")
    whole = training.train(settings, tmp_path / "whole")
    build._RECENT.clear()
    training.train(settings, tmp_path / "parts", until_epoch=1)
    assert_same_arrays(final(whole), final(training.train(settings, tmp_path / "parts")))


def test_one_inheritance_serves_equal_trials(source, monkeypatch):
    counted = []
    monkeypatch.setattr(
        build, "inherit", lambda *args, **options: counted.append(1) or models.inherit(*args, **options)
    )
    images = np.zeros((4, 16, 16, 3), np.float32)
    trained = models.architecture("resnet", resolution=16, width=4, stage_blocks=(1, 1))
    target = models.architecture("resnet", resolution=16, width=6, stage_blocks=(1, 1), weights=str(source.final))
    for _ in range(2):
        network = models.build("resnet", resolution=16, width=6, stage_blocks=(1, 1), num_classes=10, channels=1)
        models.initialize(network, target, images[..., :1], trained=models.Trained(trained, 10))
    assert len(counted) == 1


@pytest.mark.slow
def test_image_files_are_compared_only_when_a_run_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(selection, "notes", lambda *_: ("images are odd",))
    training.train(experiment(), tmp_path, until_epoch=1, tensorboard=False)
    assert "images are odd" in capsys.readouterr().out
    monkeypatch.setattr(selection, "notes", lambda *_: pytest.fail("image files are opened"))
    run = training.train(experiment(), tmp_path, until_epoch=2, tensorboard=False)
    assert "images are odd" in run.dataset()["notes"]
