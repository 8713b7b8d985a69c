"""What Python users call: the documented blocks run, and equal what the verbs do."""

import inspect
import json
import re
import sys
import types
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import keras
import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

import tfeff
from tests.models.own_backbones import keras_cv_mobilenet, keras_cv_yolo, made, sequential
from tests.thoroughness import thorough
from tests.verbs import ROOT
from tfeff import api, config, models, runs
from tfeff.config.tasks import TASKS
from tfeff.data.sources import placed_digits
from tfeff.errors import UserError
from tfeff.models import given as backbones
from tfeff.runs import given as given_images
from tfeff.runs.predictors import Options

pytestmark = pytest.mark.usefixtures("without_figures")

TINY = {
    "model.name": "resnet",
    "model.weights": None,
    "model.width": 4,
    "model.stage_blocks": (1, 1),
    "model.resolution": 16,
    "training.epochs": 2,
    "training.deterministic": True,
}
FLAGS = [
    "--config.model.name=resnet",
    "--config.model.weights=none",
    "--config.model.width=4",
    "--config.model.stage_blocks=1,1",
]
FLAGS += ["--config.model.resolution=16", "--config.training.epochs=2", "--config.training.deterministic=true"]
VARIED = ("rotation", "shift", "scale", "brightness", "contrast", "saturation")
PLAIN = {f"task.augmentation.{name}": 0.0 for name in VARIED} | {"task.tta.mirrored": False}
FLAGS += [f"--config.{key}={value}".lower() for key, value in PLAIN.items()]


