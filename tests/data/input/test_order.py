import numpy as np
import pytest

from tfeff.data.input import order

LABELS = np.array([0] * 70 + [1] * 20 + [3] * 7)


def test_a_shuffled_epoch_holds_each_example_once_in_a_new_order():
    first, second = order.Shuffled(100, seed=1).examples(0, 100), order.Shuffled(100, seed=1).examples(1, 100)
    np.testing.assert_array_equal(np.sort(first.indices), np.arange(100))
    assert (first.indices != second.indices).any()
    assert (first.indices != order.Shuffled(100, seed=2).examples(0, 100).indices).any()
    np.testing.assert_array_equal(first.indices, order.Shuffled(100, seed=1).examples(0, 100).indices)


def test_the_first_example_is_uniformly_distributed():
    first = [order.Shuffled(10, seed=0).examples(epoch, 10).indices[0] for epoch in range(2000)]
    counts = np.bincount(first, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # Chi-squared with 9 degrees of freedom, p = 0.001.


@pytest.mark.parametrize("count", [97, 96, 50, 7])
def test_classes_are_drawn_equally_often(count):
    for epoch in range(5):
        drawn = LABELS[order.ClassBalanced(LABELS, seed=0).examples(epoch, count).indices]
        counts = np.bincount(drawn, minlength=4)[[0, 1, 3]]
        assert counts.max() - counts.min() <= 2  # A round may be cut at either end of the epoch.


def test_a_class_yields_all_its_examples_before_repeating_one():
    epochs = [order.ClassBalanced(LABELS, seed=4).examples(epoch, 50) for epoch in range(12)]
    indices = np.concatenate([examples.indices for examples in epochs])
    repeats = np.concatenate([examples.repeats for examples in epochs])
    for label, size in ((0, 70), (1, 20), (3, 7)):
        mine = indices[LABELS[indices] == label]
        for start in range(0, len(mine) - size + 1, size):
            assert len(np.unique(mine[start : start + size])) == size
    # Repeated draws of an example are augmented differently.
    assert len(np.unique(np.stack([indices, repeats]), axis=1).T) == len(indices)


def test_classes_yield_several_examples_at_a_time():
    epochs = [order.ClassBalanced(LABELS, seed=2, together=4).examples(epoch, 48) for epoch in range(10)]
    indices = np.concatenate([examples.indices for examples in epochs])
    groups = LABELS[indices].reshape(-1, 4)
    assert (groups == groups[:, :1]).all()
    for start in range(0, len(groups), 3):  # a round draws each class once
        assert sorted(groups[start : start + 3, 0]) == [0, 1, 3]
    repeats = np.concatenate([examples.repeats for examples in epochs])
    for label, size in ((0, 70), (1, 20), (3, 7)):
        mine = indices[LABELS[indices] == label]
        for start in range(0, len(mine) - size + 1, size):
            assert len(np.unique(mine[start : start + size])) == size
    assert len(np.unique(np.stack([indices, repeats]), axis=1).T) == len(indices)


@pytest.mark.parametrize("classes", [3, 4, 5])
def test_two_successive_groups_are_of_different_classes_also_between_rounds_and_epochs(classes):
    """Half a batch of two groups would otherwise hold a single class if it straddles two rounds."""
    labels = np.repeat(np.arange(classes), 10)
    for seed in range(3):
        balanced = order.ClassBalanced(labels, seed=seed, together=4)
        epochs = [balanced.examples(epoch, 8 * 4) for epoch in range(30)]
        groups = labels[np.concatenate([examples.indices for examples in epochs])].reshape(-1, 4)[:, 0]
        assert (groups[1:] != groups[:-1]).all()
        rounds = groups[: len(groups) // classes * classes].reshape(-1, classes)
        assert (np.sort(rounds, axis=1) == np.arange(classes)).all()
        assert len({tuple(each) for each in rounds}) > classes


def test_draws_continue_across_epochs_of_any_length():
    """Also where a further random generator orders the classes."""
    labels = np.tile([0, 1, 2], 20_000)
    for together in (1, 2):
        balanced = order.ClassBalanced(labels, seed=3, together=together)
        whole = balanced.examples(0, 200_000)
        for count in (50_000, 8_000):
            parts = [balanced.examples(epoch, count) for epoch in range(200_000 // count)]
            np.testing.assert_array_equal(np.concatenate([part.indices for part in parts]), whole.indices)
            np.testing.assert_array_equal(np.concatenate([part.repeats for part in parts]), whole.repeats)


def test_many_rounds_take_few_random_generators(monkeypatch):
    """Each takes ten times as long as the draw of a round."""
    made, default_rng = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda key: made.append(key) or default_rng(key))
    order.ClassBalanced(np.tile([0, 1], 50_000), seed=0).examples(1, 100_000)
    assert len(made) < 10


def test_the_draws_of_many_epochs_are_known():
    """Resumed runs continue with the same draws."""
    drawn = order.ClassBalanced(LABELS, seed=7).examples(3, 12)
    assert drawn.indices.tolist() == [82, 18, 93, 95, 63, 81, 70, 55, 90, 75, 96, 51]
    drawn = order.ClassBalanced(np.tile(np.arange(4), 3), seed=1).examples(9, 10)
    assert (drawn.indices.tolist(), drawn.repeats.tolist()) == (
        [5, 3, 8, 9, 11, 2, 11, 10, 8, 1],
        [7, 7, 7, 7, 7, 7, 8, 8, 8, 8],
    )
