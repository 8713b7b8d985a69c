"""What exports say about themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

from tfeff import models, runs
from tfeff.errors import UserError
from tfeff.serving.exportable import Exportable
from tfeff.tasks import ClassificationTask


@pytest.fixture(scope="module")
def exportable() -> Exportable:
    network = models.build("resnet", width=2, stage_blocks=(1, 1), resolution=16, num_classes=2)
    return Exportable(ClassificationTask(), network, ["a", "b"], None, 3)


def test_images_are_fitted_to_the_input_if_no_other_size_is_known(exportable: Exportable, tmp_path: Path) -> None:
    for fit in (False, True):
        path = exportable.portable(tmp_path / str(fit), "litert", fit=fit)
        assert json.loads((path / "metadata.json").read_text())["image_size"] == [16, 16]


def test_a_damaged_model_is_refused(exportable: Exportable, tmp_path: Path) -> None:
    images = [("image", np.zeros((16, 16, 3), np.uint8))]
    folder = exportable.portable(tmp_path / "folder", "litert")
    (expected,) = runs.load_predictor(folder).predict_pixels(images)
    file = (folder / "model.tflite").rename(tmp_path / "mine.tflite")
    (folder / "metadata.json").rename(tmp_path / "mine.tflite.json")
    (found,) = runs.load_predictor(file).predict_pixels(images)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.tflite: damaged, edited or missing; export the model again, or delete"):
        runs.load_predictor(file)
