"""Presets of KerasHub and KerasCV: networks compute what the backbones compute for preprocessed pixels; runs are
trained, exported and opened again."""

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

import tfeff
from tests.models import preset_folders
from tests.models.preset_folders import CASES, preprocessed
from tests.thoroughness import only_thorough, thorough
from tfeff import config, models, runs
from tfeff.data.sources import placed_digits
from tfeff.errors import UserError
from tfeff.models import presets


@pytest.fixture
def case(request: pytest.FixtureRequest) -> str:
    if request.param.startswith("hub") and importlib.util.find_spec("keras_hub") is None:
        pytest.skip("needs keras_hub")
    return request.param


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, keras.Model]]:
    """`saved("hub-resnet")`: the preset and its backbone, made once."""
    return cache(lambda case: preset_folders.saved(case, tmp_path_factory.mktemp("presets") / "preset"))


def among(*quick: str) -> pytest.MarkDecorator:
    """Returns all cases; a quick test has these."""
    return pytest.mark.parametrize("case", [case if case in quick else thorough(case) for case in CASES], indirect=True)


def images(size: int = 64) -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 255, (2, size, size, 3)).astype("float32")


@among("hub-mobilenet_v3", "hub-resnet", "cv-mobilenet_v3")
def test_a_network_takes_raw_pixels_and_computes_what_the_backbone_computes(case: str, saved) -> None:
    name, model = saved(case)
    network = models.build(name, resolution=64, include_top=False)
    expected = np.asarray(model(preprocessed(case, images())))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(network(images()), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@among("hub-mobilenet_v3", "cv-csp_darknet")
def test_levels_and_costs(case: str, saved) -> None:
    name, model = saved(case)
    described, levels = models.architecture(name, resolution=64), CASES[case][3]
    network = models.build(described, num_classes=7)
    sides = {level: (64 >> int(level[1]), 64 >> int(level[1])) for level in levels}
    assert {level: tensor.shape[1:] for level, tensor in network.pyramid.items()} == {
        level: (*sides[level], channels) for level, channels in levels.items()
    }
    own, cost = models.complexity.count(model, 64), models.estimate(described, num_classes=7)
    channels = model.output.shape[-1]
    assert cost.params == model.count_params() + 7 * (channels + 1)
    assert cost.macs == own.macs + 7 * channels
    assert cost == models.complexity.count(network)


@among("hub-resnet", "cv-csp_darknet")
def test_a_detector_reads_the_levels(case: str, saved) -> None:
    name, model = saved(case)
    options = {"levels": ("P3", "P4", "P5"), "neck_channels": 8, "aspect": 1.0, "num_classes": 2}
    network = models.build_detector("yolo", backbone=name, resolution=64, **options)
    features = keras.Model(network.inputs[0], network.get_layer("backbone_p5").output)
    own = getattr(model, "pyramid_outputs", None) or {
        level: model.get_layer(layer).output for level, layer in getattr(model, "pyramid_level_inputs", {}).items()
    }  # it may be the map before a last normalization
    level = keras.Model(model.inputs, own.get("P5", model.output))
    expected = np.asarray(level(preprocessed(case, images())))
    np.testing.assert_allclose(features(images()), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_other_levels_and_precision(saved) -> None:
    name, _ = saved("cv-mobilenet_v3")
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = models.build(name, resolution=64, num_classes=2)
    assert network.get_layer("preset_rescaling").compute_dtype == "float32"
    assert network.get_layer("Conv").compute_dtype == "bfloat16"
    chosen = models.build(name, resolution=64, levels=("P2=expanded_conv_1_expand",), include_top=False)
    assert chosen.pyramid["P2"].shape[1:3] == (16, 16)


def test_presets_are_loaded_once(saved) -> None:
    name, _ = saved("cv-mobilenet_v3")
    assert presets.find(name) is presets.find(name)


def test_presets_of_keras_cv_without_weights() -> None:
    assert models.architecture("keras_cv:resnet50_v2_imagenet").starts_trained
    assert models.architecture("keras_cv:resnet50_v2_imagenet", weights="imagenet").weights is None
    assert not models.architecture("keras_cv:resnet50_v2").starts_trained
    keras_cv = importlib.import_module("keras_cv")
    for name in dir(keras_cv.models):
        if name.endswith("Backbone") and "VideoSwin" not in name:
            kind = getattr(keras_cv.models, name)
            for preset in kind.presets:
                expected = preset in kind.presets_with_weights
                assert models.architecture(f"keras_cv:{preset}").starts_trained == expected, preset


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("keras_cv:resnet50_v2_imagnet", {}, 'keras_cv has no preset .*did you mean "resnet50_v2_imagenet"'),
        ("keras_cv:/no/such/folder", {}, "keras_cv has no folder '/no/such/folder'"),
        ("keras_cv:resnet50_v2", {"weights": "imagenet"}, "has no weights; choose one whose name ends in _imagenet"),
        ("keras_cv:resnet50_v2", {"mean": (1.0,)}, "has its own preprocessing; omit mean and std"),
        ("keras_cv:resnet50_v2", {"width_coefficient": 0.5}, "only networks of the package can be scaled"),
        ("keras_cv:resnet50_v2", {"resolution": 4}, "at least 8"),
        ("keras_cv", {}, 'no network "keras_cv"'),
    ],
)
def test_messages_say_what_to_do(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build(name, **options)


def test_a_package_that_is_not_installed_and_a_preset_that_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(package: str) -> None:
        raise ImportError(f"No module named {package!r}")

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"cannot be loaded \(.*\)\. keras_cv downloads a preset on first use"):
        models.build(f"keras_cv:{tmp_path}")
    monkeypatch.setattr(presets.importlib, "import_module", absent)
    with pytest.raises(UserError, match=r'keras_hub cannot be imported .*; pip install "tfeff\[hub\]"'):
        models.build("keras_hub:resnet_50_imagenet")


