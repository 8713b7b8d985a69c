"""Heads of R-CNN: outputs, saving and loading."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from tfeff import models
from tfeff.errors import UserError
from tfeff.models import rcnn
from tfeff.networks.detectors.rcnn import RCNN

RNG = np.random.default_rng(0)
NONE = {"backbone": models.architecture("resnet"), "hidden": (), "dropout": 0.0, "l1": 0.0}
FEATURES = RNG.normal(2.0, 3.0, (20, 10)).astype(np.float32)


def network(head: Callable[..., list[keras.KerasTensor]], **options: object) -> keras.Model:
    features = keras.Input((10,))
    described = (RCNN(**NONE | options),) if head is rcnn.joint_head else ()
    model = keras.Model(features, head(features, 3, *described))
    model.set_weights([RNG.normal(size=weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("class_boxes", [False, True])
def test_the_joint_head_is_two_dense_layers_on_standardized_features(class_boxes: bool) -> None:
    head = network(rcnn.joint_head, l1=0.1, class_boxes=class_boxes)
    mean, scale = head.get_layer("standardize").get_weights()
    (dense, biases), (boxes, box_biases) = (head.get_layer(name).get_weights() for name in ("logits", "codes"))
    x = (FEATURES - mean) * scale
    logits, codes = head(FEATURES)
    np.testing.assert_allclose(logits, x @ dense + biases, atol=1e-4)
    expected = (x @ boxes + box_biases).reshape(20, 3 if class_boxes else 1, 4)
    np.testing.assert_allclose(codes, expected, atol=1e-4)
    np.testing.assert_allclose(sum(map(float, head.losses)), 0.1 * (abs(dense).sum() + abs(boxes).sum()), rtol=1e-5)


def test_the_classic_head_is_linear() -> None:
    head = network(rcnn.linear_head)
    (weights, biases), (box_weights, box_biases) = (
        head.get_layer(name).get_weights() for name in ("machines", "regressors")
    )
    scores, codes = head(FEATURES)
    np.testing.assert_allclose(scores, expit(FEATURES @ weights + biases), atol=1e-5)
    np.testing.assert_allclose(codes, (FEATURES @ box_weights + box_biases).reshape(20, 3, 4), atol=1e-4)


def test_the_head_of_a_sliding_window_is_a_classifier_whose_last_class_is_background() -> None:
    head = network(rcnn.classifier_head)
    weights, biases = head.get_weights()
    assert weights.shape == (10, 4)
    scores, codes = head(FEATURES)
    np.testing.assert_allclose(scores, softmax(FEATURES @ weights + biases, axis=1)[:, :3], atol=1e-5)
    np.testing.assert_array_equal(codes, np.zeros((20, 1, 4)))


def test_multiply_adds_are_those_of_all_regions() -> None:
    options = {"resolution": 16, "width": 4, "stage_blocks": (1, 1)}
    backbone = models.architecture("resnet", **options)
    described = RCNN(backbone=backbone, grid=2, hidden=(8,), class_boxes=True, regions=7)
    found, whole = models.estimate(described, num_classes=3), models.estimate(backbone, num_classes=3)
    classifier, features = 8 * 3, 2 * 2 * 8
    assert found.macs == 7 * (whole.macs - classifier + features * 8 + 8 * (3 + 1) + 8 * 3 * 4)
    one = models.estimate(replace(described, regions=1), num_classes=3)
    assert (found.params, found.peak_bytes) == (one.params, one.peak_bytes)


def test_a_backbone_without_smaller_maps_is_refused() -> None:
    backbone = models.architecture("resnet", resolution=16, width=4, stage_blocks=(1,))
    with pytest.raises(UserError, match="the backbone has no pyramid level"):
        rcnn.build_rcnn(RCNN(backbone=backbone), num_classes=3)


@pytest.mark.parametrize("head", [rcnn.joint_head, rcnn.linear_head, rcnn.classifier_head])
def test_saving_and_loading_preserve_outputs(head: Callable[..., list[keras.KerasTensor]], tmp_path: Path) -> None:
    model = network(head)
    model.save(tmp_path / "head.keras")
    loaded = keras.saving.load_model(tmp_path / "head.keras")
    for one, other in zip(model(FEATURES), loaded(FEATURES), strict=True):
        np.testing.assert_array_equal(one, other)
