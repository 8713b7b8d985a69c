"""COCO weights by one word, from files of the published formats that are made here."""

import hashlib

import numpy as np
import pytest

from tests.models.weights.coco_archive import CHECKPOINT, write_archive
from tests.models.weights.test_torchvision import retinanet_state_dict, state_dict
from tests.thoroughness import only_thorough
from tfeff import config, models, training
from tfeff.errors import UserError
from tfeff.models.weights import coco, loading
from tfeff.training import checks


def test_categories_have_the_ids_of_coco():
    assert len(coco.CLASS_NAMES) == 90
    known = [name for name in coco.CLASS_NAMES if not name.startswith("(none")]
    assert len(known) == len(set(known)) == 80
    for number, name in ((1, "person"), (13, "stop sign"), (44, "bottle"), (67, "dining table"), (90, "toothbrush")):
        assert coco.CLASS_NAMES[number - 1] == name


def test_each_detector_with_weights_is_known():
    for name in coco.URLS:
        described = models.detector(name)
        assert coco.published_detector(described) == described


@pytest.fixture
def archive(tmp_path, monkeypatch):
    return write_archive(tmp_path, monkeypatch)


@pytest.mark.slow
def test_every_tensor_of_an_efficientdet_is_used(archive):
    network = models.build_detector("efficientdet-d0", num_classes=90, weights="coco", resolution=128)
    expected = models.build_detector("efficientdet-d0", num_classes=90, weights=str(CHECKPOINT), resolution=128)
    for ours, theirs in zip(network.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [each.name for each in archive.iterdir()] == ["efficientdet-d0-coco"]  # unpacked once
    described = models.detector("efficientdet-d0", resolution=128)
    again = models.build_detector(described, num_classes=2)
    report = models.initialize(
        again,
        models.architecture("efficientnet-b0", weights="coco", resolution=128),
        num_classes=2,
        class_names=("zebra", "unicorn"),
    )
    assert not report.skipped
    assert "kept: zebra; new: unicorn" in str(report)
    kernels = [
        np.asarray(each.get_layer("class_head_predict_pointwise").kernel).reshape(64, 9, -1)
        for each in (again, network)
    ]
    np.testing.assert_array_equal(kernels[0][..., 0], kernels[1][..., 23])


@only_thorough
def test_other_anchors_keep_all_but_the_predictions(archive):
    options = {"num_classes": 90, "resolution": 64}
    with pytest.warns(UserWarning, match=r"predictions are new: anchor_size 2\.0 instead of 4\.0"):
        network = models.build_detector("efficientdet-d0", weights="coco", anchor_size=2.0, **options)
    expected = models.build_detector("efficientdet-d0", weights=str(CHECKPOINT), **options)
    for ours, theirs in zip(network.weights, expected.weights, strict=True):
        if ours.path.endswith("_predict_pointwise/kernel"):
            assert np.abs(np.asarray(ours) - np.asarray(theirs)).max() > 0
        elif not ours.path.endswith("_predict_pointwise/bias"):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=ours.path)


def test_what_another_process_unpacks_meanwhile_is_used(archive, monkeypatch):
    folder = coco.weights_file("efficientdet-d0")
    found = [None, coco.automl.find_checkpoint(folder)]
    monkeypatch.setattr(coco.automl, "find_checkpoint", lambda path: found.pop(0))
    assert coco.weights_file("efficientdet-d0") == folder
    assert not found


def test_a_damaged_archive_is_named(archive):
    file = archive / "efficientdet-d0.tar.gz"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"efficientdet-d0.tar.gz: damaged .*; delete it and run again"):
        models.build_detector("efficientdet-d0", num_classes=90, weights="coco", resolution=128)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shapes"), [("faster-rcnn", state_dict), ("retinanet", retinanet_state_dict)])
def test_detectors_start_with_the_boxes_of_torchvision(name, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / f"made-{hashlib.sha256(b'contents').hexdigest()[:8]}.pth"
    file.write_bytes(b"contents")
    rng = np.random.default_rng(0)
    state = {key: rng.random(shape, np.float32) + 0.5 for key, shape in shapes(nested=True).items()}
    monkeypatch.setattr(loading, "read_state_dict", lambda path: state)
    monkeypatch.setitem(coco.URLS, name, f"https://download.pytorch.org/models/{file.name}")
    network = models.build_detector(name, num_classes=90, weights="coco", resolution=128)
    if name == "retinanet":
        bias = np.asarray(network.get_layer("box_head_predict").bias).reshape(3, 3, 4)  # (x, y, w, h) there
        theirs = state["head.regression_head.bbox_reg.bias"].reshape(3, 3, 4).swapaxes(0, 1)
        np.testing.assert_array_equal(bias, theirs[..., [1, 0, 3, 2]])
        return
    bias = np.asarray(network.get_layer("box_head_logits").bias)
    np.testing.assert_array_equal(bias[:90], state["roi_heads.box_predictor.cls_score.bias"][1:])


def plan(task, **model):
    return training.Plan.of(config.Experiment(task=task, model=config.architecture(weights="coco", **model)))


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        (config.ClassificationSettings(), {"name": "resnet50-v1.5"}, "are those of detectors"),
        (config.YoloSettings(), {"name": "resnet50-v1.5"}, "there are none for yolo; these have some: faster-rcnn"),
        (config.FasterRCNNSettings(), {"name": "efficientnet-lite0"}, "set model.name=resnet50-v1.5"),
    ],
)
def test_what_has_no_weights_is_refused_before_training(task, model, message):
    with pytest.raises(UserError, match=message):
        checks.check(plan(task, **model), 1, new_run=True)


def test_a_fine_tuning_starts_with_the_outputs_of_shared_classes(tmp_path, monkeypatch):
    """And a narrower neck inherits from the published one."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    small = models.detector(
        "efficientdet-d0",
        backbone=models.architecture("resnet", width=4, stage_blocks=(1, 1, 1), stem="7x7", resolution=64),
        levels=("P3", "P4"),
        neck_channels=8,
    )
    source = models.build_detector(small, num_classes=90)
    arrays = {each.path: np.asarray(each) for each in source.weights}
    monkeypatch.setitem(coco.ALL_DETECTORS, "efficientdet-d0", small)
    monkeypatch.setattr(coco, "weights_file", lambda name: tmp_path / "made.pth")
    monkeypatch.setattr(coco, "read_foreign", lambda network, path: dict(arrays))
    target = models.build_detector(small, num_classes=2)
    backbone = models.architecture("resnet", width=4, stage_blocks=(1, 1, 1), stem="7x7", resolution=64, weights="coco")
    report = models.initialize(target, backbone, num_classes=2, class_names=("dog", "dragon"))
    assert "kept: dog; new: dragon" in str(report)
    dog = coco.CLASS_NAMES.index("dog")
    bias = np.asarray(target.get_layer("class_head_predict_pointwise").bias).reshape(9, 2)
    np.testing.assert_array_equal(bias[:, 0], arrays["class_head_predict_pointwise/bias"].reshape(9, 90)[:, dog])