def test_heads_of_detectors_are_said_to_be_unused() -> None:
    pytest.importorskip("keras_hub")
    for preset in ("retinanet_resnet50_fpn_coco", "dfine_small_coco"):
        (note,) = presets.notes(f"keras_hub:{preset}")
        assert note.startswith(f"keras_hub:{preset} is a detector of KerasHub: its backbone is used, its heads")
    assert not presets.notes("keras_hub:resnet_50_imagenet")
    assert not presets.notes("keras_cv:resnet50_v2_imagenet")


def test_a_preset_of_text_is_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    tokens = keras.Input((8,), dtype="int32")
    text = keras.Model(tokens, keras.layers.Embedding(4, 2)(tokens))
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", lambda *_, **__: text)
    monkeypatch.setattr(keras_hub.layers.ImageConverter, "from_preset", lambda *_: keras_hub.layers.ImageConverter())
    with pytest.raises(UserError, match="is no backbone of images"):
        models.build("keras_hub:hf://someone/text")
    with pytest.raises(UserError, match=r'keras_hub has no preset .*did you mean "resnet_50_imagenet"'):
        models.build("keras_hub:resnet50_imagenet")


SETTINGS = {
    "optimizer.learning_rate": 0.001,
    "training.batch_size": 16,
    "training.epochs": 1,
    "training.precision": "float32",
    "training.deterministic": True,
}
COLORS = np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3), np.uint8)
KINDS = np.arange(32) % 2
COLORS[KINDS == 1] //= 4


