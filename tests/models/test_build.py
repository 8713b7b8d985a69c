"""Properties of every network: shapes, gradients, options, precision, saving and loading."""

import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.thoroughness import only_thorough, thorough
from tests.verbs import ROOT
from tfeff import models
from tfeff.errors import UserError

SMALL = {  # small variants of each architecture
    "resnet": {"width": 4, "stage_blocks": (1, 2, 1, 1)},
    "resnet50": {"width": 8, "stage_blocks": (1, 1, 2, 1)},
    "efficientnet-b0": {"width_coefficient": 0.25, "depth_coefficient": 0.5},
    "efficientnet-lite0": {"width_coefficient": 0.25, "depth_coefficient": 0.5},
    "mobilenet-v1": {"width_coefficient": 0.25, "depth_coefficient": 0.5},
    "mobilenet-v2": {"width_coefficient": 0.35, "depth_coefficient": 0.5},
    "efficientnet-v2-b0": {"width_coefficient": 0.25, "depth_coefficient": 0.5},
    "mobilenet-v3-small": {"width_coefficient": 0.35, "depth_coefficient": 0.5},
    "regnet-y-400mf": {"width_coefficient": 0.25, "depth_coefficient": 0.5, "squeeze_ratio": 1.0},
    # Larger factors than usual: with 1e-6, gradients of the first blocks vanish in half precision.
    "convnext-tiny": {"width_coefficient": 0.1, "depth_coefficient": 0.3, "layer_scale": 0.1},
}

QUICK = ("resnet", "efficientnet-b0", "mobilenet-v2", "mobilenet-v3-small", "regnet-y-400mf", "convnext-tiny")
NETWORKS = [name if name in QUICK else thorough(name) for name in SMALL]


def images(resolution: int, channels: int = 3, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (batch, resolution, resolution, channels)).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        (name, resolution) if name in QUICK and resolution in (33, *shortest) else thorough(name, resolution)
        for name in SMALL
        for shortest in [(8,) if name in ("resnet", "mobilenet-v2") else ()]
        for resolution in (8, 33, 64)
    ],
)
def test_level_n_has_stride_two_to_the_n(name: str, resolution: int) -> None:
    network = models.build(name, resolution=resolution, num_classes=3, **SMALL[name])
    assert network.resolution == resolution
    assert network.output.shape == (None, 3)
    maps = models.pyramid(network, tuple(network.levels))(images(resolution))
    first, last = 2 if name == "convnext-tiny" else 1, 3 if name == "resnet" else 5
    assert set(maps) == {f"P{level}" for level in range(first, last + 1)}
    for level, feature_map in maps.items():
        side = -(-resolution // 2 ** int(level[1:]))
        assert feature_map.shape[:3] == (2, side, side)
        assert feature_map.shape[3] == network.pyramid[level].shape[3]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_trainable_weight_has_a_gradient(name: str) -> None:
    network = models.build(name, resolution=32, num_classes=5, **SMALL[name])
    with tf.GradientTape() as tape:
        logits = network(images(32, batch=4), training=True)
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(tf.constant([0, 1, 2, 3]), logits, from_logits=True)
        )
    weights = network.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        assert gradient is not None, weight.path
        # Batch normalization cancels the bias of the convolution before it.
        if not (name == "resnet50" and "conv" in weight.path and weight.path.endswith("/bias")):
            assert np.any(np.asarray(gradient) != 0), weight.path


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_gray_images_other_classes_and_no_top(name: str) -> None:
    network = models.build(name, resolution=16, channels=1, num_classes=7, **SMALL[name])
    assert network(images(16, channels=1)).shape == (2, 7)
    backbone = models.build(name, resolution=16, include_top=False, **SMALL[name])
    side = 2 if name == "resnet" else 1
    assert backbone.output.shape[1:3] == (side, side)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_saving_and_loading_preserve_outputs_and_levels(name: str, tmp_path: Path) -> None:
    network = models.build(name, resolution=24, num_classes=3, mean=(1, 2, 3), std=(50, 60, 70), **SMALL[name])
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    x = images(24)
    np.testing.assert_array_equal(loaded(x), network(x))
    assert isinstance(loaded, models.Network)
    assert loaded.levels == network.levels
    assert loaded.resolution == 24


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_mixed_precision_keeps_preprocessing_and_logits_in_float32(name: str) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = models.build(name, resolution=16, num_classes=3, **SMALL[name])
    assert network.get_layer("standardisation").output.dtype == "float32"
    assert network.get_layer("stem_conv").output.dtype == "bfloat16"
    logits = network(images(16), training=True)
    assert logits.dtype == tf.float32
    assert np.isfinite(logits).all()


