"""The clients of docs/serving.md, as they stand there, against the SavedModel of the same network."""

import base64
import io
import json
import re
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.serving.random_detectors import detector
from tests.thoroughness import thorough
from tfeff.errors import UserError
from tfeff.serving import interface, savedmodel
from tfeff.serving.exportable import FORMATS, fits
from tfeff.serving.fitting import Fitting
from tfeff.tasks import ClassificationTask, ImageTask
from tfeff.tasks.task import ImageReading

pytestmark = pytest.mark.slow

DOCUMENT = Path(__file__).parents[2] / "docs" / "serving.md"
CLIENTS = dict(re.findall(r"### ([^\n]+)\n(?:(?!###).)*?```python\n(.+?)```", DOCUMENT.read_text("utf-8"), re.DOTALL))
"""Heading -> program."""
PACKAGES = {
    "ONNX Runtime": ("onnx", "onnxruntime", "tf2onnx"),
    "OpenVINO": ("openvino", "openvino"),
    "SavedModel": ("saved_model",),
    "LiteRT": ("litert", "ai_edge_litert"),
    "TensorFlow Serving": ("saved_model",),
}
"""Heading -> format, and what its converter and its client need."""
FITTING = tuple(f"{runtime} with the fitting of LiteRT" for runtime in ("ONNX Runtime", "OpenVINO"))
"""Clients of models that take images that fit."""
KINDS = ("stretch", "crop", "detector", "stretched detector")
NAMES = ["a", "b", "c"]
SHOWN = 12
"""Detections above the threshold."""
STORED, SIZE = (72, 80), (64, 64)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smooth image of 130 x 90 pixels that lies on its side, as its EXIF orientation says."""
    noise = np.random.default_rng(0).integers(0, 256, (13, 9, 3), np.uint8)
    upright = Image.fromarray(noise).resize((90, 130), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    return path


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A smooth gray image of 16 bits, and one of its upper 8."""
    folder, levels = tmp_path_factory.mktemp("deep"), np.add.outer(np.arange(90) * 600, np.arange(130) * 90)
    Image.fromarray(levels.astype(np.uint16)).save(folder / "16.png")
    Image.fromarray((levels // 256).astype(np.uint8)).save(folder / "8.png")
    return [folder / "16.png", folder / "8.png"]


@pytest.fixture(scope="module", params=KINDS)
def network(request: pytest.FixtureRequest) -> tuple[keras.Model, ImageTask]:
    if request.param.endswith("detector"):
        noise = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype(np.float32)
        task, model = detector("yolo", noise, f"task.stretch={request.param.startswith('stretched')}".lower())
        distances = next(each for each in model.trainable_variables if each.path == "box_head_predict/bias")
        distances.assign(-np.tile(np.arange(16.0), 4))  # short ones are more probable, so boxes are small
        return model, task

    class Fitted(ClassificationTask):
        @property
        def reading(self):
            return ImageReading(request.param)

    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 64, -2.0)(inputs))
    spread = keras.initializers.RandomNormal(stddev=0.1, seed=0)
    return keras.Model(inputs, keras.layers.Dense(3, kernel_initializer=spread)(keras.layers.Flatten()(x))), Fitted()


