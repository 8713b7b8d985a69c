"""Networks with the weights of keras.applications compute the same outputs."""

import gc
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from tests.thoroughness import only_thorough, thorough
from tfeff import models
from tfeff.errors import UserError

MODULES = {
    **{f"efficientnet-b{member}": (f"EfficientNetB{member}", "efficientnet") for member in range(8)},
    "resnet50": ("ResNet50", "resnet"),
    "resnet101": ("ResNet101", "resnet"),
    "resnet152": ("ResNet152", "resnet"),
    "mobilenet-v1": ("MobileNet", "mobilenet"),
    "mobilenet-v2": ("MobileNetV2", "mobilenet_v2"),
    **{
        f"efficientnet-v2-{member.lower()}": (f"EfficientNetV2{member}", "efficientnet_v2")
        for member in ("B0", "B1", "B2", "B3", "S", "M", "L")
    },
    **{
        f"mobilenet-v3-{size}{suffix}": (f"MobileNetV3{size.title()}", "mobilenet_v3")
        for size in ("small", "large")
        for suffix in ("", "-0.75", "-minimalistic")
    },
    **{f"convnext-{size.lower()}": (f"ConvNeXt{size}", "convnext") for size in ("Tiny", "Small")},
}


def options(name: str) -> dict[str, object]:
    """Returns arguments of the application's class."""
    return {"alpha": 0.75} if name.endswith("0.75") else {"minimalistic": True} if "minimal" in name else {}


COMPARED = {
    ("efficientnet-b0", 65),
    ("resnet50", 65),
    ("mobilenet-v1", 64),
    ("mobilenet-v2", 65),
    ("efficientnet-v2-b0", 65),
    ("mobilenet-v3-large-0.75", 65),
    ("mobilenet-v3-small-minimalistic", 64),
}
"""Networks and resolutions that even a quick test compares.

The larger members of a family differ in width and depth alone, and their published counts are tested. The padding of
strided convolutions depends on whether a side is odd, in EfficientNet and in MobileNetV2 by the same rule. ConvNeXt has
a test of its own, with fewer blocks.
"""
# MobileNet and ConvNeXt of keras.applications round odd sides down, networks of this package round up.
EVEN = ("mobilenet-v1", *(name for name in MODULES if name.startswith("convnext")))
CASES = [(name, side) for name in MODULES for side in (64, 65) if side == 64 or name not in EVEN]


@pytest.fixture(autouse=True)
def _one_at_a_time() -> Iterator[None]:
    """Gives back the networks of each test: together they take 8 GB."""
    yield
    keras.backend.clear_session()
    gc.collect()


def application(name: str, resolution: int, **arguments: object) -> keras.Model:
    """Returns a random network whose outputs depend on every weight: scales and shifts are random too.

    Moving statistics are computed from images. With other statistics, the outputs of a deep network hardly depend on
    the image.
    """
    make = getattr(keras.applications, MODULES[name][0])
    if arguments:
        make = sys.modules[make.__module__].ConvNeXt
    network = make(
        weights=None,
        input_shape=(resolution, resolution, 3),
        classifier_activation=None,
        **options(name),
        **arguments,
    )
    rng = np.random.default_rng(0)
    ranges = {
        "gamma": (0.5, 0.9),
        "beta": (-0.3, 0.3),
        "bias": (-0.3, 0.3),
        "mean": (0.3, 0.6),
        "variance": (0.04, 0.08),
    }
    for layer in network.layers:
        for weight in layer.weights:
            kind = "gamma" if layer.name.endswith("layer_scale") else weight.path.rsplit("/", 1)[1]
            if kind in ranges:
                weight.assign(rng.uniform(*ranges[kind], weight.shape))
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # a single batch determines the moving statistics
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers):
        network(preprocessed(name, images(resolution, batch=8)), training=True)
    return network


def images(resolution: int, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (batch, resolution, resolution, 3)).astype("float32")


def preprocessed(name: str, x: np.ndarray) -> np.ndarray:
    """Preprocess raw pixels with the `preprocess_input` of the application's module."""
    return getattr(keras.applications, MODULES[name][1]).preprocess_input(x.copy())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "resolution"), [case if case in COMPARED else thorough(*case) for case in CASES])
def test_same_outputs(name: str, resolution: int) -> None:
    """Compares in double precision: deep random networks amplify the rounding errors of single precision 100 times."""
    keras.config.set_dtype_policy("float64")
    assert_same(name, resolution, application(name, resolution), models.build(name, resolution=resolution))


@pytest.mark.slow
def test_same_outputs_of_a_shallow_convnext() -> None:
    keras.config.set_dtype_policy("float64")
    blocks = (1, 1, 2, 1)
    theirs = application("convnext-tiny", 64, depths=blocks, projection_dims=(96, 192, 384, 768))
    assert_same("convnext-tiny", 64, theirs, models.build("convnext-tiny", resolution=64, stage_blocks=blocks))