def test_mean_and_std_are_in_pixel_units() -> None:
    network = models.build("resnet", resolution=8, mean=(10, 20, 30), std=(1, 2, 4))
    layer = network.get_layer("standardisation")
    got = layer(np.full((1, 1, 1, 3), [11, 24, 22], "float32"))
    np.testing.assert_allclose(np.ravel(got), [1, 2, -2], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5", {}, 'did you mean "resnet50"'),
        ("resnet", {"widht": 3}, "width"),
        ("mobilenet-v2", {"survival_probability": 0.5}, "survival_probability"),
        ("efficientnet-b0", {"batch_norm": False}, "batch_norm"),
        ("resnet", {"width": 0}, "width 0"),
        ("resnet", {"width": 2.5}, "width 2.5"),
        ("resnet", {"stage_blocks": ()}, "at least one"),
        ("resnet", {"stage_blocks": (2, 2, 0, 2)}, "at least 1"),
        ("resnet", {"stem": "5x5"}, "3x3, 7x7"),
        ("efficientnet-b0", {"resolution": 7}, "at least 8"),
        ("efficientnet-b0", {"width_coefficient": 0.0}, "above 0"),
        ("efficientnet-b0", {"depth_coefficient": -1.0}, "above 0"),
        ("efficientnet-b0", {"survival_probability": 0.0}, "survival_probability 0.0"),
        ("mobilenet-v1", {"dropout": 1.0}, "dropout 1.0"),
        ("resnet", {"channels": 4}, "channels 4"),
        ("resnet", {"num_classes": 0}, "num_classes 0"),
        ("resnet", {"mean": (1, 2)}, "2 per-channel statistics"),
        ("resnet", {"std": (1, 0, 1)}, "above 0"),
        ("resnet", {"weights": "imagenet"}, "no published weights"),
        ("resnet", {"mean": ()}, "must have one value"),
        ("resnet", {"std": ()}, "must have one value"),
        ("resnet50", {"weights": "imagenet", "mean": (0, 0, 0)}, "own preprocessing"),
        ("resnet50", {"weights": "resnet50", "mean": (0, 0, 0)}, "own preprocessing"),
        ("resnet", {"weights": "nowhere.npz"}, "no such file"),
        ("efficientnet-b0", {"activation": "swosh"}, 'activation .swosh.: did you mean "swish"'),
    ],
)
def test_wrong_options_raise_errors(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build(name, **options)


@pytest.mark.parametrize("weights", ["imagenet", "efficientnet-lite2"])
def test_published_weights_have_their_own_preprocessing_in_detectors_too(weights: str) -> None:
    backbone = models.architecture("efficientnet-lite0", weights=weights, mean=(0, 0, 0), resolution=32)
    with pytest.raises(UserError, match=f'weights "{weights}" have their own preprocessing; omit mean and std'):
        models.build_detector("yolo", backbone=backbone, num_classes=1)


def test_names_of_families() -> None:
    with pytest.raises(UserError, match='did you mean "mobilenet"'):
        models.names("mobilnet")
    families = (
        *("resnet", "efficientnet", "efficientnet-lite", "efficientnet-v2"),
        *("mobilenet", "mobilenet-v3", "regnet", "convnext"),
    )
    assert set(models.names()) == {name for family in families for name in models.names(family)}


def test_a_warning_lists_skipped_weights(tmp_path: Path) -> None:
    path = tmp_path / "ten.weights.h5"
    models.build("resnet", num_classes=10, resolution=8, **SMALL["resnet"]).save_weights(path)
    with pytest.warns(
        UserWarning, match=r"ten\.weights\.h5: a new classifier for 7 classes; all \d+ other variables loaded"
    ):
        models.build("resnet", num_classes=7, resolution=8, weights=str(path), **SMALL["resnet"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.build("resnet", num_classes=10, resolution=8, weights=str(path), **SMALL["resnet"])
        models.build("resnet", include_top=False, resolution=8, weights=str(path), **SMALL["resnet"])


@pytest.mark.parametrize(
    ("saved", "built", "include_top", "message"),
    [
        (2, 1, True, "not in the network"),
        (1, 2, False, "not in the source: 10 of"),  # without the head, which alone causes no warning
    ],
)
def test_a_warning_says_whether_the_network_or_the_file_lacks_variables(
    saved: int, built: int, include_top: bool, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "ten.weights.h5"
    first, second = ({**SMALL["resnet"], "stage_blocks": (blocks, 2, 1, 1)} for blocks in (saved, built))
    models.build("resnet", num_classes=10, resolution=8, **first).save_weights(path)
    with pytest.warns(UserWarning, match=message):
        models.build("resnet", num_classes=10, include_top=include_top, resolution=8, weights=str(path), **second)


def test_a_warning_lists_skipped_weights_of_the_backbone_of_a_detector(tmp_path: Path) -> None:
    path = tmp_path / "ten.weights.h5"
    small = {"width": 4, "stage_blocks": (1, 1, 1), "resolution": 32}
    models.build("resnet", num_classes=10, **small).save_weights(path)

    def build(**changes: object) -> models.Network:
        backbone = models.architecture("resnet", weights=str(path), **small | changes)
        return models.build_detector("yolo", backbone=backbone, levels=("P1", "P2"), neck_channels=8, num_classes=2)

    with pytest.warns(UserWarning, match=r"ten\.weights\.h5: \d+ variables loaded, 10 skipped") as warned:
        build(stage_blocks=(1, 1, 2))
    assert "neck" not in str(warned[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build()


@only_thorough
def test_saved_networks_load_where_only_models_is_imported(tmp_path):
    networks = {
        **{name: models.build(name, num_classes=3, resolution=32, **options) for name, options in SMALL.items()},
        "efficientdet": models.build_detector("efficientdet-d0", num_classes=2),
        "faster_rcnn": models.build_detector("faster-rcnn", num_classes=2),
    }
    for name, network in networks.items():
        network.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", np.concatenate([np.ravel(each) for each in network.get_weights()]))
    code = (
        "import sys, numpy as np, keras, tfeff.models\n"
        "for name in sys.argv[2:]:\n"
        "    network = keras.models.load_model(f'{sys.argv[1]}/{name}.keras')\n"
        "    weights = np.concatenate([np.ravel(each) for each in network.get_weights()])\n"
        "    np.testing.assert_array_equal(weights, np.load(f'{sys.argv[1]}/{name}.npy'))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *networks], check=True, cwd=ROOT)
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    loaded = keras.models.load_model(tmp_path / "convnext-tiny.keras")
    np.testing.assert_array_equal(loaded(image), networks["convnext-tiny"](image))
