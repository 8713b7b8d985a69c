import numpy as np
import tensorflow as tf

from tfeff.tasks.matching import IGNORED, NEGATIVE, POSITIVE
from tfeff.tasks.sampling import noise, sample


def test_positives_fill_at_most_their_share_and_negatives_the_rest() -> None:
    rng = np.random.default_rng(0)
    chances = [(0.5, 0.4), (0.01, 0.9), (0.0, 1.0), (0.9, 0.02), (0.0, 0.05), (0.0, 0.0)]
    kind = np.stack([rng.choice([POSITIVE, NEGATIVE, IGNORED], 400, p=[p, n, 1 - p - n]) for p, n in chances]).astype(
        np.int32
    )
    random = rng.random(kind.shape).astype(np.float32)
    index, valid = (each.numpy() for each in sample(tf.constant(kind), random, count=100, positive_share=0.25))
    assert index.shape == valid.shape == (6, 100)
    for row in range(6):
        chosen = index[row][valid[row]]
        assert len(set(chosen)) == len(chosen)
        positives, negatives = ((kind[row] == each).sum() for each in (POSITIVE, NEGATIVE))
        drawn = min(positives, 25)
        assert (kind[row][chosen] == POSITIVE).sum() == drawn
        assert (kind[row][chosen] == NEGATIVE).sum() == min(negatives, 100 - drawn)
        assert len(chosen) == drawn + min(negatives, 100 - drawn)
        if positives > 25:  # those with the largest random numbers
            best = np.flatnonzero(kind[row] == POSITIVE)[np.argsort(-random[row][kind[row] == POSITIVE])[:25]]
            assert set(best) == set(chosen[kind[row][chosen] == POSITIVE])


def test_fewer_candidates_than_the_sample() -> None:
    kind = tf.constant([[POSITIVE, NEGATIVE, NEGATIVE]])
    index, valid = sample(kind, tf.constant([[0.1, 0.2, 0.3]]), count=8, positive_share=0.5)
    assert sorted(index.numpy()[valid.numpy()].tolist()) == [0, 1, 2]


def test_noise_depends_on_key_and_stream_alone() -> None:
    keys = tf.constant([[1, 2], [3, 4], [1, 2]])
    first = noise(keys, 0, 50).numpy()
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(noise(keys[1:2], 0, 50)[0], first[1])
    assert (first[0] != first[1]).any()
    assert (noise(keys, 1, 50).numpy() != first).any()
