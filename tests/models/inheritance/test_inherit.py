"""Wider and deeper networks compute what their source computes; narrower and shallower ones come close to it."""

import dataclasses
import importlib
import re
from functools import cache

import keras
import numpy as np
import pytest

from tests.thoroughness import THOROUGH, only_thorough, thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.inheritance import sampling
from tfeff.models.inheritance.inherit import _drawn_regions
from tfeff.models.inheritance.plan import Side, make_plan
from tfeff.models.inheritance.statistics import measure
from tfeff.models.inheritance.transfer import copy_weights

CLASSES = 5
build_module = importlib.import_module("tfeff.models.build")  # the function has the same name


def trained_like(name: str | models.Architecture, **options) -> models.Network:
    """Returns a network whose statistics and scales are not those of an initialization."""
    network = models.build(name, num_classes=CLASSES, **options)
    rng = np.random.default_rng(3)
    for weight in network.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(rng.uniform(0.7, 1.3, weight.shape))
        elif weight.path.endswith(("beta", "moving_mean", "bias")):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return network


@cache
def source_of(name: str, **options) -> models.Network:
    """Returns `trained_like`, shared by the tests, which do not change it."""
    return trained_like(name, **options)


def images_for(network: models.Network, number: int, seed: int = 0) -> np.ndarray:
    """Returns smooth random images."""
    rng = np.random.default_rng(seed)
    height, width, channels = network.inputs[0].shape[1:]
    coarse = rng.uniform(0, 255, (number, height // 8, width // 8, channels))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


def distance(one: keras.Model, other: keras.Model, images: np.ndarray) -> float:
    """Returns the largest difference of outputs, in units of their standard deviation."""
    here, there = np.asarray(one(images)), np.asarray(other(images))
    return float(np.abs(here - there).max() / here.std())


FAMILIES = {
    "resnet": {"resolution": 32, "width": 6},
    "resnet50": {"resolution": 32, "width": 4, "stage_blocks": (1, 2, 2, 1)},
    "resnet50-v1.5": {"resolution": 32, "width": 4, "stage_blocks": (1, 2, 2, 1)},
    "efficientnet-b0": {"resolution": 32, "width_coefficient": 0.5, "depth_coefficient": 0.5},
    "efficientnet-lite0": {"resolution": 32, "depth_coefficient": 0.5},
    "mobilenet-v1": {"resolution": 32, "width_coefficient": 0.25},
    "mobilenet-v2": {"resolution": 32, "width_coefficient": 0.35, "depth_coefficient": 0.5},
    "efficientnet-v2-b0": {"resolution": 32, "width_coefficient": 0.5, "depth_coefficient": 0.5},
    "mobilenet-v3-small": {"resolution": 32, "width_coefficient": 0.5},
    "regnet-y-400mf": {"resolution": 32, "width_coefficient": 0.25, "depth_coefficient": 0.3},
}
REGNET = {"stage_blocks": (1, 1, 1, 2), "stage_widths": (32, 48, 64, 96), "group_width": 8}
LARGER = {
    "efficientnet-lite0": {"width": 1.5, "depth": 1.6},  # the stem keeps its width, so 2.0 would add a shortcut
    "mobilenet-v3-small": {"depth": 1.6},  # stages 3 and 4 are equally wide, a shortcut that most widths would remove
}
"""Scales that keep all shortcuts, where the default does not."""


def larger(options: dict, *, width: float = 1.0, depth: float = 1.0) -> dict:
    scales = {"width_coefficient": width, "depth_coefficient": depth}
    return {**options, **{name: scale * options.get(name, 1.0) for name, scale in scales.items()}}


@pytest.mark.slow
@pytest.mark.parametrize("name", [thorough(name) if name == "resnet50-v1.5" else name for name in FAMILIES])
def test_larger_networks_compute_the_same(name):
    scale = LARGER.get(name, {"width": 2.0, "depth": 1.3})
    source = source_of(name, **FAMILIES[name])
    target = models.build(name, num_classes=CLASSES, **larger(FAMILIES[name], **scale))
    report = models.inherit(source, target)
    assert distance(source, target, images_for(source, 3)) < 1e-4
    assert report.images == report.reconstructed == 0
    assert not report.errors


@pytest.mark.parametrize(
    ("name", "scale"),
    [thorough("efficientnet-lite0", {"width": 2.0}), ("mobilenet-v3-small", {"width": 1.5})],
)
def test_shortcuts_that_only_one_network_has_are_reconstructed(name, scale):
    source = source_of(name, **FAMILIES[name])
    target = models.build(name, num_classes=CLASSES, **larger(FAMILIES[name], **scale))
    report = models.inherit(source, target, images_for(source, 32))
    assert report.reconstructed > 0
    assert distance(source, target, images_for(source, 3)) < 0.5


@pytest.mark.parametrize(("width", "depth"), [thorough(2.0, 1.0), (3.0, 1.5), thorough(1.0, 1.5)])
def test_multiples_of_a_convnext_compute_the_same(width, depth):
    options = {"resolution": 32, "width": 6, "stage_blocks": (1, 1, 2, 1)}
    source = source_of("convnext-tiny", **options)
    target = models.build("convnext-tiny", num_classes=CLASSES, **larger(options, width=width, depth=depth))
    models.inherit(source, target)
    assert distance(source, target, images_for(source, 3)) < 1e-4


@only_thorough
@pytest.mark.parametrize("name", [*FAMILIES, "convnext-tiny"])
def test_random_larger_networks_compute_the_same(name):
    options = FAMILIES.get(name, {"resolution": 32, "width": 4, "stage_blocks": (1, 1, 2, 1)})
    rng, source, compared = np.random.default_rng(11), source_of(name, **options), 0
    while compared < THOROUGH:
        width, depth = rng.uniform(1.0, 3.0), rng.uniform(1.0, 3.0)
        if name == "convnext-tiny":
            width = float(round(width))
        scale = {"width": width * (rng.integers(3) > 0) or 1.0, "depth": depth * (rng.integers(3) > 0) or 1.0}
        target = models.build(name, num_classes=CLASSES, **larger(options, **scale))
        if additions(source) != additions(target):
            continue  # a shortcut that only one of them has
        models.inherit(source, target)
        assert distance(source, target, images_for(source, 2)) < 1e-4, scale
        compared += 1
        keras.backend.clear_session()


def additions(network: models.Network) -> set[str]:
    """Returns the shortcuts of the blocks that all members have."""
    return {layer.name for layer in network.layers if re.fullmatch(r"stage\d_block1_add", layer.name)}


def test_repeated_channels_do_not_learn_the_same():
    source = source_of("resnet", resolution=16, width=4)
    target = models.build("resnet", num_classes=CLASSES, resolution=16, width=8)
    models.inherit(source, target)
    kernel = np.asarray(target.get_layer("head_classifier").kernel)  # of channels and their copies
    assert len(np.unique(kernel.round(6), axis=0)) == len(kernel)


def test_another_resolution_keeps_all_weights():
    source = models.build("resnet", num_classes=CLASSES, resolution=32)
    target = models.build("resnet", num_classes=CLASSES, resolution=32)
    report = models.inherit(source, target)
    for ours, theirs in zip(target.weights, source.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (report.new, report.dropped) == ((), ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "smaller"),
    [
        ("resnet", {"resolution": 32, "width": 8}, {"width": 6}),
        ("resnet", {"resolution": 32, "width": 8, "stage_blocks": (2, 3, 2)}, {"stage_blocks": (2, 2, 2)}),
        ("efficientnet-b0", FAMILIES["efficientnet-b0"], {"width_coefficient": 0.35}),
        thorough("efficientnet-b0", {"resolution": 32, "width_coefficient": 0.5}, {"depth_coefficient": 0.5}),
        ("mobilenet-v1", {"resolution": 32, "width_coefficient": 0.25}, {"width_coefficient": 0.2}),
        thorough("mobilenet-v1", {"resolution": 32, "width_coefficient": 0.25}, {"depth_coefficient": 0.5}),
        ("convnext-tiny", {"resolution": 32, "width": 8, "stage_blocks": (1, 1, 3, 1)}, {"width": 6}),
        ("resnet", {"resolution": 32, "batch_norm": False}, {"width": 8, "depth_coefficient": 1.5}),
        thorough("regnet-y-400mf", {"resolution": 32, "depth_coefficient": 0.3}, {"width_coefficient": 0.5}),
        ("regnet-x-400mf", {"resolution": 32, **REGNET}, {"stage_widths": (16, 32, 48, 64)}),
    ],
    ids=str,
)
def test_smaller_networks_are_closer_than_unfitted_ones(name, options, smaller):
    source = source_of(name, **options)
    images, unseen = images_for(source, 48), images_for(source, 16, seed=9)
    target = models.build(name, num_classes=CLASSES, **{**options, **smaller})
    unfitted = models.build(name, num_classes=CLASSES, **{**options, **smaller})
    report = models.inherit(source, target, images)
    random, side = np.random.default_rng(0), Side(source)
    statistics = measure(side.nodes, side.segments, {"images": images}, np.random.default_rng(0))
    copy_weights(make_plan(side, Side(unfitted), lambda: statistics, random), random)
    expected = np.asarray(source(unseen))
    error, before = (np.square(np.asarray(each(unseen)) - expected).mean() for each in (target, unfitted))
    assert error < 0.3 * before
    assert report.images == 48
    assert not report.synthetic
    stages = {f"stage{stage + 1}" for stage in range(len(report.errors) - 1)}
    assert set(report.errors) == {*stages, "head_classifier"}
    assert report.errors
    assert all(each < 1 for each in report.errors.values())


def test_channels_whose_layer_scale_is_zero_stay_finite():
    """As in blocks that inheritance added, and that were frozen."""
    options = {"resolution": 32, "stage_blocks": (1, 2, 1, 1)}
    source = trained_like("convnext-tiny", width=8, **options)
    source.get_layer("stage2_block1_layer_scale").gamma.assign(np.arange(16) % 2)
    source.get_layer("stage2_block2_layer_scale").gamma.assign(np.zeros(16))
    target = models.build("convnext-tiny", width=6, num_classes=CLASSES, **options)
    images = images_for(source, 16)
    report = models.inherit(source, target, images)
    assert all(np.isfinite(weight).all() for weight in target.weights)
    assert all(error < 0.5 for error in report.errors.values())


@pytest.mark.slow
def test_batch_normalization_computes_in_training_what_it_computes_at_inference():
    options = FAMILIES["efficientnet-lite0"]
    source = source_of("efficientnet-lite0", **options)
    images = images_for(source, 64)
    target = models.build("efficientnet-lite0", num_classes=CLASSES, width_coefficient=0.6, **options)
    models.inherit(source, target, images)
    norm = target.get_layer("stage4_block2_expand_conv_bn")
    before = keras.Model(target.inputs, norm.input)(images).numpy()
    rows = before.reshape(-1, before.shape[-1])
    np.testing.assert_allclose(rows.mean(axis=0), norm.moving_mean, atol=0.1 * rows.std(axis=0).mean())
    np.testing.assert_allclose(rows.var(axis=0), norm.moving_variance, rtol=0.3)


@pytest.mark.slow
def test_inheritance_is_deterministic_and_ignores_how_the_target_was_initialized():
    options = {"resolution": 32, "depth_coefficient": 0.5}
    source = source_of("mobilenet-v2", width_coefficient=0.5, **options)
    images = images_for(source, 20)
    heirs = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        target = models.build("mobilenet-v2", num_classes=CLASSES, width_coefficient=0.35, **options)
        models.inherit(source, target, images)
        heirs.append([np.asarray(weight) for weight in target.weights])
    for one, other in zip(*heirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_block_with_the_least_effect_is_dropped():
    source = trained_like("resnet", resolution=32, width=6, stage_blocks=(1, 4, 1))
    source.get_layer("stage2_block3_conv2_bn").gamma.assign(np.full(12, 0.01))
    source.get_layer("stage2_block3_conv2_bn").beta.assign(np.zeros(12))
    images = images_for(source, 16)
    target = models.build("resnet", resolution=32, width=6, stage_blocks=(1, 3, 1), num_classes=CLASSES)
    report = models.inherit(source, target, images)
    assert report.dropped == ("stage2_block3",)
    assert distance(source, target, images) < 0.1


def test_a_classifier_of_other_classes_is_new():
    source = source_of("resnet", resolution=16)
    target = models.build("resnet", resolution=16, num_classes=CLASSES + 1, width_coefficient=2.0)
    report = models.inherit(source, target)
    assert report.new == ("head_classifier/kernel", "head_classifier/bias")


@only_thorough
def test_a_bar_is_drawn_on_a_terminal_alone(monkeypatch, capsys):
    source = {"weights": "efficientnet-lite0", "depth_coefficient": 1.4, "resolution": 32, "num_classes": CLASSES}
    monkeypatch.setattr(build_module, "load_imagenet", lambda network, name: models.LoadReport((), ()))
    monkeypatch.setattr(build_module, "_RECENT", {})
    models.build("efficientnet-lite0", **source, images=np.zeros((2, 32, 32, 3)), width_coefficient=0.5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(build_module, "_RECENT", {})
    monkeypatch.setenv("FORCE_COLOR", "1")
    models.build("efficientnet-lite0", **source, images=np.zeros((2, 32, 32, 3)), width_coefficient=0.5)
    assert "inheriting weights" in capsys.readouterr().err


def test_families_are_not_mixed():
    source = models.build("resnet", resolution=16, stage_blocks=(1, 1))
    with pytest.raises(UserError, match="2 stages"):
        models.inherit(source, models.build("resnet", resolution=16, stage_blocks=(1, 1, 1)))
    with pytest.raises(UserError, match=r"images of \(8, 8, 3\)"):
        models.inherit(source, source, np.zeros((1, 8, 8, 3)))
    with pytest.raises(UserError, match=r"source and target are for images of 16x16 and 8x8"):
        models.inherit(source, models.build("resnet", resolution=8, stage_blocks=(1, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("width", [6, 16])
def test_backbones_without_a_classifier_inherit(width):
    """Of the last map, on which nothing depends, any channels are kept."""
    options = {"resolution": 32, "include_top": False}
    source, target = trained_like("resnet", width=8, **options), models.build("resnet", width=width, **options)
    report = models.inherit(source, target, images_for(source, 32))
    theirs, ours = (
        np.asarray(each(images_for(source, 4, seed=9))).reshape(-1, each.output.shape[-1]) for each in (source, target)
    )
    scale = theirs.std()
    closest = [np.square(theirs - channel[:, None]).mean(axis=0).min() for channel in ours.T]
    assert max(closest) < (0.5 if width < 8 else 1e-4) * scale**2
    assert not report.new


SMALL = models.architecture("efficientnet-lite0", resolution=32, width_coefficient=0.35, depth_coefficient=0.5)
NAMES = tuple("abcde")


def initialized(trained: models.Architecture, wanted: models.Architecture, path) -> tuple[models.Network, ...]:
    """Returns a network, another one that starts from its weights, and a report of this."""
    source = trained_like(trained)
    np.savez(path, **{weight.path: np.asarray(weight) for weight in source.weights})
    target = models.build(dataclasses.replace(wanted, weights=None), num_classes=CLASSES)
    known = models.Trained(trained, CLASSES, NAMES)
    wanted = dataclasses.replace(wanted, weights=str(path))
    return source, target, models.initialize(target, wanted, trained=known, class_names=NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"depth_coefficient": 1.1},
        {"depth_coefficient": 1.1, "dropout": 0.0},
        {"depth_coefficient": 1.1, "dropout": 0.5, "survival_probability": 1.0},
    ],
    ids=str,
)
def test_layers_that_only_training_uses_do_not_prevent_an_exact_copy(changes, tmp_path):
    wanted = dataclasses.replace(SMALL, **changes)
    assert (SMALL.dropout, SMALL.survival_probability) == (0.2, 0.8)
    source, target, report = initialized(SMALL, wanted, tmp_path / "source.npz")
    assert (report.images, report.reconstructed, report.errors) == (0, 0, {})
    assert distance(source, target, images_for(source, 3)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "changes"),
    [
        ("regnet-x-400mf", REGNET, {"group_width": 16}),
        ("efficientnet-b0", {"width_coefficient": 0.35, "depth_coefficient": 0.5}, {"fixed_ends": True}),
    ],
)
def test_networks_that_differ_inside_stages_of_the_same_widths_inherit(name, options, changes, tmp_path):
    trained = models.architecture(name, resolution=32, **options)
    wanted = dataclasses.replace(trained, **changes)
    _, _, report = initialized(trained, wanted, tmp_path / "source.npz")
    assert isinstance(report, models.Inheritance)
    assert not report.new


@pytest.mark.parametrize(
    "larger", [{"stage_widths": (48, 96, 72, 200)}, {"group_width": 16, "stage_widths": (64, 96, 144, 192)}], ids=str
)
def test_groups_are_copied_as_a_whole(larger):
    source = source_of("regnet-y-400mf", resolution=32, **REGNET)
    target = models.build("regnet-y-400mf", resolution=32, num_classes=CLASSES, **{**REGNET, **larger})
    report = models.inherit(source, target)
    assert report.reconstructed == 0
    assert distance(source, target, images_for(source, 3)) < 1e-4


def test_groups_do_not_become_a_plain_convolution():
    source = models.build("regnet-x-400mf", resolution=32, **REGNET)
    target = models.build(
        "regnet-x-400mf", resolution=32, **{**REGNET, "group_width": 96, "stage_widths": (32, 48, 64, 96)}
    )
    with pytest.raises(UserError, match="inherited through stage1_block1_conv2: 1 groups instead of 4"):
        models.inherit(source, target)


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("resnet50", "resnet50-v1.5", "stage2_block1_conv2: strides .2, 2. instead of .1, 1."),
        ("efficientnet-b0", "efficientnet-lite0", "stem_conv_act: activation relu6 instead of silu"),
    ],
)
def test_other_operations_do_not_inherit(name, other, message):
    options = {**FAMILIES[name], "num_classes": CLASSES}
    with pytest.raises(UserError, match=f"inherited through {message}"):
        models.inherit(models.build(name, **options), models.build(other, **larger(options, width=2.0)))


def test_images_count_equally_in_parts_of_unequal_size(monkeypatch):
    source = source_of("resnet", resolution=16)
    images = images_for(source, 3)
    images[2] *= 0.1
    side = Side(source)

    def effects(some):
        return measure(side.nodes, side.segments, {"images": some}, np.random.default_rng(0)).effects

    def errors():
        target = models.build("resnet", resolution=16, num_classes=CLASSES, width=8)
        return models.inherit(source, target, images).errors

    pair, single, whole = effects(images[:2]), effects(images[2:]), errors()
    monkeypatch.setattr(sampling, "_PIXELS", 2 * 16**2)
    assert effects(images) == pytest.approx({key: (2 * pair[key] + single[key]) / 3 for key in pair})
    assert errors() == pytest.approx(whole, rel=1e-3, abs=1e-6)


def test_drawn_regions_have_different_aspect_ratios():
    regions = _drawn_regions(4, (512, 512), 0)
    top, left, bottom, right = regions[((regions > 0) & (regions < 512)).all(axis=-1)].T  # others are cut
    assert np.std(np.log((bottom - top) / (right - left))) > 0.3


def test_without_images_drawn_ones_are_used():
    source = source_of("resnet", resolution=16)
    target = models.build("resnet", resolution=16, num_classes=CLASSES, width=8)
    report = models.inherit(source, target)
    assert report.synthetic
    assert "drawn images, because none were given" in str(report)
