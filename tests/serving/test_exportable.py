"""What exports say about themselves."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tfeff import models, runs
from tfeff.errors import UserError
from tfeff.runs.journal import model_state
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


@pytest.mark.parametrize(
    ("format", "model", "listed"),
    [("litert", "model.tflite", "metadata.json"), ("", "saved_model.pb", "checksums.json")],
)
def test_predictions_are_continued_while_metadata_and_checksums_are_the_same(
    format: str, model: str, listed: str, exportable: Exportable, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    exportable.portable(folder, format) if format else exportable.saved_model(folder)
    states = [model_state(folder)]
    os.utime(folder / model, ns=(1, 1))
    os.utime(folder / listed, ns=(1, 1))
    (folder / "predictions").mkdir()  # by `--out` inside the folder
    assert model_state(folder) == states[0]
    for name, old, new in (("metadata.json", '"a"', '"c"'), (listed, f'"{model}": "', f'"{model}": "0')):
        lines = (folder / name).read_text().replace(old, new).splitlines()
        (folder / name).write_text("\n".join(line for line in lines if '"crc32"' not in line))
        states.append(model_state(folder))
    if format:
        about = json.loads((folder / listed).read_text())
        del about["files"]
        (folder / listed).write_text(json.dumps(about))
    else:
        (folder / listed).unlink()
    for time in (1, 2):
        os.utime(folder / model, ns=(time, time))
        states.append(model_state(folder))
    assert len(set(states)) == len(states) == 5


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