def blocks(document):
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.S)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with `photos/<class>/*.png` and `new/*.jpg`."""
    root, digits = tmp_path_factory.mktemp("digits"), load_digits()
    for index, (levels, digit) in enumerate(zip(digits.images[:240], digits.target, strict=False)):
        name = ("round", "other")[int(digit not in (0, 6, 8, 9))]
        picture = Image.fromarray((levels * (255 / 16)).astype(np.uint8)).resize((16, 16))
        (root / "photos" / name).mkdir(parents=True, exist_ok=True)
        picture.save(root / "photos" / name / f"{index:03}.png")
        if index < 5:
            (root / "new").mkdir(exist_ok=True)
            picture.convert("RGB").save(root / "new" / f"{index}.jpg")
    return root


@pytest.fixture
def here(photos, monkeypatch):
    """The folder is the current one, and recipes train a tiny network on plain images for two epochs, without its
    results."""

    def own_images(source, more=()):
        return api.own_images(source, TINY | PLAIN | dict(more) | {"training.epochs": 2})

    monkeypatch.chdir(photos)
    monkeypatch.setattr(tfeff, "own_images", own_images)
    monkeypatch.setattr(tfeff, "train", partial(api.train, evaluate=False, export=False))
    monkeypatch.setattr(keras.applications, "MobileNetV2", partial(first_blocks, keras.applications.MobileNetV2))


def first_blocks(make, **options):
    """Returns the beginning of a MobileNetV2."""
    whole = make(**options)
    return keras.Model(whole.inputs, whole.get_layer("block_2_add").output)


@pytest.mark.slow
def test_the_documented_blocks_run(here, monkeypatch):
    backbone = config.architecture("resnet", width=4, stage_blocks=(1, 1, 1), stem="7x7", resolution=64)
    smaller = partial(models.build_detector, backbone=backbone, levels=("P3", "P4"), neck_channels=8)
    monkeypatch.setattr(models, "build_detector", smaller)
    matplotlib.use("agg", force=True)
    pyplot, scope = "matplotlib.pyplot" in sys.modules, {}
    for block in blocks("docs/python.md"):
        exec(compile(block, "docs/python.md", "exec"), scope)
    assert ("matplotlib.pyplot" in sys.modules) == pyplot
    assert Path("runs/mine.tflite").is_file()
    assert json.loads(Path("runs/mine.tflite.json").read_text())["class_names"] == ["other", "round"]
    assert Path("first.png").is_file()
    assert scope["run"].metrics[-1]["epoch"] == 2
    scope["evaluation"].figures["confusion"].canvas.draw()
    scope["first"].plot().figure.canvas.draw()


def test_a_tilde_means_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/none")):
        tfeff.open("~/none")
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    assert [path for _, path in given_images.listed("~/*.png")] == [tmp_path / "photo.png"]


def test_a_loaded_model_predicts_with_the_arguments_of_a_run():
    of_run, own = (inspect.signature(each.predict).parameters for each in (runs.Run, runs.LoadedModel))
    options = Options.__annotations__
    assert {"options", *of_run} - options.keys() == {"runtime", *own}
    assert options.keys() <= of_run.keys()
    assert [of_run[name].default for name in own if name != "options"] == [
        each.default for name, each in own.items() if name != "options"
    ]


def test_the_readme_shows_what_is_documented():
    assert blocks("docs/python.md")[0] in blocks("README.md")


NOTEBOOKS = {path.stem for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_images", *map(thorough, sorted(NOTEBOOKS - {"own_images"}))])
def test_the_notebooks_run(name, here, tmp_path, monkeypatch):
    pytest.importorskip("tf2onnx")
    shown, module = [], types.ModuleType("IPython.display")
    module.display, module.Image = shown.append, Path
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "docs" / "notebooks" / f"{name}.ipynb").read_text())
    scope = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["execution_count"], "commit the notebook executed"
            exec("".join(cell["source"]), scope)
    assert shown


@pytest.mark.slow
def test_python_and_the_command_line_do_the_same(photos, verbs, tmp_path):
    run = tfeff.train(
        api.own_images(f"folder:{photos / 'photos'}", TINY | PLAIN), tmp_path / "python", export=False, quiet=True
    )
    recipe, source = ROOT / "configs" / "own_images.py", f"--config.data.source=folder:{photos / 'photos'}"
    verbs("train", f"--config={recipe}", f"--workdir={tmp_path / 'verb'}", source, *FLAGS).succeeds()
    for name in ("config.json", "dataset.json", "evaluation_test.json"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "verb" / name).read_bytes(), name
    assert run.evaluation.to_dict() == json.loads((tmp_path / "verb" / "evaluation_test.json").read_text())

    flags = (f"--workdir={tmp_path / 'verb'}", f"--images={photos / 'new'}", f"--out={tmp_path / 'out'}")
    verbs("predict", *flags).succeeds()
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    results = run.predict(photos / "new")
    assert [json.loads(json.dumps(each.row)) for each in results] == [
        {key: value for key, value in row.items() if key != "image"} for row in rows
    ]
    for each, again in zip(results, run.predict(np.stack([each.image for each in results])), strict=True):
        np.testing.assert_allclose(each.probabilities, again.probabilities, atol=1e-6)


@pytest.mark.slow
def test_a_resumed_run_asks_for_the_same_images_and_augmentation(tmp_path, monkeypatch):
    x = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    y = np.arange(40) % 2
    settings = config.override(config.Experiment(), {
        "model.width": 4, "model.stage_blocks": (1, 1), "model.resolution": 16, "training.batch_size": 8,
        "training.epochs": 1, "data.cache": "none",
    })  # fmt: skip

    def train(experiment=settings, **given):
        return tfeff.train(experiment, tmp_path / "run", evaluate=False, export=False, quiet=True, **given)

    def noise(image, rng):
        return image + rng.normal(0, 5, image.shape)

    train(images={"train": (x, y), "test": (x, y)}, augment=noise)
    with pytest.raises(tfeff.UserError, match=r"data\.source: saved 'python:images-\w+', now 'python:images-"):
        train(images={"train": (x, 1 - y), "test": (x, y)}, augment=noise)
    with pytest.raises(tfeff.UserError, match=r"data\.augment: saved '.*noise-\w+', now None"):
        train(images={"train": (x, y), "test": (x, y)})
    with pytest.raises(tfeff.UserError, match="the given images are python:images-"):
        tfeff.open(tmp_path / "run", images={"train": (x, y)})
    more = config.override(tfeff.open(tmp_path / "run").config, {"training.epochs": 2})
    assert train(more).metrics[-1]["epoch"] == 2
    lists = list((tmp_path / "run/unreadable").glob("unreadable-*/index.json"))
    assert len(lists) == 2, "of the images to train and to test on"
    from tfeff.data.augment import given as augmentation
    from tfeff.data.sources import given

    monkeypatch.setattr(augmentation, "_OFFERED", {})  # as in another process
    with pytest.raises(tfeff.UserError, match=r"tfeff\.train\(\.\.\., augment=\.\.\.\)"):
        train(config.override(more, {"training.epochs": 3}))
    monkeypatch.setattr(given, "_OFFERED", {})
    with pytest.raises(tfeff.UserError, match=r"tfeff\.open\(workdir, images=\.\.\.\)"):
        tfeff.open(tmp_path / "run").evaluate("test", quiet=True)


COLORS = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), np.uint8)
KINDS = np.arange(48) % 3
COLORS[KINDS == 1] //= 4
SMALL = {
    "model.resolution": 32,
    "optimizer.learning_rate": 0.01,
    "training.batch_size": 16,
    "training.epochs": 1,
    "training.precision": "float32",
    "training.deterministic": True,
    "data.validation_split": "test",
}


def colors():
    return tfeff.Images({"train": (COLORS, KINDS), "test": (COLORS[:12], KINDS[:12])})


def two_convolutions(name="small", kernel=3):
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, kernel, strides=2, padding="same", use_bias=False, name="Conv")(images / 255)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    return keras.Model(images, keras.layers.Conv2D(16, 3, strides=2, padding="same")(x), name=name)


@pytest.mark.slow
def test_a_classifier_on_an_own_backbone_is_trained_reopened_and_resumed(tmp_path, monkeypatch):
    model, images, settings = made(two_convolutions), colors(), config.override(config.Experiment(), SMALL)
    another = made(partial(two_convolutions, "another", kernel=5))
    weights = [np.array(weight) for weight in model.weights]

    def train(directory, backbone=model, more=(), **options):
        settings_ = config.override(settings, more)
        return tfeff.train(settings_, tmp_path / directory, images=images, backbone=backbone, quiet=True, **options)

    run = train("run")
    assert all(np.array_equal(*pair) for pair in zip(weights, model.weights, strict=True))
    train("again", made(two_convolutions), evaluate=False, export=False)
    first, second = (np.load(tmp_path / name / "checkpoints" / "final.npz") for name in ("run", "again"))
    assert all(np.array_equal(first[name], second[name]) for name in first.files)
    stem = next(name for name in first.files if name.endswith("Conv/kernel"))
    assert not np.array_equal(first[stem], model.get_layer("Conv").kernel)

    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["params"] == model.count_params() + 3 * (16 + 1)
    (predicted,) = run.predict(COLORS[0])
    exported = runs.load_predictor(tmp_path / "run" / "saved_model").predict_pixels([("image", COLORS[0])])[0]
    np.testing.assert_allclose(exported.probabilities, predicted.probabilities, atol=1e-5)

    monkeypatch.setattr(backbones, "_OFFERED", {})  # as in another process
    with pytest.raises(tfeff.UserError, match=r"tfeff\.open\(workdir, backbone=\.\.\.\)"):
        tfeff.open(tmp_path / "run", images=images).evaluate("test", quiet=True)
    other = made(two_convolutions, seed=1)  # the same layers
    evaluated = tfeff.open(tmp_path / "run", images=images, backbone=other).evaluate("test", quiet=True)
    assert evaluated.to_dict() == run.evaluation.to_dict()
    with pytest.raises(tfeff.UserError, match="the given backbone is another-"):
        tfeff.open(tmp_path / "run", backbone=another)
    with pytest.raises(tfeff.UserError, match=r"model\.initial: saved '\w+', now '\w+'\nuse"):
        train("run", other)
    with pytest.raises(tfeff.UserError, match=r"model\.graph: saved 'small-\S+', now 'another-"):
        train("run", another)
    more = train("run", model, {"training.epochs": 2}, evaluate=False, export=False)
    assert more.metrics[-1]["epoch"] == 2


@pytest.mark.slow
def test_a_result_omits_costs_that_are_unknown(tmp_path, capsys):
    images = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, strides=8, padding="same")(images)
    model = keras.Model(images, keras.layers.MultiHeadAttention(2, 2)(x, x))
    settings = config.override(config.Experiment(), SMALL)
    tfeff.train(settings, tmp_path / "run", images=colors(), backbone=model, export=False)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["params"] == model.count_params() + 3 * (4 + 1)
    assert "macs" not in result
    assert "the multiply-adds of MultiHeadAttention are unknown" in "".join(capsys.readouterr().out.split("\n"))


@pytest.mark.slow
def test_layers_of_an_own_backbone_are_frozen_by_their_names(tmp_path):
    model = made(keras_cv_mobilenet)
    frozen = {**SMALL, "optimizer.frozen": ("Conv*", "expanded_conv*", "squeeze*"), "training.feature_variants": 1}
    settings = config.override(config.Experiment(), frozen)
    options = {"images": colors(), "backbone": model, "evaluate": False, "export": False, "quiet": True}
    tfeff.train(settings, tmp_path / "run", **options)
    trained = np.load(tmp_path / "run" / "checkpoints" / "final.npz")
    np.testing.assert_array_equal(trained["model/Conv/kernel"], model.get_layer("Conv").kernel)
    assert np.abs(trained["model/head_classifier/bias"]).max() > 0


@pytest.mark.parametrize("task", [*map(thorough, ("yolo", "faster_rcnn", "efficientdet"))])
def test_a_detector_on_an_own_backbone(task, tmp_path, monkeypatch):
    monkeypatch.setattr(placed_digits, "COUNTS", {"train": 32, "validation": 16, "test": 16})
    settings = config.override(config.Experiment(), {
        **SMALL, "model.resolution": 64, "task.name": task, "task.network.levels": ("P3", "P4", "P5"),
        "task.network.neck_channels": 16, "task.network.aspect": 1.0, "data.source": "embedded:placed_digits:64",
        "data.validation_split": None,
    })  # fmt: skip
    backbone = tfeff.Backbone(made(keras_cv_yolo), name="mine")
    run = tfeff.train(settings, tmp_path / "run", backbone=backbone, quiet=True)
    assert run.config.model.graph.startswith("mine-")
    assert np.isfinite(run.metrics[-1]["train_loss"])
    assert run.evaluation.to_dict()["images"] == 16
    (found,) = tfeff.open(tmp_path / "run", backbone=backbone).predict(np.zeros((64, 64, 3), np.uint8), score=0.0)
    assert found.boxes_yxyx.shape == (len(found.scores), 4)
    assert (tmp_path / "run" / "saved_model" / "saved_model.pb").is_file()


def test_the_resolution_of_a_backbone_and_that_of_the_config_must_agree(tmp_path):
    fixed = made(sequential)
    for backbone, given, message in (
        (fixed, 32, "model.resolution is 32, but the backbone takes images of 64 pixels"),
        (
            made(keras_cv_yolo),
            None,
            "model.resolution is not set, or is the default, and the backbone takes images of any size",
        ),
    ):
        settings = config.override(config.Experiment(), {} if given is None else {"model.resolution": given})
        if given == settings.model.resolution == config.Experiment().model.resolution:
            settings = config.override(settings, {"model.resolution": given + 16})
            message = message.replace("32", "48")
        with pytest.raises(tfeff.UserError, match=message):
            tfeff.train(settings, tmp_path / "run", backbone=backbone, quiet=True)


@pytest.mark.parametrize("resolution", [192, 224])
def test_a_recipe_keeps_the_resolution_that_is_set_for_a_backbone(image_folder, tmp_path, resolution):
    root = image_folder({"train/ant": 10, "train/bee": 10})  # 224 is also that of the network that is replaced
    recipe = tfeff.own_images(f"folder:{root}", {"model.resolution": resolution})
    backbone = tfeff.Backbone(made(keras_cv_yolo), name="any")
    settings, _ = api.complete(recipe, tmp_path / "run", api._own_backbone(backbone, recipe), quiet=True)
    assert settings.model.resolution == settings.data.image_size == resolution


class FocalTask(tfeff.tasks.ClassificationTask):
    def totals(self, batch, outputs, *, training):
        totals = super().totals(batch, outputs, training=training)
        if training:
            log = tf.reduce_sum(batch["label"] * tf.nn.log_softmax(outputs), axis=-1)
            totals["loss"] = tf.reduce_sum(-((1 - tf.exp(log)) ** self.section.gamma) * log * batch["weight"])
        return totals


@dataclass(frozen=True, kw_only=True)
class Focal(config.ClassificationSettings):
    IMPLEMENTATION = FocalTask
    name: Literal["focal"] = "focal"
    gamma: float = 2.0


@pytest.mark.slow
def test_an_own_loss_is_trained_and_recorded(tmp_path, monkeypatch):
    images = colors()
    settings = config.override(config.Experiment(), {**SMALL, "model.width": 4, "model.stage_blocks": (1, 1)})

    def train(directory, experiment=settings, **options):
        return tfeff.train(experiment, tmp_path / directory, images=images, quiet=True, **options)

    plain = train("plain", evaluate=False, export=False).metrics[-1]
    equal = train("equal", task=Focal(gamma=0.0), evaluate=False, export=False).metrics[-1]
    assert equal["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-5)  # the cross-entropy
    run = train("run", config.override(settings, {"task.label_smoothing": 0.1}), task=Focal(gamma=3.0))
    assert run.metrics[-1]["train_loss"] < 0.9 * plain["train_loss"]
    section = json.loads((tmp_path / "run" / "config.json").read_text())["task"]
    assert (section["name"], section["gamma"], section["label_smoothing"]) == ("focal", 3.0, 0.1)
    (predicted,) = run.predict(COLORS[0])

    monkeypatch.delitem(TASKS, "focal")  # as in another process
    with pytest.raises(tfeff.UserError, match=r"'focal', a task that was given in Python.*tfeff\.open\(workdir, task="):
        tfeff.open(tmp_path / "run")
    again = tfeff.open(tmp_path / "run", task=Focal(), images=images)
    assert again.config.task == Focal(gamma=3.0, label_smoothing=0.1)
    np.testing.assert_array_equal(again.predict(COLORS[0])[0].probabilities, predicted.probabilities)
    assert again.evaluate("test", quiet=True).to_dict() == run.evaluation.to_dict()
    assert again.export(tmp_path / "exported", "saved_model").is_dir()
    with pytest.raises(tfeff.UserError, match="for the task classification; the given task is focal"):
        tfeff.open(tmp_path / "plain", task=Focal())


@pytest.mark.slow
def test_an_own_task_stands_in_a_python_config(tmp_path, verbs):
    file = tmp_path / "focal.py"
    file.write_text("""
