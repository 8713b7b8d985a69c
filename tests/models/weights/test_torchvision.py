"""Names and shapes of torchvision's state dict, without torchvision."""

import keras
import numpy as np
import pytest

from tests.thoroughness import only_thorough
from tfeff import models
from tfeff.errors import UserError
from tfeff.models.weights import loading, torchvision


def normalization(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def convolution(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def state_dict(*, nested: bool) -> dict[str, tuple[int, ...]]:
    """Returns shapes by name; `nested`: the names since version 0.13."""
    body = "backbone.body"
    shapes = {f"{body}.conv1.weight": (64, 3, 7, 7), **normalization(f"{body}.bn1", 64)}
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            name = f"{body}.layer{stage + 1}.{block}"
            for number, (out, into, side) in enumerate(
                ((width, inputs, 1), (width, width, 3), (4 * width, width, 1)), 1
            ):
                shapes |= {f"{name}.conv{number}.weight": (out, into, side, side)}
                shapes |= normalization(f"{name}.bn{number}", out)
            if block == 0:
                shapes |= {f"{name}.downsample.0.weight": (4 * width, inputs, 1, 1)}
                shapes |= normalization(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    inner = ".0" if nested else ""
    for level in range(4):
        shapes |= convolution(f"backbone.fpn.inner_blocks.{level}{inner}", 256, 256 * 2**level, 1, 1)
        shapes |= convolution(f"backbone.fpn.layer_blocks.{level}{inner}", 256, 256, 3, 3)
    shapes |= convolution(f"rpn.head.conv{'.0.0' if nested else ''}", 256, 256, 3, 3)
    shapes |= convolution("rpn.head.cls_logits", 3, 256, 1, 1) | convolution("rpn.head.bbox_pred", 12, 256, 1, 1)
    head = "roi_heads"
    shapes |= convolution(f"{head}.box_head.fc6", 1024, 256 * 49) | convolution(f"{head}.box_head.fc7", 1024, 1024)
    shapes |= convolution(f"{head}.box_predictor.cls_score", 91, 1024)
    return shapes | convolution(f"{head}.box_predictor.bbox_pred", 364, 1024)


@only_thorough
def test_all_variables_are_set_in_our_layout() -> None:
    network = models.build_detector("faster-rcnn", num_classes=90, resolution=64)
    rng = np.random.default_rng(0)
    for nested in (True, False):
        state = {name: rng.random(shape, np.float32) + 0.5 for name, shape in state_dict(nested=nested).items()}
        report = models.load_weights(network, torchvision.rename(network, state))
        assert not report.skipped
        assert len(report.loaded) == len(network.weights) == len(state)
    value = {weight.path: np.asarray(weight) for weight in network.weights}
    np.testing.assert_array_equal(
        value["stage2_block1_shortcut_conv/kernel"][0, 0],
        state["backbone.body.layer2.0.downsample.0.weight"][..., 0, 0].T,
    )
    codes = state["roi_heads.box_predictor.bbox_pred.bias"].reshape(91, 4)[1:]  # x, y, w, h
    np.testing.assert_array_equal(value["box_head_codes/bias"].reshape(90, 4), codes[:, [1, 0, 3, 2]])
    scores = state["roi_heads.box_predictor.cls_score.weight"]
    np.testing.assert_array_equal(value["box_head_logits/kernel"][:, 90], scores[0])  # background
    np.testing.assert_array_equal(value["box_head_logits/kernel"][:, 7], scores[8])
    first = state["roi_heads.box_head.fc6.weight"].reshape(1024, 256, 7, 7)
    np.testing.assert_array_equal(value["box_head_fc1/kernel"].reshape(7, 7, 256, 1024)[2, 3, 5], first[:, 5, 2, 3])
    # Without counters of batches, batch normalization was frozen, with an epsilon of 0.
    variance = state["backbone.body.bn1.running_var"]
    np.testing.assert_allclose(value["stem_conv_bn/moving_variance"] + 1e-5, variance, rtol=1e-6)


def retinanet_state_dict(*, nested: bool) -> dict[str, tuple[int, ...]]:
    """Returns shapes by name; `nested`: the names since version 0.13."""
    shapes = {name: shape for name, shape in state_dict(nested=nested).items() if "backbone.body" in name}
    inner = ".0" if nested else ""
    for level in range(3):
        shapes |= convolution(f"backbone.fpn.inner_blocks.{level}{inner}", 256, 512 * 2**level, 1, 1)
        shapes |= convolution(f"backbone.fpn.layer_blocks.{level}{inner}", 256, 256, 3, 3)
    for level in ("p6", "p7"):
        shapes |= convolution(f"backbone.fpn.extra_blocks.{level}", 256, 256, 3, 3)
    for head, last, values in (("classification", "cls_logits", 91), ("regression", "bbox_reg", 4)):
        for number in range(4):
            name = f"{number}.0" if nested else f"{2 * number}"
            shapes |= convolution(f"head.{head}_head.conv.{name}", 256, 256, 3, 3)
        shapes |= convolution(f"head.{head}_head.{last}", 9 * values, 256, 3, 3)
    return shapes


@pytest.mark.slow
def test_all_variables_of_a_retinanet_are_set_in_our_layout() -> None:
    network = models.build_detector("retinanet", num_classes=90, resolution=128)
    rng = np.random.default_rng(0)
    for nested in (True, False):
        shapes = retinanet_state_dict(nested=nested)
        state = {name: rng.random(shape, np.float32) + 0.5 for name, shape in shapes.items()}
        report = models.load_weights(network, torchvision.rename(network, state))
        assert not report.skipped
        assert len(report.loaded) == len(network.weights) == len(state)
    value = {weight.path: np.asarray(weight) for weight in network.weights}
    kernel = state["backbone.fpn.inner_blocks.0.weight"][..., 0, 0]
    np.testing.assert_array_equal(value["neck_cell1_p3_td_from_p3_conv/kernel"][0, 0], kernel.T)
    third = state["head.regression_head.conv.4.weight"]
    np.testing.assert_array_equal(value["box_head_conv3/kernel"], third.transpose(2, 3, 1, 0))
    # Anchors: aspect and scale there, scale and aspect here; codes x, y, w, h; the first class is background.
    codes = state["head.regression_head.bbox_reg.bias"].reshape(3, 3, 4)
    scores = state["head.classification_head.cls_logits.bias"].reshape(3, 3, 91)
    for scale, aspect in ((0, 1), (2, 0), (1, 2)):
        ours = value["box_head_predict/bias"].reshape(3, 3, 4)[scale, aspect]
        np.testing.assert_array_equal(ours, codes[aspect, scale][[1, 0, 3, 2]])
        ours = value["class_head_predict/bias"].reshape(3, 3, 90)[scale, aspect]
        np.testing.assert_array_equal(ours, scores[aspect, scale, 1:])


def test_a_box_head_for_other_regions_is_skipped() -> None:
    network = models.build_detector(
        "faster-rcnn", backbone="resnet", levels=("P3", "P4"), num_classes=90, resolution=64, pooling_size=5, width=4
    )
    state = {name: np.zeros(shape, np.float32) for name, shape in state_dict(nested=True).items() if "body" not in name}
    report = models.load_weights(network, torchvision.rename(network, state))
    skipped = {each.name: each.shape_there for each in report.skipped}
    assert skipped["box_head_fc1/kernel"] == (256 * 49, 1024)


def test_predictions_of_other_anchors_and_other_levels_stay_out() -> None:
    """Levels are those of the file: its first one is P2 of a Faster R-CNN, P3 of a RetinaNet."""
    options = {"num_classes": 90, "backbone": "resnet", "stem": "7x7", "resolution": 128, "neck_channels": 256}
    rng = np.random.default_rng(0)
    fpn = {name: shape for name, shape in state_dict(nested=True).items() if "fpn.layer" in name or "rpn" in name}
    heads = {name: shape for name, shape in retinanet_state_dict(nested=True).items() if "body" not in name}
    states = [{name: rng.random(shape, np.float32) for name, shape in each.items()} for each in (fpn, heads)]
    two_stage = models.build_detector("faster-rcnn", levels=("P3", "P4", "P5"), anchor_size=4.0, hidden=[4], **options)
    renamed = torchvision.rename(two_stage, states[0])
    np.testing.assert_array_equal(
        renamed["neck_cell1_p3_out_conv/bias"], states[0]["backbone.fpn.layer_blocks.1.0.bias"]
    )
    assert "rpn_conv1/kernel" in renamed
    assert "rpn.head.cls_logits.weight (for other anchors)" in renamed
    networks = (
        models.build_detector("retinanet", anchor_aspects=(1.0, 2.0, 0.5), **options),
        models.build_detector("efficientdet-d0", separable=False, **options),
        models.build_detector("retinanet", convolved_levels=0, **options),
    )
    for network, absent in zip(networks, ("_predict/", "_predict/", "neck_p6"), strict=True):
        renamed = torchvision.rename(network, states[1])
        assert "class_head_conv1/kernel" in renamed
        assert not [name for name in renamed if absent in name]
        assert any(" (for other " in name for name in renamed)


def test_the_body_of_a_detector_needs_strides_in_3x3_convolutions() -> None:
    state = {name: np.zeros(shape, np.float32) for name, shape in retinanet_state_dict(nested=True).items()}
    with pytest.raises(UserError, match=r"only resnet50-v1\.5 can load"):
        torchvision.rename(models.build("resnet50", resolution=64, num_classes=2), state)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"head.classification_head.conv.0.1.weight": (256,)}, "can be read"),
        ({"backbone.fpn.inner_blocks.0.1.weight": (256,)}, "can be read"),
        ({"backbone.body.0.0.weight": (16, 3, 3, 3)}, "can be read"),
        ({"head.regression_head.bbox_ctrness.weight": (1, 256, 3, 3)}, "can be read"),
        (
            {"head.regression_head.bbox_reg.weight": (12, 256, 3, 3)},
            "other anchors than the published one",
        ),
    ],
)
def test_other_one_stage_detectors_are_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    network = models.build_detector("retinanet", num_classes=2, resolution=128, backbone="resnet", stem="7x7")
    shapes = {"head.classification_head.cls_logits.weight": (9 * 3, 256, 3, 3), **shapes}
    with pytest.raises(UserError, match=message):
        torchvision.rename(network, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


@pytest.mark.slow
def test_the_names_of_resnet_50() -> None:
    """Those of the detector's body, and a classifier."""
    body = {name: shape for name, shape in state_dict(nested=True).items() if name.startswith("backbone.body.")}
    shapes = {name.removeprefix("backbone.body."): shape for name, shape in body.items()} | convolution("fc", 10, 2048)
    rng = np.random.default_rng(0)
    state = {name: rng.random(shape, np.float32) + 0.5 for name, shape in shapes.items()}
    network = models.build("resnet50-v1.5", resolution=64, num_classes=10)
    report = models.load_weights(network, torchvision.rename(network, state))
    assert not report.skipped
    assert len(report.loaded) == len(network.weights) == len(state)
    # Batch normalization has the epsilon of the network, also in old files, without counters of batches.
    variance = {weight.path: np.asarray(weight) for weight in network.weights}["stem_conv_bn/moving_variance"]
    np.testing.assert_array_equal(variance, state["bn1.running_var"])
    with pytest.raises(UserError, match=r"only resnet50-v1\.5 can load"):
        torchvision.rename(models.build("resnet50", resolution=64), state)


def test_other_networks_are_refused() -> None:
    network = models.build_detector(
        "faster-rcnn", num_classes=2, backbone="resnet", stem="7x7", resolution=32, neck_channels=4, hidden=[4]
    )
    with pytest.raises(UserError, match="only its RegNets, ResNet-50, fasterrcnn_resnet50_fpn and ret"):
        torchvision.rename(network, {"fc.weight": np.zeros((2, 2))})


def test_a_classifier_takes_the_backbone_of_a_detector() -> None:
    network = models.build("resnet50-v1.5", num_classes=2, resolution=32)
    rng = np.random.default_rng(0)
    shapes = {name: shape for name, shape in state_dict(nested=True).items() if np.prod(shape) < 10_000_000}
    state = {name: rng.random(shape, np.float32) + 0.5 for name, shape in shapes.items()}
    state["backbone.body.layer1.0.conv1.weight_orig"] = state["backbone.body.layer1.0.conv1.weight"]
    report = models.load_weights(network, torchvision.rename(network, state))
    skipped = [each.name for each in report.skipped if each.shape_here is not None]
    assert skipped == ["head_classifier/kernel", "head_classifier/bias"]
    kernel = network.get_layer("stage1_block1_conv1").kernel
    np.testing.assert_array_equal(kernel, state["backbone.body.layer1.0.conv1.weight"].transpose(2, 3, 1, 0))


def test_a_gray_network_computes_what_the_color_network_does(tmp_path, monkeypatch) -> None:
    """Up to the border, where a standardized zero is another gray value."""
    options = {"resolution": 64, "stage_blocks": (1, 1, 1, 1), "width": 8, "num_classes": 3}
    color, gray = (models.build("resnet50-v1.5", channels=each, **options) for each in (3, 1))
    rng = np.random.default_rng(0)
    width = color.get_layer("stem_conv").filters
    shapes = {"conv1.weight": (width, 3, 7, 7), "layer1.0.conv1.weight": (8, width, 1, 1)}
    shapes |= normalization("bn1", width)
    state = {name: rng.random(shape, np.float32) + 0.5 for name, shape in shapes.items()}
    monkeypatch.setattr(loading, "read_state_dict", lambda path: state)
    for network in (color, gray):
        models.load_weights(network, tmp_path / "weights.pth")
    pixels = rng.uniform(0, 255, (2, 64, 64, 1)).astype(np.float32)
    ends = [keras.Model(each.input, each.get_layer("stem_conv_bn").output) for each in (color, gray)]
    expected, found = (
        np.asarray(end(x))[:, 4:-4, 4:-4] for end, x in zip(ends, (np.repeat(pixels, 3, -1), pixels), strict=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_gray_file_keeps_the_scale_of_its_kernels(tmp_path, monkeypatch) -> None:
    """Torchvision's statistics have three channels; a gray network was trained with their means."""
    options = {"resolution": 64, "stage_blocks": (1, 1, 1, 1), "width": 8, "num_classes": 3, "channels": 1}
    network = models.build("resnet50-v1.5", std=(30,), **options)
    width = network.get_layer("stem_conv").filters
    kernel = np.random.default_rng(0).random((width, 1, 7, 7), np.float32)
    state = {"conv1.weight": kernel, "layer1.0.conv1.weight": np.zeros((8, width, 1, 1), np.float32)}
    monkeypatch.setattr(loading, "read_state_dict", lambda path: state)
    models.load_weights(network, tmp_path / "weights.pth")
    expected = kernel.transpose(2, 3, 1, 0) * 30 / np.mean([58.395, 57.12, 57.375])
    np.testing.assert_allclose(network.get_layer("stem_conv").kernel, expected, rtol=1e-5)
