"""The exports of a finished run fit images as the run does, or state how their callers have to."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tfeff import config, runs, training
from tfeff.data.images import resizing
from tfeff.errors import UserError
from tfeff.serving import litert, timing
from tfeff.serving import run as serving


@pytest.fixture(scope="module", params=["stretched", "whole"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> training.Workdir:
    """Original images keep their size, so there is none to which they are fitted first."""
    overrides = {
        "stretched": ["data.image_size=12"],
        "whole": ["task.center_crop=0.875", "data.cache=none", "data.image_size=original"],
    }[request.param]
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=16),
        data=config.Data(channels=1, train_examples=64),
        training=config.Training(epochs=1, batch_size=32, precision="float32"),
    )
    settings = config.override(settings, overrides)
    return training.train(settings, tmp_path_factory.mktemp("run"), tensorboard=False)


def metadata(directory: Path) -> list[list[int | None] | None]:
    """Returns the size to which the run fits images first, and the shape of the inputs."""
    found = json.loads((directory / "metadata.json").read_text())
    return [found["image_size"], found["input"]]


def test_a_portable_model_states_the_size_to_which_images_are_fitted_first(
    run: training.Workdir, tmp_path: Path
) -> None:
    serving.exportable(run).portable(tmp_path / "litert", "litert")
    size = None if run.config().task.center_crop else [12, 12]
    assert metadata(tmp_path / "litert") == [size, [16, 16, 1]]


@pytest.mark.slow
def test_a_portable_model_that_fits_images_states_the_size_that_needs_no_fitting(run, tmp_path) -> None:
    serving.exportable(run).portable(tmp_path / "litert", "litert", fit=True)
    size = None if run.config().task.center_crop else [12, 12]
    assert metadata(tmp_path / "litert") == [size, [None, None, 1]]
    if size:
        serving.exportable(run).portable(tmp_path / "without", "litert")
        found = timing.time_alternately([tmp_path / "litert", tmp_path / "without"], rounds=1)
        assert [each.fits for each in found] == [True, False]
    else:
        with pytest.raises(
            UserError, match="has no time of its own; export one that takes images that fit, with --nofit"
        ):
            timing.time_exported(tmp_path / "litert", rounds=1)


@pytest.mark.slow
@pytest.mark.parametrize("built", [False, True])
def test_images_are_fitted_as_in_the_training(run: training.Workdir, built: bool, tmp_path: Path) -> None:
    network, whole = training.trained_model(run), run.config().task.center_crop is not None
    serving.exportable(run, network if built else None).saved_model(tmp_path / "tensorflow")
    assert metadata(tmp_path / "tensorflow") == [None if whole else [12, 12], [None, None, 1]]
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (20, 30, 1), np.uint8))
    if whole:
        fitted = resizing.center(image, (16, 16), 0.875)[tf.newaxis]
    else:
        fitted = resizing.resize(resizing.fit(image, (12, 12))[tf.newaxis], (16, 16))
    served = tf.saved_model.load(str(tmp_path / "tensorflow")).signatures["serving_default"](images=image[tf.newaxis])
    np.testing.assert_allclose(served["probabilities"], tf.nn.softmax(network(fitted, training=False)), atol=1e-5)


@pytest.mark.slow
def test_versions_for_tensorflow_serving_are_numbered(run: training.Workdir, tmp_path: Path) -> None:
    opened, out = runs.open_run(run.path), tmp_path / "model"
    assert opened.export(out, next_version=True) == out / "1"
    (out / "9").mkdir()
    assert opened.export(out, next_version=True) == out / "10"
    assert {each.name for each in out.iterdir()} == {"1", "9", "10"}  # nothing else that a server could load
    assert "serving_bytes" in tf.saved_model.load(out / "10").signatures
    with pytest.raises(UserError, match="a SavedModel, not a folder of versions"):
        opened.export(out / "1", next_version=True)
    for wrong in ({"format": "litert"}, {"overwrite": True}):
        with pytest.raises(UserError, match="next_version requires"):
            opened.export(tmp_path / "other", next_version=True, **wrong)


def test_8_bit_ranges_come_from_all_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level, name in ((40, "dark"), (120, "gray"), (200, "light")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.full((16, 16, 3), level + number, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / name / f"{number}.png"), pixels)
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=16),
        data=config.Data(source=f"folder:{tmp_path / 'images'}", image_size=16),
        training=config.Training(epochs=1, batch_size=8, precision="float32"),
    )
    run = training.train(settings, tmp_path / "run", tensorboard=False)
    levels = []

    def convert(model, task, examples, *, fitting):
        levels.extend(float(each["images"].mean()) for each in examples())
        return {}

    monkeypatch.setattr(litert, "convert", convert)
    monkeypatch.setattr(serving, "CALIBRATION_IMAGES", 6)
    serving.exportable(run).portable(tmp_path / "int8", "litert", precision="int8")
    assert len(levels) == 6
    assert {round((level - 45) / 80) for level in levels} == {0, 1, 2}
