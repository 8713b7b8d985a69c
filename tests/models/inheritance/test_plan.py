"""Wider detectors compute what their source computes; others come close to it."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from tests.thoroughness import thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.inheritance import regression
from tfeff.networks.detectors.detector import NECK_AND_HEADS

BACKBONE = models.architecture("resnet", resolution=64, width=8, stage_blocks=(1, 1, 1, 1), stem="7x7")
SIZES = {
    "yolo": {"neck_channels": 16},
    "anchor-yolo": {"neck_channels": 16},
    "grid": {"neck_channels": 16},
    "efficientdet-d0": {"neck_channels": 16, "neck_repeats": 2, "head_repeats": 2},
    "efficientdet-lite0": {"neck_channels": 16, "neck_repeats": 2, "head_repeats": 2},
    "retinanet": {"neck_channels": 16, "head_repeats": 2, "aspect": 1.0},
    "faster-rcnn": {"neck_channels": 16, "head_repeats": 2, "hidden": (32, 24), "aspect": 1.0, "pooling_size": 3},
    "fast-rcnn": {"hidden": (32, 24), "aspect": 1.0, "pooling_size": 3},
}
KINDS = ("yolo", "efficientdet-d0", "retinanet", "faster-rcnn")
NARROW = dataclasses.replace(BACKBONE, width_coefficient=0.75)


def build(name: str, classes: int = 3, **changes) -> models.Network:
    return models.build_detector(name, num_classes=classes, **{"backbone": BACKBONE, **SIZES[name], **changes})


@cache
def trained_like(name: str, **changes) -> models.Network:
    """Returns a detector whose statistics, scales and predictions are not those of an initialization.

    It is shared by the tests, which do not change it.
    """
    network, rng = build(name, **changes), np.random.default_rng(3)
    for weight in network.weights:
        layer, _, variable = weight.path.rpartition("/")
        if variable in ("gamma", "moving_variance", "weights"):
            weight.assign(rng.uniform(0.7, 1.3, weight.shape))
        elif variable in ("beta", "moving_mean", "bias"):
            weight.assign(rng.normal(0, 0.2, weight.shape))
        else:
            inputs = 9 if "depthwise" in layer else np.prod(weight.shape[:-1])
            gain = 2.0 if "stage" in layer else 1.0
            weight.assign(rng.normal(0, (gain / inputs) ** 0.5, weight.shape))
    return network


def images_for(number: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (number, 8, 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


def outputs(network: models.Network, images: np.ndarray) -> dict[str, np.ndarray]:
    inputs = [images]
    if network.regions is not None:
        rng = np.random.default_rng(5)
        centers, sides = rng.uniform(0, 64, (len(images), 6, 2)), rng.uniform(8, 40, (len(images), 6, 2))
        boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1)
        inputs.append(boxes.clip(0, 64).astype(np.float32))
    return {name: np.asarray(values) for name, values in network(inputs if len(inputs) > 1 else images).items()}


def largest(source: models.Network, target: models.Network) -> float:
    """Returns the largest difference of any output, in units of its standard deviation."""
    theirs, ours = (outputs(each, images_for(3, seed=9)) for each in (source, target))
    assert theirs.keys() == ours.keys()
    return max(float(np.abs(theirs[name] - ours[name]).max() / theirs[name].std()) for name in theirs)


def unexplained(source: models.Network, target: models.Network) -> dict[str, float]:
    """Mean squared difference of each output, relative to the variance of its values over images and positions."""
    theirs, ours = (outputs(each, images_for(8, seed=9)) for each in (source, target))
    return {
        name: float(np.square(ours[name] - theirs[name]).mean() / theirs[name].var(axis=(0, 1)).mean())
        for name in theirs
    }


WIDER = {
    "backbone": {"backbone": dataclasses.replace(BACKBONE, width_coefficient=1.5, depth_coefficient=2.0)},
    "neck": {"neck_channels": 24},
    "both": {"backbone": dataclasses.replace(BACKBONE, width_coefficient=1.5), "neck_channels": 40},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("fast-rcnn", "backbone"),  # it has no neck
        *((name, "both") for name in SIZES if name != "fast-rcnn"),
        *(thorough(name, change) for name in SIZES if name != "fast-rcnn" for change in ("backbone", "neck")),
    ],
)
def test_wider_detectors_compute_the_same(name, change):
    source = trained_like(name)
    target = build(name, **WIDER[change])
    report = models.inherit(source, target)
    assert largest(source, target) < 1e-4
    assert report.images == report.reconstructed == 0
    assert not [path for path in report.new if not path.startswith("stage")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"fusion_weights_per": "channel"},
        {"fusion_weights_per": "pixel"},
        {"fusion": "softmax"},
        {"neck": "nas_fpn"},
        {"separable": False},
    ],
    ids=str,
)
def test_wider_necks_of_every_kind_compute_the_same(options):
    source = trained_like("efficientdet-d0", **options)
    target = build("efficientdet-d0", **options, neck_channels=40)
    models.inherit(source, target)
    assert largest(source, target) < 1e-4


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"head_repeats": 4}, ("rpn_block3", "rpn_block4")),
        ({"hidden": (48, 40)}, ()),
        ({"hidden": (32, 24, 24)}, ("box_head_block3",)),
        ({"hidden": (32, 24, 60), "neck_channels": 20}, ("box_head_block3",)),
    ],
    ids=str,
)
def test_deeper_and_wider_heads_of_regions_compute_the_same(changes, added):
    source, target = trained_like("faster-rcnn"), build("faster-rcnn", **changes)
    report = models.inherit(source, target)
    assert largest(source, target) < 1e-4
    assert report.added == dict.fromkeys(added, True)
    assert report.reconstructed == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("yolo", {"neck_repeats": 2}),
        ("yolo", {"head_repeats": 4}),
        ("efficientdet-d0", {"neck_repeats": 3, "head_repeats": 3}),
        ("faster-rcnn", {"neck_repeats": 2}),
    ],
    ids=str,
)
def test_additional_blocks_with_an_activation_are_approximate(name, changes):
    source, target = trained_like(name), build(name, **changes)
    report = models.inherit(source, target, images_for(32))
    assert max(unexplained(source, target).values()) < 0.35
    assert report.added
    assert not any(report.added.values())
    assert "approximately the identity" in str(report)


SMALLER = [
    *((name, {"neck_channels": 12}) for name in KINDS),
    *(thorough(name, {"backbone": NARROW}) for name in KINDS),
    ("efficientdet-d0", {"neck_repeats": 1}),
    thorough("yolo", {"head_repeats": 1}),
    thorough("efficientdet-d0", {"head_repeats": 1}),
    ("faster-rcnn", {"head_repeats": 1, "hidden": (24,)}),
    ("yolo", {"backbone": NARROW, "neck_channels": 12, "head_repeats": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes"), SMALLER, ids=str)
def test_smaller_detectors_come_close(name, changes):
    source, target = trained_like(name), build(name, **changes)
    before = unexplained(source, target)  # with a random neck and random heads
    report = models.inherit(source, target, images_for(48))
    after = unexplained(source, target)
    assert all(after[each] < 0.5 for each in after), after
    assert all(after[each] < 0.4 * before[each] for each in after), (after, before)
    assert report.images == 48
    assert report.reconstructed > 0
    assert not report.new
    assert {"class_head_predict", "rpn_objectness", "class_head_predict_pointwise"} & report.errors.keys()


@pytest.mark.slow
def test_shared_heads_that_read_many_values_are_fitted_like_others(monkeypatch):
    source, targets = trained_like("efficientdet-d0", separable=False), []
    for wide in (regression._WIDE, 64):
        monkeypatch.setattr(regression, "_WIDE", wide)
        targets.append(build("efficientdet-d0", separable=False, neck_channels=12))
        models.inherit(source, targets[-1], images_for(8))
    assert largest(*targets) < 0.01


@pytest.mark.parametrize("change", ["both", thorough("backbone"), thorough("neck")])
def test_wider_detectors_inherit_both_pairs_of_heads(change):
    source, target = trained_like("yolo", end_to_end=True), build("yolo", **WIDER[change], end_to_end=True)
    report = models.inherit(source, target)
    assert largest(source, target) < 1e-4
    assert report.reconstructed == 0


def test_smaller_detectors_inherit_both_pairs_of_heads():
    source = trained_like("yolo", end_to_end=True)
    target = build("yolo", end_to_end=True, backbone=NARROW, neck_channels=12, head_repeats=1)
    before = unexplained(source, target)
    report = models.inherit(source, target, images_for(48))
    after = unexplained(source, target)
    assert len(after) == 4
    assert all(after[each] < 0.5 for each in after), after
    assert all(after[each] < 0.4 * before[each] for each in after), (after, before)
    assert "one_to_many_class_head_block2" in report.dropped
    assert "one_to_many_class_head_predict" in report.errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, None),
        ({"neck_channels": 24}, ("b", "d", "a")),
        thorough({}, ("b", "d", "a")),
        thorough({"neck_channels": 24}, None),
    ],
    ids=str,
)
def test_heads_for_training_start_as_those_that_predict(changes, names, tmp_path):
    source = trained_like("yolo")
    weights = str(tmp_path / "source.npz")
    np.savez(weights, **{each.path: np.asarray(each) for each in source.weights})
    target = build("yolo", **changes, end_to_end=True)
    described = dataclasses.replace(BACKBONE, weights=weights)
    trained = models.Trained(source.description, 3, names and ("a", "b", "c"))
    report = models.initialize(target, described, trained=trained, num_classes=3, class_names=names)
    theirs, ours = (outputs(each, images_for(2)) for each in (source, target))
    shared = ([0, 1, 2], [0, 1, 2]) if names is None else ([0, 2], [1, 0])
    for heads in ("", "one_to_many_"):
        np.testing.assert_allclose(ours[f"{heads}distances"], theirs["distances"], atol=2e-4)
        logits = ours[f"{heads}logits"][..., shared[0]]
        np.testing.assert_allclose(logits, theirs["logits"][..., shared[1]], atol=2e-4)
    assert "not in the" not in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"neck_channels": 24}], ids=str)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_detector_takes_the_heads_that_predict(changes, tmp_path):
    source = trained_like("yolo", end_to_end=True)
    weights = str(tmp_path / "source.npz")
    np.savez(weights, **{each.path: np.asarray(each) for each in source.weights})
    target = build("yolo", **changes)
    described = dataclasses.replace(BACKBONE, weights=weights)
    models.initialize(target, described, trained=models.Trained(source.description, 3), num_classes=3)
    theirs, ours = (outputs(each, images_for(2)) for each in (source, target))
    for name in ("logits", "distances"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=2e-4)


def initialized(source, target, path):
    """Lets a detector start from the weights of another one; returns the report and the variables of before."""
    np.savez(path, **{each.path: np.asarray(each) for each in source.weights})
    before = {each.path: np.array(each) for each in target.weights}
    described = dataclasses.replace(target.description.backbone, weights=str(path))
    report = models.initialize(target, described, trained=models.Trained(source.description, 3), num_classes=3)
    return report, before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "difference"),
    [
        ("efficientdet-d0", {"neck": "simplified_panet"}, "neck simplified_panet instead of bifpn"),
        ("efficientdet-d0", {"activation": "relu6"}, "activation relu6 instead of silu"),
        ("yolo", {"levels": ("P3", "P4", "P5", "P6")}, "levels ('P3', 'P4', 'P5', 'P6') instead of ('P3', 'P4', 'P5')"),
    ],
)
def test_of_a_detector_of_another_kind_the_backbone_alone_is_inherited(name, changes, difference, tmp_path):
    source, target = trained_like(name), build(name, **changes)
    report, before = initialized(source, target, tmp_path / "source.npz")
    assert f"neck and heads are new: {difference}" in str(report)
    theirs = {each.path: np.asarray(each) for each in source.weights}
    for each in target.weights:
        expected = before if each.path.startswith(NECK_AND_HEADS) else theirs
        np.testing.assert_allclose(each, expected[each.path], rtol=1e-6, err_msg=each.path)


SIDES = tuple(np.repeat(np.linspace(0.1, 0.9, 9), 2).tolist())
DENSE = "class_head_predict", "box_head_predict", "rpn_objectness", "rpn_codes", "cells_predict"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "difference"),
    [
        ("efficientdet-d0", {"anchor_size": 2.0}, "anchor_size 2.0 instead of 4.0"),
        ("retinanet", {"anchor_scales": (1.0, 1.5)}, "anchor_scales (1.0, 1.5) instead of (1.0,"),
        ("faster-rcnn", {"anchor_aspects": (1.0, 2.0, 0.5)}, "anchor_aspects (1.0, 2.0, 0.5) instead of (2.0, 1.0, 0"),
        ("anchor-yolo", {"anchors": tuple(side / 2 for side in SIDES)}, "anchors of other sizes (IoU from 0.25)"),
        ("anchor-yolo", {"anchors": SIDES[:6]}, "1 anchors per level instead of 3"),
        ("grid", {"boxes": 3}, "boxes 3 instead of 2"),
    ],
)
@pytest.mark.parametrize("wider", [False, True])
def test_predictions_relative_to_other_anchors_are_new(name, changes, difference, wider, tmp_path):
    anchors = {"anchors": SIDES} if name == "anchor-yolo" else {}
    source, target = trained_like(name, **anchors), build(name, **changes, **({"neck_channels": 24} if wider else {}))
    report, before = initialized(source, target, tmp_path / "source.npz")
    assert f"predictions are new: {difference}" in str(report)
    new = {path for path in before if path.startswith(DENSE) and "depthwise" not in path}
    assert set(report.new) == new
    assert report.reconstructed == 0
    theirs = {each.path: np.asarray(each) for each in source.weights}
    for each in target.weights:
        if each.path in new:
            np.testing.assert_array_equal(each, before[each.path])
        elif not wider:
            np.testing.assert_allclose(each, theirs[each.path], rtol=1e-6, err_msg=each.path)


@pytest.mark.parametrize("wider", [False, True])
def test_predictions_relative_to_similar_anchors_are_kept(wider, tmp_path):
    """Those that k-means finds on other images of a dataset, or at another resolution."""
    source = trained_like("anchor-yolo", anchors=SIDES)
    similar = tuple(1.05 * side for side in SIDES)
    target = build("anchor-yolo", anchors=similar, **({"neck_channels": 24} if wider else {}))
    initialized(source, target, tmp_path / "source.npz")
    assert largest(source, target) < 1e-4


def test_a_pooled_level_does_not_change_what_is_inherited(tmp_path):
    source, target = trained_like("faster-rcnn"), build("faster-rcnn", pooled_level=False, neck_channels=24)
    report, _ = initialized(source, target, tmp_path / "source.npz")
    assert not report.new
    theirs, ours = (outputs(each, images_for(2)) for each in (source, target))
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name][:, : values.shape[1]], atol=1e-4)


@pytest.mark.slow
def test_projections_that_only_one_detector_has():
    source = trained_like("yolo", neck_channels=32)  # as many as P4, which passes no projection
    wider = build("yolo", neck_channels=32, backbone=dataclasses.replace(BACKBONE, width_coefficient=1.5))
    report = models.inherit(source, wider)
    assert wider.get_layer("neck_cell1_p4_td_from_p4_conv")
    assert report.reconstructed == 0
    assert largest(source, wider) < 1e-4
    narrower = build("yolo", neck_channels=32, backbone=NARROW)
    report = models.inherit(source, narrower, images_for(48))
    assert not report.new
    assert max(unexplained(source, narrower).values()) < 0.35


def test_predictions_of_other_classes_are_new():
    source, target = trained_like("yolo"), build("yolo", classes=5, neck_channels=24)
    report = models.inherit(source, target)
    assert report.new == ("class_head_predict/kernel", "class_head_predict/bias")
    theirs, ours = (outputs(each, images_for(2))["distances"] for each in (source, target))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_batch_normalization_of_each_level_has_its_own_statistics():
    source, target = trained_like("yolo"), build("yolo", backbone=NARROW, neck_channels=12)
    images = images_for(64)
    models.inherit(source, target, images)
    for level in ("p3", "p5"):
        norm = target.get_layer(f"box_head_conv2_{level}_bn")
        rows = np.asarray(models.Network(target.inputs, norm.input)(images)).reshape(-1, 12)
        np.testing.assert_allclose(rows.mean(axis=0), norm.moving_mean, atol=0.15 * rows.std(axis=0).mean())
        np.testing.assert_allclose(rows.var(axis=0), norm.moving_variance, rtol=0.3)


def test_detectors_of_other_kinds_are_refused():
    source = build("yolo")
    for other, message in (
        (build("anchor-yolo"), "anchor-yolo instead of yolo"),
        (build("yolo", neck="fpn"), "neck fpn instead of panet"),
        (build("yolo", end_to_end=True), "end_to_end True instead of False"),
        (models.build(BACKBONE, num_classes=3), "a classifier instead of yolo"),
    ):
        with pytest.raises(UserError, match=message):
            models.inherit(source, other)
