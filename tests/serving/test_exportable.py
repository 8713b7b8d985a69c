"""What exports say about themselves."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfeff import models, runs
from tfeff.errors import UserError
from tfeff.runs import model_files
from tfeff.runs.journal import model_state
from tfeff.serving import exported, openvino
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


def test_openvino_computes_in_the_precision_of_the_export(exportable: Exportable, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    if not openvino.has_bfloat16():
        pytest.skip("OpenVINO has no bfloat16 on this CPU")
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    outputs, weights = [], []
    for precision, hint in (("float32", "f32"), ("bfloat16", "bf16")):
        folder = exportable.portable(tmp_path / precision, "openvino", fit=False, precision=precision)
        (found,) = runs.load_predictor(folder).predict_pixels([("image", image)])
        model = openvino.core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": hint})
        expected = model({"images": image[np.newaxis].astype(np.float32)})["probabilities"][0]
        np.testing.assert_array_equal(found.probabilities, expected)
        outputs.append(expected)
        weights.append((folder / "model.bin").read_bytes())
    assert weights[0] == weights[1]
    assert 0 < np.abs(outputs[1] - outputs[0]).max() < 0.02


def test_a_file_keeps_its_precision(exportable: Exportable, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    options: dict[str, Any] = dict.fromkeys(("fit", "freeze"))
    for name in ("folder", "mine.xml"):
        out = model_files.export(
            lambda: exportable,
            tmp_path / name,
            "openvino",
            precision="bfloat16",
            next_version=False,
            overwrite=False,
            **options,
        )
        assert exported.precision_of(exported.located(out)[1]) == "bfloat16"


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
