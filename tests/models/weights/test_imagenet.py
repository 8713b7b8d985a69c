"""Published weights: where they come from, and that downloaded files are read."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.applications import convnext, efficientnet_v2, mobilenet_v3
from keras.src.utils import file_utils

from tests.networks.backbones.test_regnet import random_state
from tests.thoroughness import thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.weights import imagenet, lite
from tfeff.networks.catalog import BACKBONES


def test_all_published_weights_have_a_published_accuracy() -> None:
    assert set(imagenet.TOP1) == {*imagenet.PUBLISHED, *imagenet.TORCHVISION, *lite.PACKAGES}
    assert models.imagenet_top1("resnet") is None


def test_every_network_but_a_few_has_published_weights() -> None:
    without = set(models.names()) - set(imagenet.TOP1)
    assert without == {"resnet", "efficientnet-lite3", "efficientnet-lite4", "regnet-y-128gf"}
    for name, application in imagenet.PUBLISHED.items():
        assert application in dir(keras.applications), name


@pytest.mark.parametrize(
    "members",
    [
        ("resnet50", "resnet101", "resnet152"),
        BACKBONES["efficientnet"],
        ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"),
        BACKBONES["efficientnet-v2"],
        BACKBONES["mobilenet"],
        ("mobilenet-v3-small-minimalistic", "mobilenet-v3-small-0.75", "mobilenet-v3-small", "mobilenet-v3-large"),
        BACKBONES["convnext"],
        [name for name in BACKBONES["regnet"] if "-x-" in name],
        [name for name in BACKBONES["regnet"] if "-y-" in name and "128" not in name],
    ],
)
def test_larger_members_of_a_family_are_more_accurate(members: list[str]) -> None:
    accuracies = [imagenet.TOP1[name] for name in members]
    assert accuracies == sorted(accuracies)
    assert len(set(accuracies)) == len(accuracies) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("mobilenet-v3-small-0.75", mobilenet_v3),
        thorough("mobilenet-v3-large-minimalistic", mobilenet_v3),
        thorough("efficientnet-v2-b0", efficientnet_v2),
        thorough("convnext-tiny", convnext),
    ],
)
def test_a_file_of_keras_applications_is_loaded(
    name: str, module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as it is downloaded: an HDF5 file in the format of Keras 2."""
    options = imagenet._OPTIONS.get(name, {})
    theirs = getattr(keras.applications, imagenet.PUBLISHED[name])(weights=None, **options)
    for weight in theirs.weights:
        if weight.path.endswith(("/beta", "/bias")):
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    theirs.save(tmp_path / "published.h5")
    monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: str(tmp_path / "published.h5"))  # type: ignore[attr-defined]
    ours = models.build(name, weights="imagenet", resolution=64)
    expected = models.build(name, resolution=64)
    assert not models.from_applications(expected, theirs).skipped
    for weight, other in zip(ours.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_file_of_torchvision_is_loaded_unless_it_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = random_state(np.random.default_rng(0))
    digest = hashlib.sha256(b"contents").hexdigest()[:8]
    intact, damaged = f"regnet-{digest}.pth", "regnet-00000000.pth"
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    for file in (intact, damaged):
        (tmp_path / "models" / file).write_bytes(b"contents")
    monkeypatch.setattr(imagenet, "read_state_dict", lambda path: state)
    monkeypatch.setitem(imagenet.TORCHVISION, "regnet-y-400mf", intact)
    network = models.build("regnet-y-400mf", weights="imagenet", resolution=32, num_classes=10)
    kernel = state["fc.weight"].T
    np.testing.assert_array_equal(network.get_layer("head_classifier").kernel, kernel)
    monkeypatch.setitem(imagenet.TORCHVISION, "regnet-y-400mf", damaged)
    with pytest.raises(UserError, match="damaged, or not the file of https"):
        models.build("regnet-y-400mf", weights="imagenet", resolution=32, num_classes=10)


class AskedError(Exception):
    """Raised instead of a download, with the name of the file."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("resnet50", "efficientnet-b0", "efficientnet-v2-b0", "efficientnet-v2-s", "mobilenet-v1", "mobilenet-v2"),
        *("mobilenet-v3-small", "mobilenet-v3-small-0.75", "mobilenet-v3-large-minimalistic", "convnext-tiny"),
    ],
)
def test_the_file_that_keras_downloads_is_known(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_file(file: str, *_: object, **__: object) -> str:
        raise AskedError(file)

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(AskedError) as asked:
        imagenet._download(name)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / str(asked.value)).touch()
    known = [each for each in (*imagenet.PUBLISHED, *imagenet.TORCHVISION) if imagenet._is_cached(each)]
    assert known == [name]


def test_files_of_torchvision_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    names = ("resnet50-v1.5", "regnet-y-400mf")
    assert not any(map(imagenet._is_cached, names))
    for file in ("resnet50-11ad3fa6.pth", "regnet_y_400mf-e6988f5f.pth"):
        (tmp_path / "models" / file).touch()
    assert all(map(imagenet._is_cached, names))
