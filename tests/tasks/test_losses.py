import keras
import numpy as np
import pytest
import tensorflow as tf

from tfeff.tasks.losses import complete_iou, distribution_focal_loss, focal_loss, huber_loss


def test_focal_loss_equals_that_of_keras() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 4, (5, 7)), rng.integers(0, 2, (5, 7)).astype(float)
    ours = focal_loss(tf.constant(targets), tf.constant(logits), alpha=0.25, gamma=1.5)
    theirs = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, alpha=0.25, gamma=1.5, from_logits=True, reduction=None, dtype="float64"
    )
    np.testing.assert_allclose(ours.numpy().mean(axis=-1), theirs(targets, logits), rtol=1e-6)


def test_focal_loss_has_a_gradient_where_the_answer_is_certain() -> None:
    logits = tf.Variable([200.0, -200.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(focal_loss(tf.constant([1.0, 0.0]), logits, alpha=0.25, gamma=1.5))
    assert loss == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), [0, 0])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5])
def test_focal_loss_has_finite_gradients_for_every_gamma(gamma: float) -> None:
    targets = tf.constant([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    logits = tf.Variable([-50.0, 0.7, 50.0, -50.0, 0.7, 50.0])
    with tf.GradientTape() as tape:
        loss = focal_loss(targets, logits, alpha=0.25, gamma=gamma)
    z, sign = logits.numpy().astype(float), 2 * targets.numpy() - 1
    wrong, entropy = 1 / (1 + np.exp(sign * z)), np.log1p(np.exp(-sign * z))
    alpha = np.where(sign > 0, 0.25, 0.75)
    np.testing.assert_allclose(loss, alpha * wrong**gamma * entropy, rtol=1e-5, atol=1e-30)
    # d wrong / dz = -sign wrong (1 - wrong); d entropy / dz = -sign wrong
    expected = -sign * alpha * wrong**gamma * (gamma * (1 - wrong) * entropy + wrong)
    np.testing.assert_allclose(tape.gradient(loss, logits), expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("delta", [0.1, 1.0])
def test_huber_loss_equals_that_of_keras(delta: float) -> None:
    errors = np.linspace(-3, 3, 61)[:, None]
    theirs = keras.losses.Huber(delta=delta, reduction=None, dtype="float64")(errors, np.zeros_like(errors))
    np.testing.assert_allclose(huber_loss(tf.constant(errors), delta=delta)[:, 0], theirs, rtol=1e-6, atol=1e-12)


def test_complete_iou_by_its_equations() -> None:
    """KerasCV squares the factor 4 / pi^2, too, so it agrees only where the aspect ratios do."""
    rng = np.random.default_rng(1)
    first, second = (np.sort(rng.uniform(0, 50, (200, 2, 2)), axis=1).reshape(200, 4) for _ in range(2))
    second[:50, 2:] = second[:50, :2] + 1.7 * (first[:50, 2:] - first[:50, :2])
    expected = []
    for (top, left, bottom, right), (t, le, b, r) in zip(first, second, strict=True):
        common = max(0, min(bottom, b) - max(top, t)) * max(0, min(right, r) - max(left, le))
        overlap = common / ((bottom - top) * (right - left) + (b - t) * (r - le) - common)
        distance = ((top + bottom - t - b) / 2) ** 2 + ((left + right - le - r) / 2) ** 2
        diagonal = (max(bottom, b) - min(top, t)) ** 2 + (max(right, r) - min(left, le)) ** 2
        v = 4 / np.pi**2 * (np.arctan((r - le) / (b - t)) - np.arctan((right - left) / (bottom - top))) ** 2
        expected.append(overlap - distance / diagonal - v * v / (1 - overlap + v))
    ours = complete_iou(tf.constant(first), tf.constant(second))
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    keras_cv = pytest.importorskip("keras_cv")
    theirs = 1 - np.array(keras_cv.losses.CIoULoss("yxyx", reduction="none")(second[:50], first[:50]))
    np.testing.assert_allclose(ours[:50], theirs, atol=1e-5)


def test_complete_iou_of_equal_and_of_empty_boxes() -> None:
    box = tf.Variable([[2.0, 3.0, 8.0, 5.0], [4.0, 4.0, 4.0, 4.0]])
    with tf.GradientTape() as tape:
        overlap = complete_iou(box, tf.identity(box))
    assert overlap.numpy().tolist() == [1.0, 0.0]
    assert np.isfinite(tape.gradient(overlap, box)).all()


def test_distribution_focal_loss_by_its_equation() -> None:
    rng = np.random.default_rng(2)
    logits, distances = rng.normal(size=(40, 16)), rng.uniform(0, 15, 40)
    log = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    low = np.floor(distances).astype(int)
    rows = np.arange(40)
    expected = -((low + 1 - distances) * log[rows, low] + (distances - low) * log[rows, low + 1])
    np.testing.assert_allclose(distribution_focal_loss(tf.constant(distances), tf.constant(logits)), expected)


def test_distances_beyond_the_bins_count_as_the_last() -> None:
    logits = tf.constant([[0.0, 1.0, 2.0]])
    assert distribution_focal_loss(tf.constant([9.0]), logits) == distribution_focal_loss(tf.constant([2.0]), logits)
