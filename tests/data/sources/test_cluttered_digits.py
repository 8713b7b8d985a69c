import numpy as np
import tensorflow as tf

from tfeff.data.sources import cluttered_digits


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
