"""Exports to Keras, opened in another process, where tfeff cannot be imported unless the network needs it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tests.serving.random_detectors import detector
from tests.thoroughness import thorough
from tfeff import config, models, runs, tasks, training
from tfeff.errors import UserError
from tfeff.models.layers.residual import StochasticDepth
from tfeff.serving import keras_file

DOCUMENT = Path(__file__).parents[2] / "docs" / "serving.md"
SMALL = {
    "efficientnet-b0": {"width_coefficient": 0.25, "depth_coefficient": 0.3},
    "regnet-y-400mf": {"width_coefficient": 0.25, "depth_coefficient": 0.1},
    "convnext-tiny": {"width_coefficient": 0.1, "depth_coefficient": 0.1, "layer_scale": 0.1},
}
"""Classifiers with each of the layers that are replaced."""
DETECTORS = {"yolo": False, "efficientdet": True, "faster_rcnn": True}
"""Name -> whether tfeff is needed to open it."""
WITHOUT_TFEFF, WITH_TFEFF = "sys.modules['tfeff'] = None", "import tfeff.models"


def image(size: int = 64, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (1, size, size, channels)).astype(np.float32)


def randomize(network: keras.Model) -> None:
    """Gives every weight a value of its own; the statistics of batch normalization remain positive."""
    rng = np.random.default_rng(0)
    for variable in network.variables:
        if "seed" not in variable.path:
            scale = 1 / max(np.sqrt(np.prod(variable.shape[:-1])), 4.0)
            variable.assign(variable + np.abs(rng.normal(0, scale, variable.shape)).astype(np.float32))


OPEN = """
import keras, numpy as np
for file in map(str.strip, sys.stdin):
    inputs = list(np.load(file.replace(".keras", ".in.npz")).values())
    found = keras.saving.load_model(file)(inputs if len(inputs) > 1 else inputs[0], training=False)
    np.savez(file.replace(".keras", ".out.npz"), **(found if isinstance(found, dict) else {"output": found}))
    print("opened", file, flush=True)
