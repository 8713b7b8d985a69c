"""Outputs of shared classes are kept, by name."""

import numpy as np
import pytest

from tfeff import models
from tfeff.models.rcnn import build_rcnn
from tfeff.models.weights.classes import Classes
from tfeff.models.weights.loading import load_weights
from tfeff.networks.detectors.rcnn import RCNN

IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
THERE = ("cat", "dog", "traffic_light")
HERE = ("Traffic light", "bird", "cat")
BACKBONE = {"resolution": 64, "width": 4, "stage_blocks": (1, 1, 1), "stem": "7x7"}


def network(kind, classes):
    backbone = models.architecture("resnet", **BACKBONE)
    if kind == "classifier":
        return models.build(backbone, num_classes=classes)
    options = {"levels": ("P3", "P4"), "neck_channels": 8}
    if kind == "grid":
        options["boxes"] = 3
    if kind == "anchor-yolo":
        options["anchors"] = tuple(0.1 + 0.05 * i for i in range(12))
    if kind == "retinanet":
        options["convolved_levels"] = 0
    if kind == "faster-rcnn":
        options |= {"hidden": (16,), "head_repeats": 1}
    return models.build_detector(models.detector(kind, backbone=backbone, **options), num_classes=classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["classifier", "yolo", "anchor-yolo", "efficientdet-d0", "retinanet", "faster-rcnn", "grid"]
)
def test_shared_classes_keep_their_scores(kind):
    source, target = network(kind, 3), network(kind, 3)
    rng = np.random.default_rng(1)
    for each in source.weights:
        if "predict" in each.path or each.path.startswith(("head_classifier", "box_head_")):
            each.assign(rng.normal(0, 0.1, each.shape))
    arrays = {each.path: np.asarray(each) for each in source.weights}
    report = load_weights(target, arrays, classes=Classes(HERE, THERE))
    assert not report.skipped
    assert "kept: Traffic light, cat; new: bird" in str(report)
    for each in target.weights:
        loaded, original = np.asarray(each), arrays[each.path]
        layers = "head_classifier", "class_head_predict", "box_head_logits", "box_head_codes", "cells_predict"
        if each.path.startswith(layers):
            if "depthwise" in each.path:
                continue
            before = int(kind == "anchor-yolo")
            after = 1 if "box_head_logits" in each.path else 5 * 3 if kind == "grid" else 0
            per = 4 if "box_head_codes" in each.path else 1
            ours, theirs = (x.reshape(-1, before + 3 * per + after) for x in (loaded, original))
            for mine, other in ((0, 2), (2, 0)):
                np.testing.assert_array_equal(
                    ours[:, before + per * mine : before + per * (mine + 1)],
                    theirs[:, before + per * other : before + per * (other + 1)],
                )
            assert (ours[:, before + per : before + 2 * per] != theirs[:, before + per : before + 2 * per]).any()
            np.testing.assert_array_equal(ours[:, :before], theirs[:, :before])
            np.testing.assert_array_equal(ours[:, before + 3 * per :], theirs[:, before + 3 * per :])
        else:
            np.testing.assert_array_equal(loaded, original)


def test_other_classes_are_new_although_there_are_as_many():
    source, target = network("classifier", 2), network("classifier", 2)
    before = np.asarray(target.get_layer("head_classifier").kernel)
    report = load_weights(target, source, classes=Classes(("ant", "bee"), ("cat", "dog")))
    assert [each.name for each in report.skipped] == ["head_classifier/kernel", "head_classifier/bias"]
    np.testing.assert_array_equal(target.get_layer("head_classifier").kernel, before)


def test_classes_are_not_called_kept_if_none_of_their_outputs_were_loaded():
    source, target = network("classifier", 3), network("yolo", 3)
    report = load_weights(target, source, classes=Classes(HERE, THERE))
    assert report.classes is None
    assert report.loaded


def test_one_box_regressor_for_all_classes_is_kept_whatever_they_are():
    backbone = models.architecture("resnet", **BACKBONE)
    source, target = (
        build_rcnn(RCNN(backbone=backbone, hidden=(8,), grid=2), num_classes=classes) for classes in (3, 2)
    )
    before = np.array(target.get_layer("logits").bias)
    report = load_weights(target, source, classes=Classes(("ant", "bee"), THERE))
    np.testing.assert_array_equal(target.get_layer("codes").kernel, source.get_layer("codes").kernel)
    np.testing.assert_array_equal(target.get_layer("logits").bias, before)
    assert {each.name for each in report.skipped if each.shape_here} == {"logits/kernel", "logits/bias"}


def test_a_file_with_many_more_classes_keeps_the_shared_ones(tmp_path):
    names = tuple(map(str, range(10)))
    source, target = network("classifier", 10), network("classifier", 3)
    arrays = {each.path: np.asarray(each) for each in source.weights}
    arrays["head_classifier/bias"] = np.arange(10, dtype=np.float32)
    np.savez(tmp_path / "w.npz", **arrays)
    assert not load_weights(target, tmp_path / "w.npz", classes=Classes(("7", "0", "5"), names)).skipped
    layer = target.get_layer("head_classifier")
    np.testing.assert_array_equal(layer.bias, [7, 0, 5])
    np.testing.assert_array_equal(layer.kernel, arrays["head_classifier/kernel"][:, [7, 0, 5]])


def test_the_same_classes_in_the_same_order_keep_all():
    source, target = network("classifier", 2), network("classifier", 2)
    report = load_weights(target, source, classes=Classes(("ant", "bee"), ("ant", "bee")))
    assert report.classes is None
    assert not report.skipped
    np.testing.assert_array_equal(np.asarray(target(IMAGE)), np.asarray(source(IMAGE)))


def test_a_narrower_network_inherits_the_outputs_of_shared_classes(tmp_path):
    source = network("classifier", 3)
    np.savez(tmp_path / "source.npz", **{each.path: np.asarray(each) for each in source.weights})
    described = models.architecture("resnet", **{**BACKBONE, "width": 3}, weights=str(tmp_path / "source.npz"))
    trained = models.Trained(models.architecture("resnet", **BACKBONE), 3, THERE)
    target = models.build("resnet", **{**BACKBONE, "width": 3}, num_classes=3)
    coarse = np.random.default_rng(2).uniform(0, 255, (64, 8, 8, 3)).astype(np.float32)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2)
    report = models.initialize(target, described, images[8:], trained=trained, class_names=HERE)
    assert "kept: Traffic light, cat; new: bird" in str(report)
    scores, theirs = (np.asarray(each(images[:8])) for each in (target, source))
    error = np.abs(scores[:, [0, 2]] - theirs[:, [2, 0]]).mean()
    assert error < 0.6 * np.abs(theirs - theirs.mean(axis=0)).mean()


@pytest.mark.slow
def test_a_classifier_that_inherits_from_a_detector_is_new(tmp_path):
    source = network("yolo", 3)
    np.savez(tmp_path / "source.npz", **{each.path: np.asarray(each) for each in source.weights})
    described = models.architecture("resnet", **{**BACKBONE, "width": 3}, weights=str(tmp_path / "source.npz"))
    target = models.build("resnet", **{**BACKBONE, "width": 3}, num_classes=3)
    before = np.asarray(target.get_layer("head_classifier").kernel)
    report = models.initialize(
        target, described, trained=models.Trained(source.description, 3, THERE), class_names=THERE
    )
    assert "head_classifier/kernel" in report.new
    np.testing.assert_array_equal(target.get_layer("head_classifier").kernel, before)
