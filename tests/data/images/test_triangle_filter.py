import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.images import resizing, triangle_filter

SIZES = [((32, 32), (24, 24)), ((8, 8), (6, 6)), ((37, 53), (29, 31)), ((16, 48), (33, 17)), ((64, 64), (5, 63))]


def noise(size, channels=3, count=9):
    return np.random.default_rng(0).integers(0, 256, (count, *size, channels), np.uint8)


@pytest.mark.parametrize(("size", "target"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_tensorflows_antialiased_resizing(size, target, channels):
    images = noise(size, channels)
    theirs = tf.image.resize(images, target, antialias=True).numpy()
    ours = triangle_filter.resample(tf.constant(images), target).numpy()
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=0.15)
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.02
    assert ours.min() >= 0
    assert ours.max() <= 255


@pytest.mark.parametrize(("size", "target"), SIZES)
@pytest.mark.parametrize("optimized", [True, False], ids=["graph", "eager"])
def test_no_bit_depends_on_the_batch(size, target, optimized):
    """Matrix products of other shapes add up in another order."""
    images = noise(size, count=130)
    resample = tf.function(triangle_filter.resample, autograph=False) if optimized else triangle_filter.resample
    whole = resample(tf.constant(images), target).numpy()
    for count in (1, 2, 3, 5, 31):
        np.testing.assert_array_equal(resample(tf.constant(images[4 : 4 + count]), target), whole[4 : 4 + count])


@pytest.mark.parametrize(("size", "target"), SIZES)
def test_every_sum_is_exact(size, target):
    """Brute force in whole numbers, in the order of the definition."""
    images = noise(size, count=2)
    rows, columns = (
        np.rint(triangle_filter.weights(length, to, places) * 2**places).astype(np.int64)
        for length, to, places in zip(size, target, (17, 12), strict=True)
    )
    between = np.einsum("yh,nhwc->nywc", rows, images.astype(np.int64) - 128)
    between = np.rint(between / 2**12).astype(np.int64)  # Leaves 5 binary places; a half to the even neighbor.
    levels = np.einsum("xw,nywc->nyxc", columns, between) / 2.0**17 + 128
    np.testing.assert_array_equal(triangle_filter.resample(tf.constant(images), target), levels.astype(np.float32))


@pytest.mark.parametrize("level", [0, 1, 200, 255])
def test_a_plain_image_stays_plain(level):
    images = tf.fill((2, 37, 53, 3), tf.constant(level, tf.uint8))
    np.testing.assert_array_equal(triangle_filter.resample(images, (29, 31)), np.full((2, 29, 31, 3), level))


def test_batches_of_unknown_and_of_no_length():
    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.uint8)], autograph=False)
    def served(images):
        return resizing.resize(images, (24, 24))

    images = noise((32, 32))
    np.testing.assert_array_equal(served(images), resizing.resize(tf.constant(images), (24, 24)))
    assert served(images[:0]).shape == (0, 24, 24, 3)


def test_weights_are_shares():
    for length, target in ((32, 24), (64, 5), (7, 7), (5, 9), (53, 31)):
        shares = triangle_filter.weights(length, target, 12)
        assert (shares >= 0).all()
        np.testing.assert_array_equal(shares.sum(axis=1), 1)
        np.testing.assert_array_equal(shares * 2**12, np.rint(shares * 2**12))
    np.testing.assert_array_equal(triangle_filter.weights(7, 7, 12), np.eye(7))