@pytest.fixture(scope="module")
def expected(network, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The SavedModel, whose detection threshold leaves SHOWN detections, and its predictions for the pixels."""
    (model, task), folder = network, tmp_path_factory.mktemp("saved_model")
    sizes = {"image_size": STORED, "size": SIZE, "channels": 3, "task": task}
    path = savedmodel.export(model, NAMES, folder / "model", score=0.5, **sizes)
    upright = np.asarray(Image.open(photo).transpose(Image.Transpose.ROTATE_270))
    served = tf.saved_model.load(path).signatures["serving_default"](images=tf.constant(upright[np.newaxis]))
    found = {name: value.numpy()[0] for name, value in served.items()}
    if "scores" in found:
        about = json.loads((path / "metadata.json").read_text())
        del about["crc32"]
        about["score"] = float(found["scores"][SHOWN - 1 : SHOWN + 1].mean())
        (path / "metadata.json").write_text(json.dumps(about))
    return path, found


def program(client: str) -> str:
    """Returns the client of a heading; of `FITTING`, that of LiteRT with the lines of the other runtime."""
    if client not in FITTING:
        return CLIENTS[client]
    start = re.compile("import o|from ai|model =|session =|outputs =|run =|found =")
    lines, others = (CLIENTS[name].splitlines() for name in ("LiteRT", client.partition(" with ")[0]))
    (place,) = (place for place, line in enumerate(lines) if line.startswith("run ="))
    first, last = ([line for line in part if not start.match(line)] for part in (lines[:place], lines[place:]))
    return "\n".join([*first, *filter(start.match, others), *last])


def exported(
    format: str, network: tuple[keras.Model, ImageTask], saved: Path, folder: Path, *, fit: bool | None = None
) -> Path:
    """Returns the folder of an export, as `tfeff.export` writes it."""
    if format == "saved_model":
        return saved
    model, task = network
    fit = fits(format, "float32") if fit is None else fit
    fitting = Fitting(task.reading, STORED, SIZE, 3) if fit else None
    for file, contents in FORMATS[format].convert(model, task, fitting=fitting).items():
        (folder / file).write_bytes(contents)
    score = json.loads((saved / "metadata.json").read_text()).get("score")
    size = None if fit else SIZE
    about = interface.metadata(task, NAMES, score, channels=3, image_size=STORED, size=size)
    (folder / "metadata.json").write_text(about)
    return folder


def serve(saved: Path, request: urllib.request.Request) -> io.BytesIO:
    """Returns what TensorFlow Serving returns to `POST .../v1/models/NAME:predict`, in its row format.

    An instance has a value for each input of the signature, in its type; for a signature with a single input, the name
    can be left out. An object with the key `b64` stands for bytes. The result has an object for each instance, with the
    outputs of the signature, which is `serving_default` unless the request names another one.
    """
    assert request.get_method() == "POST"
    asked = json.loads(request.data)
    signature = tf.saved_model.load(saved).signatures[asked.get("signature_name", "serving_default")]
    specs = signature.structured_input_signature[1]
    given = {
        name: tf.constant([_value(_input(instance, name, len(specs))) for instance in asked["instances"]], spec.dtype)
        for name, spec in specs.items()
    }
    outputs = {name: value.numpy().tolist() for name, value in signature(**given).items()}
    rows = [{name: value[index] for name, value in outputs.items()} for index in range(len(asked["instances"]))]
    return io.BytesIO(json.dumps({"predictions": rows}, default=bytes.decode).encode())


def _input(instance: Any, name: str, inputs: int) -> Any:
    named = isinstance(instance, dict) and name in instance
    assert named or inputs == 1
    return instance[name] if named else instance


def _value(value: Any) -> Any:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def test_the_rest_interface_also_takes_arrays(network, expected) -> None:
    saved, _ = expected
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), np.uint8)
    body = {"signature_name": "serving_default", "instances": [{"images": image.tolist()} for image in images]}
    answer = serve(saved, urllib.request.Request("http://localhost", json.dumps(body).encode()))
    direct = tf.saved_model.load(saved).signatures["serving_default"](images=tf.constant(images))
    for index, found in enumerate(json.load(answer)["predictions"]):
        assert found.keys() == direct.keys()
        for name in found.keys() & {"probabilities", "scores", "boxes"}:
            np.testing.assert_allclose(found[name], direct[name][index], atol=1e-5)


def test_the_rest_interface_takes_values_without_the_name_of_the_input(expected, photo) -> None:
    saved, direct = expected
    upright = np.asarray(Image.open(photo).transpose(Image.Transpose.ROTATE_270))
    encoded = [{"b64": base64.b64encode(photo.read_bytes()).decode()}] * 2
    for body in ({"instances": [upright.tolist()]}, {"signature_name": "serving_bytes", "instances": encoded}):
        answer = json.load(serve(saved, urllib.request.Request("http://localhost", json.dumps(body).encode())))
        assert len(answer["predictions"]) == len(body["instances"])
        for found in answer["predictions"]:
            for name in found.keys() & {"probabilities", "scores"}:
                # Decoders of JPEG differ by a level or two.
                np.testing.assert_allclose(found[name], direct[name], atol=1e-3)


@pytest.mark.parametrize(
    ("network", "client"),
    [
        # Other models than those of LiteRT fit images themselves, so their clients do the same for every kind.
        (kind, client) if kind in ("stretch", "detector") or client in fast else thorough(kind, client)
        for kind in KINDS
        for fast in [("LiteRT", "SavedModel", *(["OpenVINO", FITTING[1]] if kind == "stretched detector" else []))]
        for client in (*PACKAGES, *FITTING)
    ],
    indirect=["network"],
)
def test_a_client_finds_what_the_saved_model_finds(
    client, network, expected, photo, deep, tmp_path, monkeypatch, capsys
):
    format, *packages = PACKAGES[client.partition(" with ")[0]]
    for package in packages:
        pytest.importorskip(package)
    assert "tfeff" not in program(client)
    saved, wanted = expected
    monkeypatch.setattr(urllib.request, "urlopen", partial(serve, saved))
    if client == "OpenVINO" and network[1].kind.detects and network[1].reading.fit == "stretch":
        with pytest.raises(UserError, match="add --nofit"):
            exported(format, network, saved, tmp_path)
        return
    fit = False if client in FITTING else None
    folder, printed = exported(format, network, saved, tmp_path, fit=fit), list[str]()
    for file in (photo, *deep):
        monkeypatch.setattr("sys.argv", ["client.py", str(folder), str(file)])
        exec(compile(program(client), f"docs/serving.md, {client}", "exec"), {"__name__": "__main__"})
        printed.append(capsys.readouterr().out)
    assert printed[1] == printed[2]
    lines = [re.fullmatch(r"(\w): ([\d.]+)((?: -?[\d.]+)*)", line) for line in printed[0].splitlines()]
    names, scores = [line[1] for line in lines], [float(line[2]) for line in lines]
    if "probabilities" in wanted:
        order = np.argsort(-wanted["probabilities"])
        assert names == [NAMES[index] for index in order]
        np.testing.assert_allclose(scores, wanted["probabilities"][order], atol=1e-3)
        assert np.ptp(scores) > 0.1
        assert printed[1].count("\n") == len(NAMES)
    else:
        assert names == [NAMES[index] for index in wanted["labels"][:SHOWN]]
        np.testing.assert_allclose(scores, wanted["scores"][:SHOWN], atol=1e-3)
        boxes = [[float(side) for side in line[3].split()] for line in lines]
        # Scores that are nearly equal can change places.
        np.testing.assert_allclose(sorted(boxes), sorted(wanted["boxes"][:SHOWN].tolist()), atol=0.2)
        assert np.max(boxes) > SIZE[0]  # in pixels of the image, not of the input
        assert np.std(boxes, axis=0).min() > 5  # not all of them are the whole image


def test_there_is_a_client_for_each_format():
    assert CLIENTS.keys() == PACKAGES.keys()
    assert {format for format, *_ in PACKAGES.values()} == {"saved_model", *FORMATS}
