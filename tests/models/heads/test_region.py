"""Heads of R-CNN: outputs, saving and loading."""

from pathlib import Path

import keras
import numpy as np
from scipy.special import expit, softmax

from tfeff.models.heads import region

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(2.0, 3.0, (20, 10)).astype(np.float32)
MEAN, STD = FEATURES.mean(axis=0), FEATURES.std(axis=0)


def test_the_joint_head_is_two_dense_layers_on_standardized_features() -> None:
    head = region.joint(MEAN, STD, classes=3, l1=0.1)
    (dense, biases), (boxes, box_biases) = (head.get_layer(name).get_weights() for name in ("logits", "codes"))
    x = (FEATURES - MEAN) / STD
    logits, codes = head(FEATURES)
    np.testing.assert_allclose(logits, x @ dense + biases, atol=1e-5)
    np.testing.assert_allclose(np.asarray(codes)[:, 0], x @ boxes + box_biases, atol=1e-5)
    np.testing.assert_allclose(sum(map(float, head.losses)), 0.1 * (abs(dense).sum() + abs(boxes).sum()), rtol=1e-5)


def test_the_joint_detector_removes_background_and_code_weights() -> None:
    head = region.joint(MEAN, STD, classes=3, hidden=(8,), dropout=0.5)
    logits, codes = (np.asarray(output) for output in head(FEATURES, training=False))
    scores, plain = region.joint_detector(head)(FEATURES, training=False)
    np.testing.assert_allclose(scores, softmax(logits, axis=1)[:, :3], atol=1e-6)
    np.testing.assert_allclose(plain, codes / [10, 10, 5, 5], atol=1e-6)


def test_the_classic_detector_is_linear() -> None:
    weights, biases = RNG.normal(size=(10, 3)), RNG.normal(size=3)
    box_weights, box_biases = RNG.normal(size=(10, 3, 4)), RNG.normal(size=(3, 4))
    scores, codes = region.linear_detector(weights, biases, box_weights, box_biases)(FEATURES)
    np.testing.assert_allclose(scores, expit(FEATURES @ weights + biases), atol=1e-5)
    np.testing.assert_allclose(codes, np.einsum("nd,dct->nct", FEATURES, box_weights) + box_biases, atol=1e-4)


def test_saving_and_loading_preserve_outputs(tmp_path: Path) -> None:
    detectors = (
        region.joint_detector(region.joint(MEAN, STD, classes=3, hidden=(8,))),
        region.linear_detector(np.ones((10, 2)), np.zeros(2), np.ones((10, 2, 4)), np.zeros((2, 4))),
    )
    for number, detector in enumerate(detectors):
        detector.save(tmp_path / f"{number}.keras")
        loaded = keras.saving.load_model(tmp_path / f"{number}.keras")
        for one, other in zip(detector(FEATURES), loaded(FEATURES), strict=True):
            np.testing.assert_array_equal(one, other)


def test_layers_do_not_start_from_the_same_random_numbers() -> None:
    head = region.joint(MEAN, STD, classes=3, hidden=(8, 8))
    dense = [layer for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    assert len({layer.kernel_initializer.seed for layer in dense}) == len(dense) == 4


def test_the_seed_determines_the_initial_weights() -> None:
    first, second, other = (region.joint(MEAN, STD, classes=3, hidden=(8,), seed=seed) for seed in (1, 1, 9))
    for one, same, another in zip(first.get_weights(), second.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
        assert not one.any() or (one != another).any()
