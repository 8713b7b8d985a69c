"""Box coding, compared with Keras."""

import keras
import numpy as np
import pytest

from tfeff.boxes import FAST_RCNN_WEIGHTS, decode, encode


def boxes(seed, n=100, dtype=np.float32):
    rng = np.random.default_rng(seed)
    tops, sides = rng.uniform(0, 300, (n, 2)), rng.uniform(1, 200, (n, 2))
    return np.concatenate([tops, tops + sides], axis=1).astype(dtype)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), FAST_RCNN_WEIGHTS])
def test_codes_equal_those_of_keras(weights):
    expected = keras.utils.bounding_boxes.encode_box_to_deltas(
        boxes(0), boxes(1), anchor_format="yxyx", box_format="yxyx", variance=[1 / weight for weight in weights]
    )
    for ops in (np, keras.ops):
        codes = encode(ops.array(boxes(1)), ops.array(boxes(0)), weights=weights, ops=ops)
        np.testing.assert_allclose(np.asarray(codes), np.asarray(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ops", [np, keras.ops], ids=["numpy", "keras"])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), FAST_RCNN_WEIGHTS])
def test_decoding_inverts_encoding(ops, weights):
    originals, anchors = ops.array(boxes(2)), ops.array(boxes(3))
    originals = originals[:, None]  # every box relative to every anchor
    decoded = decode(encode(originals, anchors, weights=weights, ops=ops), anchors, weights=weights, ops=ops)
    ratios = (boxes(2)[:, None, 2:] - boxes(2)[:, None, :2]) / (boxes(3)[:, 2:] - boxes(3)[:, :2])
    reachable = (ratios < 1000 / 16).all(axis=-1)
    expected = np.broadcast_to(boxes(2)[:, None], (100, 100, 4))
    assert 0.5 < reachable.mean() < 1.0
    np.testing.assert_allclose(np.asarray(decoded)[reachable], expected[reachable], rtol=1e-3, atol=1e-2)


def test_large_codes_are_clamped():
    (decoded,) = decode(np.array([[0.0, 0.0, 1e4, 1e4]]), np.array([[0.0, 0.0, 16.0, 32.0]]))
    np.testing.assert_allclose(decoded, [8 - 500, 16 - 1000, 8 + 500, 16 + 1000])


def test_codes_are_invariant_to_translation_and_scale():
    codes = encode(boxes(4, dtype=np.float64), boxes(5, dtype=np.float64))
    np.testing.assert_allclose(encode(3 * boxes(4, dtype=float) + 7, 3 * boxes(5, dtype=float) + 7), codes, atol=1e-9)


@pytest.mark.parametrize("ops", [np, keras.ops], ids=["numpy", "keras"])
def test_codes_of_padding_are_finite(ops):
    padding = ops.array(np.zeros((3, 4), np.float32))
    assert np.isfinite(np.asarray(encode(padding, padding, ops=ops))).all()
    assert encode(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0, 4)
