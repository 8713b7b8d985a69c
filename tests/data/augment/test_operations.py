import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.augment.operations import Operation, apply

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 14, 18, 3)).astype(np.float32)
OPERATIONS = RNG.integers(0, len(Operation), 60).astype(np.int32)
STRENGTHS = RNG.uniform(0, 1, 60).astype(np.float32)
SIGNS = RNG.choice([-1.0, 1.0], 60).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_equals_its_images_one_by_one(channels):
    images = IMAGES[..., :channels]
    whole = apply(tf.constant(images), tf.constant(OPERATIONS), tf.constant(STRENGTHS), tf.constant(SIGNS)).numpy()
    assert whole.shape == images.shape
    np.testing.assert_array_equal(whole, np.round(whole))
    assert whole.min() >= 0
    assert whole.max() <= 255
    for i in range(60):
        part = [tf.constant(values[i : i + 1]) for values in (images, OPERATIONS, STRENGTHS, SIGNS)]
        np.testing.assert_array_equal(apply(*part)[0], whole[i])


WITH_STRENGTH = [o for o in Operation if o not in (Operation.AUTO_CONTRAST, Operation.EQUALIZE, Operation.INVERT)]


@pytest.mark.parametrize("operation", WITH_STRENGTH, ids=lambda operation: operation.name)
def test_the_effect_grows_with_strength_from_none(operation):
    # A smooth picture: on noise the smallest shift already changes everything.
    y, x = np.mgrid[:40, :40]
    picture = np.stack([120 + 80 * np.sin(y / 9), 120 + 80 * np.cos(x / 7), 3 * (x + y)], axis=-1).round()
    images = tf.constant(picture[None], tf.float32)
    changes = []
    for strength in (0.0, 0.25, 0.5, 1.0):
        changed = apply(images, tf.constant([int(operation)]), tf.constant([strength]), tf.constant([1.0]))
        changes.append(float(tf.reduce_mean(tf.abs(changed - images))))
    assert changes[0] < 1e-6
    assert changes == sorted(changes)
    assert (changes[-1] > 0) == (operation != Operation.IDENTITY)


@pytest.mark.parametrize(
    ("operation", "y", "x"), [(Operation.TRANSLATE_Y, 10, 0), (Operation.TRANSLATE_X, 0, 10)], ids=["down", "right"]
)
def test_translation_moves_by_its_fraction_and_leaves_gray(operation, y, x):
    image = RNG.integers(0, 256, (1, 331 // 15, 331 // 15, 1)).astype(np.float32)  # 150 / 331 of 22 pixels: 9.97
    moved = apply(tf.constant(image), tf.constant([int(operation)]), tf.constant([1.0]), tf.constant([1.0])).numpy()
    np.testing.assert_allclose(moved[0, y:, x:], image[0, : 22 - y, : 22 - x], atol=12)
    if y:
        np.testing.assert_array_equal(moved[0, : y - 1], 128)
    else:
        np.testing.assert_array_equal(moved[0, :, : x - 1], 128)