@pytest.mark.usefixtures("without_figures")
@among("hub-resnet")
def test_a_classifier(case: str, saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, model = saved(case)
    settings = config.override(
        config.Experiment(),
        {**SETTINGS, "data.validation_split": "test", "model.name": name, "model.resolution": 64},
    )
    images = tfeff.Images({"train": (COLORS, KINDS), "test": (COLORS[:8], KINDS[:8])})
    run = tfeff.train(settings, tmp_path / "run", images=images, quiet=True)
    assert np.isfinite(run.metrics[-1]["train_loss"])
    assert run.config.model.name == name
    (predicted,) = run.predict(COLORS[0])
    exported = runs.load_predictor(tmp_path / "run" / "saved_model").predict_pixels([("image", COLORS[0])])[0]
    np.testing.assert_allclose(exported.probabilities, predicted.probabilities, atol=1e-4)
    monkeypatch.setattr(presets, "_LOADED", {})  # as in another process
    (again,) = tfeff.open(tmp_path / "run", images=images).predict(COLORS[0])
    np.testing.assert_allclose(again.probabilities, predicted.probabilities, atol=1e-6)
    before = {tuple(weight.shape): np.asarray(weight) for weight in model.trainable_weights}
    trained = np.load(tmp_path / "run" / "checkpoints" / "final.npz")
    assert all(trained[key].size for key in trained.files)
    kernels = [trained[key] for key in trained.files if key.startswith("model/") and trained[key].ndim == 4]
    near = [np.abs(kernel - before[kernel.shape]).max() for kernel in kernels if kernel.shape in before]
    assert min(near) < 0.02  # it started from the weights of the preset


@only_thorough
@pytest.mark.parametrize("task", ["yolo", "faster_rcnn"])
@among("cv-csp_darknet")
def test_a_detector(case: str, task: str, saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed_digits, "COUNTS", {"train": 32, "validation": 16, "test": 16})
    name, _ = saved(case)
    settings = config.override(config.Experiment(), {
        **SETTINGS, "model.name": name, "model.resolution": 64, "task.name": task, "task.network.aspect": 1.0,
        "task.network.levels": ("P3", "P4", "P5"), "task.network.neck_channels": 8,
        "task.suppression.minimum_score": 0.0,
        "data.source": "embedded:placed_digits:64",
    })  # fmt: skip
    run = tfeff.train(settings, tmp_path / "run", quiet=True)
    assert np.isfinite(run.metrics[-1]["train_loss"])
    assert run.evaluation.to_dict()["images"] == 16
    (found,) = run.predict(COLORS[0], score=0.0)
    served = runs.load_predictor(tmp_path / "run" / "saved_model", score=0.0)
    exported = served.predict_pixels([("image", COLORS[0])])[0]
    assert len(exported.scores) > 10
    # Nearly equal scores may change places, so each detection is looked for among all.
    equal = (
        (np.abs(exported.boxes_yxyx[:, None] - found.boxes_yxyx).max(axis=-1) < 0.05)
        & (np.abs(exported.scores[:, None] - found.scores) < 1e-4)
        & (exported.labels[:, None] == found.labels)
    )
    assert equal.any(axis=1).all()


@pytest.mark.slow
def test_layers_are_frozen_by_their_names(saved, tmp_path: Path) -> None:
    name, model = saved("cv-mobilenet_v3")
    settings = config.override(config.Experiment(), {
        **SETTINGS, "data.validation_split": "test", "model.name": name, "model.resolution": 64,
        "optimizer.frozen": ("Conv*", "expanded_conv*", "squeeze*"),
    })  # fmt: skip
    images = tfeff.Images({"train": (COLORS, KINDS), "test": (COLORS[:8], KINDS[:8])})
    tfeff.train(settings, tmp_path / "run", images=images, evaluate=False, export=False, quiet=True)
    trained = np.load(tmp_path / "run" / "checkpoints" / "final.npz")
    np.testing.assert_array_equal(trained["model/Conv/kernel"], model.get_layer("Conv").kernel)
    assert np.abs(trained["model/head_classifier/bias"]).max() > 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.normalization": "dataset"}, "trained networks and presets come with their own normalization"),
        ({"model.name": "keras_cv:resnet50_v2_imagnet"}, 'did you mean "resnet50_v2_imagenet"'),
        ({"model.width_coefficient": 2.0}, 'model has no key "width_coefficient"'),
    ],
)
def test_mistakes_are_reported_before_images_are_read(overrides: dict, message: str, tmp_path: Path) -> None:
    def train() -> None:
        settings = config.override(config.Experiment(), {"model.name": "keras_cv:resnet50_v2_imagenet", **overrides})
        tfeff.train(settings, tmp_path / "run", quiet=True)

    with pytest.raises(tfeff.UserError, match=message):
        train()
