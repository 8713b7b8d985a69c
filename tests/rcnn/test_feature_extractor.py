"""Features of regions against the backbone's own maps."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.errors import UserError
from tfeff.models.rcnn import Parts, build_rcnn
from tfeff.networks import architecture
from tfeff.networks.detectors.rcnn import RCNN
from tfeff.networks.heads import POOL
from tfeff.rcnn.feature_extractor import BATCH, FeatureExtractor
from tfeff.rcnn.warping import warp

DESCRIBED = RCNN(
    backbone=architecture("efficientnet-lite0", resolution=64, width_coefficient=0.2, depth_coefficient=0.2)
)
"""Its classifier has a convolution after the last map of the pyramid."""


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)


def test_features_of_a_sliding_window_are_the_input_of_the_classifier(pixels: np.ndarray) -> None:
    network = build_rcnn(dataclasses.replace(DESCRIBED, head="sliding_window"), num_classes=2)
    last = keras.Model(network.inputs, network.get_layer(POOL).input)(pixels, training=False)
    pooled = np.mean(last, axis=(1, 2))
    np.testing.assert_allclose(Parts.of(network).features(pixels, training=False), pooled, rtol=0, atol=1e-5)
    assert network.get_layer("head_classifier").kernel.shape == (pooled.shape[1], 3)


def test_features_of_a_sliding_window_are_normalized_as_in_the_backbone(pixels: np.ndarray) -> None:
    """ConvNeXt has a layer normalization between pooling and classifier."""
    convnext = architecture("convnext-tiny", resolution=64, width_coefficient=0.2, depth_coefficient=0.3)
    network = build_rcnn(RCNN(backbone=convnext, head="sliding_window"), num_classes=2)
    features = Parts.of(network).features(pixels, training=False).numpy()
    np.testing.assert_allclose(features.mean(axis=-1), 0.0, atol=1e-4)
    assert features.std(axis=-1) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("grid", [1, 2])
def test_a_grid_averages_cells_of_the_last_map(pixels: np.ndarray, grid: int) -> None:
    network = build_rcnn(dataclasses.replace(DESCRIBED, grid=grid), num_classes=2)
    last = network.get_layer("region_features").input
    feature_map = keras.Model(network.inputs, last)(pixels, training=False).numpy()
    assert feature_map.shape[1:3] == (2, 2)
    side = 2 // grid
    cells = feature_map.reshape(3, grid, side, grid, side, -1).mean(axis=(2, 4)).reshape(3, -1)
    np.testing.assert_allclose(Parts.of(network).features(pixels, training=False), cells, rtol=0, atol=1e-5)


def test_a_grid_finer_than_the_map_is_an_error() -> None:
    with pytest.raises(UserError, match=r"3 x 3 cells are more than .* \(2 x 2\)"):
        build_rcnn(DESCRIBED, num_classes=2)


def test_any_number_of_regions_is_cut_out_and_computed_in_batches(pixels: np.ndarray) -> None:
    features = Parts.of(build_rcnn(dataclasses.replace(DESCRIBED, grid=1), num_classes=2)).features
    extractor = FeatureExtractor(features, context=4)
    corner = np.random.default_rng(1).uniform(0, 30, (BATCH + 5, 2))
    boxes = np.concatenate([corner, corner + 20], axis=1).astype(np.float32)
    expected = np.concatenate([features(warp(pixels[0], box[None], 64, 4), training=False) for box in boxes[-7:]])
    for count in (0, len(boxes)):
        found = extractor(tf.constant(pixels[0]), boxes[:count])
        assert found.shape == (count, extractor.size)
    np.testing.assert_allclose(found[-7:], expected, rtol=1e-4, atol=1e-5)


def test_the_image_is_halved_once_for_all_batches() -> None:
    regions = keras.Input((8, 8, 3))
    features = keras.Model(regions, keras.layers.GlobalAveragePooling2D()(regions))
    signature = tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, 4), tf.float32)
    traced = tf.function(FeatureExtractor(features), signature, autograph=False).get_concrete_function().graph
    ops = [node.op for node in traced.as_graph_def().node]
    inner = [node.op for each in traced.as_graph_def().library.function for node in each.node_def]
    assert "MirrorPad" in ops  # of the pyramid
    assert "MirrorPad" not in inner
    assert "CropAndResize" in inner  # the loop over batches


def test_the_context_must_leave_room_for_the_region() -> None:
    with pytest.raises(UserError, match=r"task\.features\.context: 32 pixels on each side leave none"):
        FeatureExtractor.check(64, 32)
