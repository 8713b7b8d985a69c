import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tfeff.data.sources import catalog, cluttered_digits
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
    for split, source in cluttered.items():
        canvases = pixels(source)
        again = pixels(catalog.open_labels("embedded:cluttered_digits", Options(channels=3)).load(split))
        np.testing.assert_array_equal(again, np.repeat(canvases, 3, axis=-1))
        assert len({canvas.tobytes() for canvas in canvases}) == len(canvases)


def test_a_canvas_depends_on_its_index_and_part_only():
    digits = tf.random.stateless_uniform((40, 8, 8), (0, 0))
    canvases = cluttered_digits.draw(digits, 40, part=0).numpy()
    np.testing.assert_array_equal(cluttered_digits.draw(digits, 80, part=0)[:40], canvases)
    assert (cluttered_digits.draw(digits, 40, part=1).numpy() != canvases).any(axis=(1, 2, 3)).all()


def test_digits_lie_completely_on_their_canvas(monkeypatch):
    """Its ink adds up to that of the drawing, enlarged: nothing is cut off; and all canvases differ."""
    for name, value in {"PIECES": 0, "NOISE": 0.0, "BACKGROUND": 0.0, "DIGIT_INK": (1.0, 1.0)}.items():
        monkeypatch.setattr(cluttered_digits, name, value)
    canvases = cluttered_digits.draw(tf.ones((1, 8, 8)), 300, part=0).numpy()[..., 0] / 255
    sides = np.sqrt(canvases.sum(axis=(1, 2)))
    low, high = cluttered_digits.DIGIT_SIDE
    # Bilinear enlargement fades the border out over half a source pixel each way.
    assert low * 0.9 < sides.min() < low * 1.1
    assert high * 0.9 < sides.max() < high * 1.1
    assert canvases[:, [0, -1]].max() < 0.75
    rows = (canvases.sum(axis=2) * np.arange(32)).sum(axis=1) / canvases.sum(axis=(1, 2))
    assert rows.min() < 12
    assert rows.max() > 19


def test_clutter_is_dimmer_than_the_digit(monkeypatch):
    monkeypatch.setattr(cluttered_digits, "NOISE", 0.0)
    monkeypatch.setattr(cluttered_digits, "BACKGROUND", 0.0)
    digits = tf.stack([tf.zeros((8, 8)), tf.ones((8, 8))])
    canvases = cluttered_digits.draw(digits, 100, part=0).numpy()[..., 0] / 255
    brightest = canvases.max(axis=(1, 2))
    least, most = cluttered_digits.PIECE_INK
    # Canvases of the empty digit show pieces of the full one alone, and the other way about.
    assert least < brightest[::2].min()
    assert brightest[::2].max() <= most + 0.01
    assert brightest[1::2].min() > cluttered_digits.DIGIT_INK[0] - 0.01
