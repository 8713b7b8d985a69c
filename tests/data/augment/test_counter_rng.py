import numpy as np
import pytest
import tensorflow as tf

from tfeff.data.augment.counter_rng import Draws, Purpose, philox


def test_known_answers_of_philox_4x32_10():
    # The vectors that the authors publish with their implementation (Random123, kat_vectors).
    cases = [
        (0, [0, 0, 0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (2**64 - 1, [2**32 - 1] * 4, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            0x299F31D0A4093822,
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ]
    for key, counter, expected in cases:
        np.testing.assert_array_equal(philox(key, tf.constant(counter, tf.int64)), expected)


def test_tensorflows_philox_agrees():
    key = 123456789012345
    counters = np.random.default_rng(0).integers(0, 2**32, (20, 4))
    for counter, ours in zip(counters, philox(key, tf.constant(counters)).numpy(), strict=True):
        halves = [counter[0] | counter[1] << 32, counter[2] | counter[3] << 32]
        theirs = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=[4],
            key=tf.constant([key], tf.uint64),
            counter=tf.constant([int(h) % 2**64 for h in halves], tf.uint64),
            alg=1,
            dtype=tf.uint32,
        )
        np.testing.assert_array_equal(ours, theirs)


def draws(index, *, seed=0, epoch=0, repeat=None):
    index = tf.constant(index, tf.int64)
    return Draws(seed, tf.constant(epoch), index, tf.zeros_like(index) if repeat is None else repeat)


def test_numbers_of_an_example_do_not_depend_on_the_batch():
    whole = draws(range(100)).uniform(Purpose.COLOR, 7).numpy()
    np.testing.assert_array_equal(draws([42, 7]).uniform(Purpose.COLOR, 7), whole[[42, 7]])
    np.testing.assert_array_equal(draws(range(100)).uniform(Purpose.COLOR, 3), whole[:, :3])


@pytest.mark.parametrize(
    "other",
    [
        draws(range(100), seed=1).uniform(Purpose.COLOR, 4),
        draws(range(100), seed=2**40).uniform(Purpose.COLOR, 4),
        draws(range(100), epoch=1).uniform(Purpose.COLOR, 4),
        draws(range(100), repeat=tf.ones(100, tf.int64)).uniform(Purpose.COLOR, 4),
        draws(range(100)).uniform(Purpose.WARP, 4),
        draws(range(100, 200)).uniform(Purpose.COLOR, 4),
    ],
)
def test_every_part_of_the_counter_changes_every_number(other):
    assert (draws(range(100)).uniform(Purpose.COLOR, 4).numpy() != other.numpy()).all()


def test_numbers_are_uniform_and_uncorrelated():
    values = draws(range(20_000)).uniform(Purpose.WARP, 8).numpy().astype(float)
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.stack([np.histogram(column, 20, (0, 1))[0] for column in values.T])
    assert ((counts - 1000) ** 2 / 1000).sum() < 218  # Chi-squared, 152 degrees of freedom, p = 0.0004.
    correlation = np.corrcoef(np.concatenate([values[:-1], values[1:]], axis=1).T)
    assert np.abs(correlation - np.eye(16)).max() < 0.03
