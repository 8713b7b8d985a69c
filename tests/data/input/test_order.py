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