"""
Opened = Callable[[str, Mapping[Path, list[np.ndarray]]], list[dict[str, np.ndarray]]]


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    """`opened(begin, files)`: outputs of files in another process, by name; `output` if there is one without a name.

    There is one process for each beginning of its program.
    """
    processes = dict[str, subprocess.Popen]()

    def outputs(begin: str, given: Mapping[Path, list[np.ndarray]]) -> list[dict[str, np.ndarray]]:
        if begin not in processes:
            program = [sys.executable, "-c", f"import sys\n{begin}\n{OPEN}"]
            processes[begin] = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process = processes[begin]
        assert process.stdin is not None
        assert process.stdout is not None
        for file, inputs in given.items():
            np.savez(file.with_suffix(".in.npz"), *inputs)
            process.stdin.write(f"{file}\n")
            process.stdin.flush()
            assert f"opened {file}\n" in iter(process.stdout.readline, "")
        return [dict(np.load(file.with_suffix(".out.npz"))) for file in given]

    yield outputs
    for process in processes.values():
        process.communicate()


def written(file: Path, network: keras.Model, task: tasks.ImageTask) -> Path:
    file.write_bytes(keras_file.convert(task.predictor(network), task)[keras_file.FILE])
    return file


@pytest.mark.slow
def test_classifiers_open_without_tfeff(opened: Opened, tmp_path: Path) -> None:
    files, expected = dict[Path, list[np.ndarray]](), list[np.ndarray]()
    for name, settings in SMALL.items():
        network = models.build(config.architecture(name, resolution=64, **settings), num_classes=3)
        randomize(network)
        files[written(tmp_path / f"{name}.keras", network, tasks.ClassificationTask())] = [image()]
        expected.append(network(image(), training=False).numpy())
    for found, logits in zip(opened(WITHOUT_TFEFF, files), expected, strict=True):
        assert np.ptp(logits) > 1e-3
        np.testing.assert_allclose(found["output"], logits, rtol=1e-4, atol=1e-5)


def test_the_network_can_be_trained_further() -> None:
    """Stochastic depth drops whole images: a residual branch is zero or divided by the probability to survive."""
    x = keras.Input((4, 4, 2))
    network = keras_file.plain(keras.Model(x, StochasticDepth(0.25, seed=0)(x)))
    assert type(network.layers[-1]) is keras.layers.Dropout
    found = network(np.ones((1000, 4, 4, 2), np.float32), training=True).numpy()
    assert set(np.unique(found)) == {0.0, 4.0}
    assert (np.ptp(found, axis=(1, 2, 3)) == 0).all()
    assert abs((found[:, 0, 0, 0] > 0).mean() - 0.25) < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("needs_tfeff", [thorough(False), True])
def test_detectors_return_the_outputs_of_their_heads(
    needs_tfeff: bool, opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corners = np.sort(np.random.default_rng(2).uniform(0, 64, (1, 10, 2, 2)), axis=2).astype(np.float32)
    files, expected = dict[Path, list[np.ndarray]](), list[dict]()
    for name in (name for name, needs in DETECTORS.items() if needs == needs_tfeff):
        task, network = detector(name, image())
        given = [image(), corners.reshape(1, 10, 4)] if network.regions else [image()]
        expected.append(task.predictor(network)(given if network.regions else image(), training=False))
        caplog.clear()
        files[written(tmp_path / f"{name}.keras", network, task)] = given
        assert ("needs tfeff where it is opened" in caplog.text) == needs_tfeff
    for found, outputs in zip(opened(WITH_TFEFF if needs_tfeff else WITHOUT_TFEFF, files), expected, strict=True):
        assert found.keys() == outputs.keys()
        for output, values in outputs.items():
            np.testing.assert_allclose(found[output], values, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """A classifier with test-time augmentation."""
    settings = config.Experiment(
        model=config.architecture("resnet", width=2, stage_blocks=(1, 1), resolution=8),
        data=config.Data(source="embedded:digits", channels=1, train_examples=144, validation_fraction=0.2),
        training=config.Training(epochs=1, batch_size=32, precision="float32"),
    )
    settings = config.override(settings, ["task.tta.mirrored=true", "task.tta.shift=1"])
    return runs.open_run(training.train(settings, tmp_path_factory.mktemp("run"), tensorboard=False).path)


@pytest.mark.slow
def test_a_run_is_one_file_with_its_metadata(run: runs.Run, opened: Opened, tmp_path: Path) -> None:
    path = run.export(tmp_path / "mine.keras")
    assert {each.name for each in tmp_path.iterdir()} == {"mine.keras", "mine.keras.json"}
    assert json.loads((tmp_path / "mine.keras.json").read_text())["input"] == [8, 8, 1]
    digit = image(8, 1).round()
    (found,) = opened(WITHOUT_TFEFF, {path: [digit]})
    probabilities = run.predict(np.broadcast_to(digit[0], (8, 8, 3)).astype(np.uint8))[0].probabilities
    np.testing.assert_allclose(keras.ops.softmax(found["output"])[0], probabilities, atol=1e-5)
    with pytest.raises(UserError, match=r"a \.keras file holds the network alone"):
        run.export(tmp_path / "other.keras", fit=True)


def test_the_program_of_the_document_prints_the_probabilities(
    run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = re.search(r"## Keras\n.*?```python\n(.+?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert program is not None
    run.export(tmp_path / "exported", "keras")
    pixels = np.random.default_rng(0).integers(0, 2**16, (13, 19), np.uint16)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    (expected,) = run.predict(tmp_path / "photo.png")
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["keras.py", str(tmp_path / "exported"), str(tmp_path / "photo.png")])
        patch.setitem(sys.modules, "tfeff", None)
        exec(compile(program[1], "docs/serving.md, Keras", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    best = np.argsort(-expected.probabilities)[:5]
    names = json.loads((tmp_path / "exported" / "metadata.json").read_text())["class_names"]
    assert printed.splitlines() == [f"{names[index]}: {expected.probabilities[index]:.4f}" for index in best]
