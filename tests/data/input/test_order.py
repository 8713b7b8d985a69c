import numpy as np
import pytest

from tfeff.data.input import order

LABELS = np.array([0] * 70 + [1] * 20 + [3] * 7)


def test_a_shuffled_epoch_holds_each_example_once_in_an_order_of_its_own():
    first, second = order.shuffled(100, seed=1, epoch=0), order.shuffled(100, seed=1, epoch=1)
    np.testing.assert_array_equal(np.sort(first.indices), np.arange(100))
    assert (first.indices != second.indices).any()
    assert (first.indices != order.shuffled(100, seed=2, epoch=0).indices).any()
    np.testing.assert_array_equal(first.indices, order.shuffled(100, seed=1, epoch=0).indices)


def test_the_first_place_is_uniform_over_the_examples():
    first = [order.shuffled(10, seed=0, epoch=epoch).indices[0] for epoch in range(2000)]
    counts = np.bincount(first, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # Chi-squared with 9 degrees of freedom, p = 0.001.


@pytest.mark.parametrize("count", [97, 96, 50, 7])
def test_classes_are_drawn_equally_often(count):
    for epoch in range(5):
        drawn = LABELS[order.class_balanced(LABELS, count, seed=0, epoch=epoch).indices]
        counts = np.bincount(drawn, minlength=4)[[0, 1, 3]]
        assert counts.max() - counts.min() <= 2  # One round cut at either end of the epoch.


def test_a_class_hands_out_all_its_examples_before_any_comes_again():
    epochs = [order.class_balanced(LABELS, 50, seed=4, epoch=epoch) for epoch in range(12)]
    indices = np.concatenate([draws.indices for draws in epochs])
    repeats = np.concatenate([draws.repeats for draws in epochs])
    for label, size in ((0, 70), (1, 20), (3, 7)):
        mine = indices[LABELS[indices] == label]
        for start in range(0, len(mine) - size + 1, size):
            assert len(np.unique(mine[start : start + size])) == size
    # No two draws of one example look alike to the augmentation.
    assert len(np.unique(np.stack([indices, repeats]), axis=1).T) == len(indices)
