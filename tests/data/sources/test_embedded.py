import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tfeff.data.sources import catalog
from tfeff.data.sources.source import Options


def pixels(source):
    return np.stack(list(tf.data.Dataset.range(len(source)).map(source.read).as_numpy_iterator()))


def test_digits_are_those_of_scikit_learn_in_a_fixed_split():
    train, test = (
        catalog.open_labels("embedded:digits", Options(channels=1)).load(split) for split in ("train", "test")
    )
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


def test_three_channels_repeat_the_gray_channel():
    gray, color = (catalog.open_labels("embedded:digits", Options(channels=c)).load("test") for c in (1, 3))
    np.testing.assert_array_equal(pixels(color), np.repeat(pixels(gray), 3, axis=-1))


@pytest.fixture(scope="module")
def cluttered():
    return {
        split: catalog.open_labels("embedded:cluttered_digits", Options(channels=1)).load(split)
        for split in ("train", "test")
    }


def test_each_digit_has_three_cluttered_canvases(cluttered):
    for split, source in cluttered.items():
        plain = catalog.open_labels("embedded:digits", Options(channels=1)).load(split)
        assert source.size == (32, 32)
        assert source.class_names == plain.class_names
        np.testing.assert_array_equal(source.labels, np.tile(plain.labels, 3))


def test_canvases_are_reproducible_and_distinct(cluttered):
    canvases = pixels(cluttered["test"])
    again = pixels(catalog.open_labels("embedded:cluttered_digits", Options(channels=3)).load("test"))
    np.testing.assert_array_equal(again, np.repeat(canvases, 3, axis=-1))
    assert len({canvas.tobytes() for canvas in canvases}) == len(canvases)
