import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from tfeff.data import catalog


def pixels(source):
    return np.stack([source.read(tf.constant(i, tf.int64)).numpy() for i in range(len(source))])


def test_digits_are_scikit_learns_divided_once_and_for_all():
    train, test = (catalog.load("embedded:digits", split, channels=1) for split in ("train", "test"))
    assert (len(train), len(test)) == (1438, 359)
    assert train.class_names == tuple("0123456789")
    assert train.size == (8, 8)
    levels = np.concatenate([pixels(train), pixels(test)])[..., 0]
    assert levels.dtype == np.uint8
    rows = {(image.tobytes(), label) for image, label in zip(levels, [*train.labels, *test.labels], strict=True)}
    bunch = load_digits()
    expected = np.rint(bunch.images / 16 * 255).astype(np.uint8)
    assert rows == {(image.tobytes(), label) for image, label in zip(expected, bunch.target, strict=True)}
    share = train.class_counts() / (train.class_counts() + test.class_counts())
    np.testing.assert_allclose(share, 0.8, atol=0.01)


def test_three_channels_repeat_the_gray_one():
    gray, color = (catalog.load("embedded:digits", "test", channels=c) for c in (1, 3))
    np.testing.assert_array_equal(pixels(color), np.repeat(pixels(gray), 3, axis=-1))
