"""Loading weights from files and networks."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from tfeff import models
from tfeff.errors import UserError
from tfeff.models import given

OPTIONS = {"width": 4, "stage_blocks": (1, 1, 1, 1), "resolution": 16, "num_classes": 3}


def saved(network: models.Network, path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{f"model/{w.path}": np.asarray(w) for w in network.weights}, **{"optimizer/step": 3})
    elif path.suffix == ".keras":
        network.save(path)
    else:
        network.save_weights(path)
    return path


def images(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (2, 16, 16, channels)).astype("float32")


@pytest.mark.parametrize("file", ["w.npz", "w.keras", "w.weights.h5"])
def test_loading_a_file_restores_the_outputs(file: str, tmp_path: Path) -> None:
    network = models.build("resnet", **OPTIONS)
    other = models.build("resnet", weights=str(saved(network, tmp_path / file)), **OPTIONS)
    np.testing.assert_array_equal(other(images()), network(images()))


@pytest.mark.parametrize("file", ["w.npz", "w.keras", "w.weights.h5"])
def test_variables_that_do_not_match_are_listed(file: str, tmp_path: Path) -> None:
    path = saved(models.build("resnet", **OPTIONS), tmp_path / file)
    changed = models.build("resnet", **{**OPTIONS, "num_classes": 5, "stage_blocks": (1, 1, 1, 2), "resolution": 24})
    report = models.load_weights(changed, path)
    names = {skipped.name for skipped in report.skipped}
    expected = {w.path for w in changed.weights if "head_classifier" in w.path or "stage4_block2" in w.path}
    assert names == expected
    assert set(report.loaded) == {w.path for w in changed.weights} - expected
    assert "head_classifier/bias: (5,) in the network, (3,) in the source" in str(report)
    fewer = models.build("resnet", **{**OPTIONS, "include_top": False})
    assert len([s for s in models.load_weights(fewer, path).skipped if s.shape_here is None]) == 2


def test_preprocessing_of_the_source_is_transferred() -> None:
    source = models.build("resnet", mean=(10, 20, 30), std=(40, 50, 70), **OPTIONS)
    target = models.build("resnet", **OPTIONS)
    target.predict(images(), verbose=0)  # the traced function must be discarded
    models.load_weights(target, source)
    np.testing.assert_allclose(target.predict(images(), verbose=0), source(images()), rtol=1e-4, atol=1e-5)


def test_an_own_backbone_takes_the_standard_deviation_too() -> None:
    first = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3, strides=2, name="first")])
    described = given.offer(models.Backbone(first, pretrained=False))
    source = models.build(dataclasses.replace(described, mean=(10, 20, 30), std=(40, 50, 70)), num_classes=3)
    target = models.build(described, num_classes=3)
    target.predict(images(), verbose=0)  # the traced function must be discarded
    assert not models.load_weights(target, source).skipped
    np.testing.assert_allclose(target.predict(images(), verbose=0), source(images()), rtol=1e-4, atol=1e-5)


def test_a_gray_network_gets_the_summed_kernels() -> None:
    source = models.build("resnet", mean=(120,), std=(60,), **OPTIONS)
    gray = models.build("resnet", channels=1, mean=(120,), std=(60,), **OPTIONS)
    assert not models.load_weights(gray, source).skipped
    x = images(channels=1)
    np.testing.assert_allclose(gray(x), source(np.repeat(x, 3, axis=-1)), rtol=1e-4, atol=1e-5)


def test_a_color_network_computes_what_its_gray_source_does_for_gray_images() -> None:
    source = models.build("resnet", channels=1, mean=(120,), std=(60,), **OPTIONS)
    network = models.build("resnet", **OPTIONS)
    assert not models.load_weights(network, source).skipped
    x = images(channels=1)
    np.testing.assert_allclose(network(np.repeat(x, 3, axis=-1)), source(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_gray_network_takes_the_statistics_of_each_channel(batch_norm: bool) -> None:
    options = OPTIONS | {"batch_norm": batch_norm}
    source = models.build("resnet", mean=(124, 116, 104), std=(58, 57, 60), **options)
    gray = models.build("resnet", channels=1, **options)
    assert not models.load_weights(gray, source).skipped
    x = images(channels=1)
    layer = "stem_conv_bn" if batch_norm else "stem_conv"
    one, three = (
        np.asarray(keras.Model(network.inputs, network.get_layer(layer).output)(each))
        for network, each in ((gray, x), (source, np.repeat(x, 3, axis=-1)))
    )
    np.testing.assert_allclose(one[:, 1:-1, 1:-1], three[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-5)
    border = np.abs(one - three).max()
    assert 1e-4 < border < 0.1 * np.abs(three).max(), "standardized zeros are another gray value at the border"


def test_unreadable_sources_are_errors(tmp_path: Path) -> None:
    network = models.build("resnet", **OPTIONS)
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "text.weights.h5").write_text("no archive")
    (tmp_path / "text.keras").write_text("no archive")
    (tmp_path / "text.txt").write_text("no archive")
    for name, message in (
        ("none.npz", "no such file"),
        ("text.npz", "cannot be read"),
        ("text.weights.h5", "cannot be read"),
        ("text.keras", "cannot be read"),
        ("text.txt", "unknown extension"),
    ):
        with pytest.raises(UserError, match=message):
            models.load_weights(network, tmp_path / name)
    text = models.architecture("resnet", weights=str(tmp_path / "text.npz"), resolution=16)
    trained = models.Trained(models.architecture("resnet", width=8, resolution=16), 3)
    with pytest.raises(UserError, match="cannot be read"):
        models.initialize(network, text, trained=trained)
    with pytest.raises(UserError, match="no variable matches"):
        models.load_weights(network, {"other/kernel": np.zeros((3, 3))})


def test_heads_that_only_training_uses_are_said_to_be_copies() -> None:
    options = {"width": 4, "stage_blocks": (1, 1, 1, 1), "resolution": 32, "levels": ("P3", "P4"), "neck_channels": 8}
    source, target = (
        models.build_detector("yolo", num_classes=2, end_to_end=value, **options) for value in (False, True)
    )
    report = models.load_weights(target, source)
    values = {weight.path: np.asarray(weight) for weight in target.weights}
    extra = {path for path in values if path.startswith("one_to_many_")}
    assert set(report.copied) == extra
    assert f"{len(extra)} variables of training-only heads are copied from the heads that predict" in str(report)
    for path in extra:
        np.testing.assert_array_equal(values[path], values[path.removeprefix("one_to_many_")])
    assert models.load_weights(target, target).copied == ()
