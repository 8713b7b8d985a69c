"""Losses of imitation against their definitions in NumPy and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import rel_entr, softmax

from tfeff.boxes import iou
from tfeff.tasks.imitation import dense_difference, divergence, feature_difference, softened


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_divergence_from_the_mean_of_two_teachers(rng, temperature):
    logits, *teachers = rng.normal(0, 3, (3, 5, 4)).astype(np.float32)
    wanted = np.mean([softmax(each / temperature, axis=1) for each in teachers], axis=0)
    ours = softmax(logits / temperature, axis=1)
    mean = softened([tf.constant(each) for each in teachers], temperature)
    found = divergence(tf.constant(logits), mean, temperature)
    np.testing.assert_allclose(found, temperature**2 * rel_entr(wanted, ours).sum(axis=1), rtol=1e-4, atol=1e-5)
    same = divergence(tf.constant(logits), softened([tf.constant(logits)], temperature), temperature)
    np.testing.assert_allclose(same, 0, atol=1e-5)


def test_gradient_of_a_high_temperature_is_the_difference_of_centered_logits(rng):
    """Hinton et al., arXiv:1503.02531, equation 4."""
    logits, teacher = (each - each.mean(axis=1, keepdims=True) for each in rng.normal(0, 1, (2, 3, 4)))
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(divergence(variable, softened([tf.constant(teacher)], 1000.0), 1000.0))
    np.testing.assert_allclose(tape.gradient(loss, variable), (logits - teacher) / 4, atol=1e-3)


def test_features_are_compared_in_units_of_the_teachers_variance(rng):
    ours, theirs = rng.normal(0, 2, (2, 6, 3)).astype(np.float32)
    expected = np.square(ours - theirs).mean(axis=1) / theirs.var(axis=0, ddof=1).mean()
    np.testing.assert_allclose(feature_difference(tf.constant(ours), tf.constant(theirs)), expected, rtol=1e-5)


def test_the_difference_of_features_hardly_depends_on_the_parts_of_a_batch(rng):
    ours, theirs = rng.normal(0, 2, (2, 64, 300)).astype(np.float32)
    whole = feature_difference(tf.constant(ours), tf.constant(theirs)).numpy().mean()
    for size in (2, 4, 16):
        parts = [
            feature_difference(tf.constant(ours[at : at + size]), tf.constant(theirs[at : at + size])).numpy().mean()
            for at in range(0, 64, size)
        ]
        assert np.mean(parts) == pytest.approx(whole, rel=0.03)


def test_other_features_are_compared_by_similarities(rng):
    ours, theirs = rng.normal(0, 2, (6, 3)).astype(np.float32), rng.normal(0, 2, (6, 5)).astype(np.float32)
    rotated = theirs @ np.linalg.qr(rng.normal(0, 1, (5, 5)))[0].astype(np.float32) * 4
    wide = np.hstack([rotated, np.zeros((6, 2), np.float32)])
    np.testing.assert_allclose(feature_difference(tf.constant(wide), tf.constant(theirs)), 0, atol=1e-5)
    assert np.all(feature_difference(tf.constant(ours), tf.constant(theirs)).numpy() > 1e-3)


def test_dense_predictions_are_compared_at_each_position(rng):
    boxes, theirs = rng.uniform(0, 20, (2, 2, 3, 4)).astype(np.float32)
    for each in (boxes, theirs):
        each[..., 2:] += each[..., :2]
    scores, wanted = rng.uniform(0.05, 0.95, (2, 2, 3, 4)).astype(np.float32)
    found = dense_difference(*map(tf.constant, (boxes, scores, theirs, wanted))).numpy()
    for image in range(2):
        total = certainty = 0.0
        for n in range(3):
            certain = wanted[image, n].max()
            for p, q in zip(wanted[image, n], scores[image, n], strict=True):
                total += p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
            total += (1 - iou(boxes[image, n][None], theirs[image, n][None])[0, 0]) * certain
            certainty += certain
        np.testing.assert_allclose(found[image], total / (certainty + 1), rtol=1e-4)
    same = dense_difference(*map(tf.constant, (theirs, wanted, theirs, wanted)))
    np.testing.assert_allclose(same, 0, atol=1e-4)
