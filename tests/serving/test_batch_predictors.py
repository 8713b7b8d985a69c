"""Predictions of exported models for the images of a run are those of its network."""

from pathlib import Path

import numpy as np
import pytest

from tests.rcnn.voc_digits import write_voc
from tfeff import config, training
from tfeff.errors import UserError
from tfeff.runs.equality import DIFFERENCE, difference
from tfeff.serving import run as serving
from tfeff.serving.batch_predictors import batch_predictor
from tfeff.tasks.object_detection import detections
from tfeff.tasks.task import BatchPredictor

pytestmark = pytest.mark.slow

CLASSIFIER = config.Experiment(
    model=config.architecture("resnet", width=4, stage_blocks=(1, 1), resolution=16),
    data=config.Data(channels=1, train_examples=64),
    training=config.Training(epochs=1, batch_size=32, precision="float32"),
)
DETECTOR = config.Experiment(
    task=config.YoloSettings(network=config.detector("yolo", neck_channels=8, head_repeats=1), max_objects=20),
    model=config.architecture("resnet", width=4, stage_blocks=(1, 1, 1, 1), stem="7x7", resolution=64),
    training=config.Training(epochs=1, batch_size=8, precision="float32"),
)
RUNS = {
    "stretched": (CLASSIFIER, ["data.image_size=12"]),
    "whole": (CLASSIFIER, ["task.center_crop=0.875", "data.cache=none", "data.image_size=original"]),
    "detector": (DETECTOR, ["task.network.aspect=1.5", "data.image_size=80", "data.validation_fraction=0.0"]),
    "stretching detector": (DETECTOR, ["task.stretch=true", "data.image_size=80", "data.validation_fraction=0.0"]),
}


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> training.Workdir:
    settings, overrides = RUNS[request.param]
    directory = tmp_path_factory.mktemp("run")
    if "detector" in request.param:
        write_voc(directory / "voc", {"train": range(16), "test": range(16, 24)})
        overrides = [f"data.source=voc:{directory / 'voc'}", *overrides]
    return training.train(config.override(settings, overrides), directory / "run", tensorboard=False)


@pytest.mark.parametrize("format", ["saved_model", "litert"])
def test_they_are_those_of_the_network(run: training.Workdir, format: str, tmp_path: Path) -> None:
    plan, reporter = training.Plan.opened(run), training.Reporter(quiet=True)
    model, export = training.trained_model(run, plan=plan), tmp_path / format
    images = training.split_images(run, plan.images, None, reporter).images
    pipeline = plan.batches(images, model, "evaluation", reporter.reading)
    expected = BatchPredictor(plan.task.predictor(model), plan.task)(pipeline)
    if format == "saved_model":
        serving.exportable(run, model).saved_model(export)
    else:
        serving.exportable(run, model).portable(export, format, fit=False)
    found = batch_predictor(export)(pipeline)
    if not plan.task.kind.detects:
        assert found["probabilities"].shape == (len(images), 10)
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
        return
    here, there = (
        [{"boxes": each.boxes_yxyx, "scores": each.scores, "labels": each.labels} for each in detections(predictions)]
        for predictions in (found, expected)
    )
    assert sum(len(each["scores"]) for each in there) > 0
    assert difference(here, there) < DIFFERENCE
    assert difference(here, there[::-1]) > DIFFERENCE


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no exported model"):
        batch_predictor(tmp_path)