from dataclasses import dataclass
from typing import Literal

import tfeff
from tfeff.config import ClassificationSettings, Experiment


class Task(tfeff.tasks.ClassificationTask):
    def totals(self, batch, outputs, *, training):
        totals = super().totals(batch, outputs, training=training)
        return {**totals, "loss": self.section.factor * totals["loss"]}


@dataclass(frozen=True, kw_only=True)
class Weighted(ClassificationSettings):
    IMPLEMENTATION = Task
    name: Literal["weighted"] = "weighted"
    factor: float = 1.0


def get_config():
    model = tfeff.config.architecture("resnet", width=4, stage_blocks=(1, 1))
    return Experiment(task=Weighted(factor=2.0), model=model)
""")
    flags = ("--config.data.train_examples=64", "--config.training.epochs=1", "--config.training.batch_size=32")
    flags += ("--config.task.factor=100", "--noevaluate")
    verbs("train", f"--config={file}", f"--workdir={tmp_path / 'run'}", *flags).succeeds()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["task"]["factor"] == 100
    (row,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert row["train_loss"] > 100
    verbs("evaluate", f"--workdir={tmp_path / 'run'}").fails_with("a task that was given in Python")


def test_the_name_of_a_task_of_the_package_is_taken():
    @dataclass(frozen=True, kw_only=True)
    class Unnamed(config.ClassificationSettings):
        IMPLEMENTATION = FocalTask

    with pytest.raises(tfeff.UserError, match=r'Unnamed\.name is "classification", a task of the package'):
        tfeff.train(config.Experiment(task=Unnamed()), "nowhere")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tfeff.open("nowhere"), "^workdir=nowhere: no config.json there"),
        (lambda: tfeff.load_config("nowhere.py"), "^config=nowhere.py: no such file"),
        (lambda: tfeff.own_images("folder:x", {"training.epoch": 3}), 'training has no key "epoch"; did you mean'),
        (
            lambda: tfeff.own_images("folder:x", {"training.epochs": 2.5}),
            "epochs is 2.5; it should be an integer",
        ),
        (
            lambda: tfeff.own_images(Path("photos")),
            r'^images: photos is a path; name it as a source, such as tfeff.own_images\("folder:photos"\)',
        ),
        (lambda: tfeff.train(tfeff.own_images("folder:x"), "runs/x", images="photos"), "^images: photos is a path;"),
        (lambda: runs.Run("x").predict("nothing/*.jpg"), "^workdir=x: no config.json there"),
        (lambda: runs.Run("x").export("a.onnx", "litert"), "^out=a.onnx: the ending of onnx, not of format=litert"),
        (lambda: runs.Run("x").export("a", "tflite"), "^format=tflite: "),
    ],
)
def test_messages_name_arguments(call, message):
    with pytest.raises(tfeff.UserError, match=message):
        call()