def assert_same(name: str, resolution: int, theirs: keras.Model, ours: models.Network) -> None:
    report = models.from_applications(ours, theirs)
    assert not report.skipped
    assert len(report.loaded) == len(ours.weights)
    x = images(resolution)
    expected = np.asarray(theirs(preprocessed(name, x)))
    assert np.abs(expected[0] - expected[1]).max() > 1e-2  # outputs depend on the image
    atol = max(1e-4, 2e-6 * np.abs(expected).max())  # the classifier of ours computes in single precision
    np.testing.assert_allclose(ours(x), expected, rtol=0, atol=atol)


@only_thorough
def test_flipped_channels_only_change_the_summation_order() -> None:
    """Compares in single precision with the flipped application: there are no rounding errors to amplify."""
    theirs = application("resnet50", 64)
    ours = models.build("resnet50", resolution=64)
    models.from_applications(ours, theirs)
    kernel = theirs.get_layer("conv1_conv").kernel
    kernel.assign(np.asarray(kernel)[:, :, ::-1])
    x = images(64)
    np.testing.assert_allclose(ours(x), theirs(preprocessed("resnet50", x)[..., ::-1]), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_preprocessing_of_efficientnet_is_the_published_one() -> None:
    theirs = application("efficientnet-b0", 32)
    normalization = next(layer for layer in theirs.layers if isinstance(layer, keras.layers.Normalization))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for weight in normalization.weights:
        if weight.path.endswith(("/mean", "/variance")):
            weight.assign(mean if weight.path.endswith("/mean") else std**2)
    normalization.finalize_state()
    theirs(images(32, batch=8), training=True)  # moving statistics of these inputs
    ours = models.build("efficientnet-b0", resolution=32)
    before = ours.get_layer("standardisation").get_config()
    models.from_applications(ours, theirs)
    assert ours.get_layer("standardisation").get_config() == before
    np.testing.assert_allclose(ours(images(32)), theirs(images(32)), rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def small() -> dict[str, keras.Model]:
    """Applications at 32 x 32."""
    return {name: application(name, 32) for name in ("mobilenet-v2", "efficientnet-b0", "resnet50")}


def test_a_head_with_other_classes_is_skipped_and_reported(small: dict[str, keras.Model]) -> None:
    theirs = small["mobilenet-v2"]
    ours = models.build("mobilenet-v2", resolution=48, num_classes=5)
    report = models.from_applications(ours, theirs)
    shapes = {skipped.name: (skipped.shape_here, skipped.shape_there) for skipped in report.skipped}
    assert shapes == {
        "head_classifier/kernel": ((1280, 5), (1280, 1000)),
        "head_classifier/bias": ((5,), (1000,)),
    }


def test_without_top_and_with_more_blocks(small: dict[str, keras.Model]) -> None:
    theirs = small["efficientnet-b0"]
    ours = models.build("efficientnet-b1", resolution=32, include_top=False)
    report = models.from_applications(ours, theirs)
    absent = {skipped.name for skipped in report.skipped if skipped.shape_there is None}
    assert absent
    assert all("stage" in name for name in absent)
    assert {s.name for s in report.skipped if s.shape_here is None} == {"predictions/kernel", "predictions/bias"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet-v2", "resnet50", thorough("efficientnet-b0")])
def test_gray_image_as_three_equal_channels(name: str, small: dict[str, keras.Model]) -> None:
    theirs = small[name]
    rgb, gray = (models.build(name, resolution=32, channels=channels) for channels in (3, 1))
    models.from_applications(rgb, theirs)
    models.from_applications(gray, theirs)
    x = images(32)[..., :1]
    stem = [keras.Model(network.inputs, network.get_layer("stem_conv_bn").output) for network in (rgb, gray)]
    one, three = np.asarray(stem[1](x)), np.asarray(stem[0](np.repeat(x, 3, axis=-1)))
    # MobileNet has one mean for all channels; otherwise, zero padding means another gray value at the border.
    inner = slice(None) if name == "mobilenet-v2" else slice(2, -2)
    np.testing.assert_allclose(
        one[:, inner, inner], three[:, inner, inner], rtol=0, atol=1e-5 * max(1.0, np.abs(three).max())
    )


def test_unsupported_networks_and_failed_downloads_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"not a supported network of keras\.applications"):
        models.from_applications(models.build("resnet", resolution=16), keras.Sequential([keras.Input((4,))]))

    def offline(**_: object) -> keras.Model:
        raise Exception("URL fetch failure")  # what keras.utils.get_file raises

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(UserError, match="connection"):
        models.build("mobilenet-v2", weights="imagenet")
