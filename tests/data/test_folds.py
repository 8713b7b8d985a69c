import numpy as np
import pytest

from tfeff.data.folds import holdout, independent_folds, k_folds, subset
from tfeff.errors import UserError

LABELS = np.random.default_rng(0).choice(5, 1003, p=[0.5, 0.2, 0.15, 0.1, 0.05])


def spread(part, labels=LABELS):
    """Returns the largest distance of a class's count from its proportional share, in images."""
    share = np.bincount(labels) * len(part) / len(labels)
    return np.abs(np.bincount(labels[part], minlength=share.size) - share).max()


@pytest.mark.parametrize("n", [1, 5, 100, 777, 1003])
def test_a_subset_is_stratified_to_within_one_image(n):
    part = subset(LABELS, n, seed=3)
    assert len(np.unique(part)) == n
    assert spread(part) < 1
    assert (np.diff(part) > 0).all()


def test_a_subset_is_a_function_of_the_seed():
    np.testing.assert_array_equal(subset(LABELS, 50, 1), subset(LABELS, 50, 1))
    assert set(subset(LABELS, 50, 1)) != set(subset(LABELS, 50, 2))


def test_a_hold_out_is_stratified_and_complete():
    fold = holdout(LABELS, 0.13, seed=0)
    assert len(fold.validation) == 130
    assert spread(fold.validation) < 1
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.train, fold.validation])), np.arange(len(LABELS)))


@pytest.mark.parametrize(("singles", "held"), [(50, 55), (400, 90)])
def test_classes_with_one_image_are_trained_on(singles, held):
    labels = np.concatenate([np.repeat(np.arange(5), 100), np.arange(5, 5 + singles)])
    fold = holdout(labels, 0.1, seed=0)
    assert len(fold.validation) == held
    np.testing.assert_array_equal(np.bincount(labels[fold.validation], minlength=5), [held // 5] * 5)
    np.testing.assert_array_equal(np.unique(labels[fold.train]), np.arange(5 + singles))


def test_classes_of_single_images_cannot_be_held_out():
    with pytest.raises(UserError, match=r'and none of class "c\d+"'):
        holdout(np.arange(20), 0.1, 0, [f"c{number}" for number in range(20)])


@pytest.mark.parametrize("k", [2, 3, 10])
def test_k_folds_partition_the_set(k):
    folds = k_folds(LABELS, k, seed=7)
    assert len(folds) == k
    np.testing.assert_array_equal(np.sort(np.concatenate([f.validation for f in folds])), np.arange(len(LABELS)))
    for fold in folds:
        assert not np.intersect1d(fold.train, fold.validation).size
        assert len(fold.train) + len(fold.validation) == len(LABELS)
        assert spread(fold.validation) < 1
        assert abs(len(fold.validation) - len(LABELS) / k) < 1


def test_every_fold_has_every_class_even_if_classes_alternate():
    labels = np.tile([0, 1], 20)
    for fold in k_folds(labels, 2, seed=0):
        np.testing.assert_array_equal(np.bincount(labels[fold.validation]), [10, 10])


def test_independent_folds_share_nothing():
    folds = independent_folds(LABELS, k=4, size=240, validation_size=60, seed=5)
    everything = np.concatenate([np.concatenate([f.train, f.validation]) for f in folds])
    assert len(np.unique(everything)) == 4 * 240
    for fold in folds:
        assert len(fold.validation) == 60
        assert len(fold.train) == 180
        assert spread(fold.validation) < 2
        assert spread(fold.train) < 2


@pytest.mark.parametrize("groups", [None, np.arange(len(LABELS)) // 7], ids=["single", "grouped"])
def test_independent_folds_do_not_depend_on_their_number(groups):
    few, many = (independent_folds(LABELS, k, 200, 60, 5, groups=groups) for k in (2, 4))
    for fold, same in zip(few, many, strict=False):
        np.testing.assert_array_equal(fold.train, same.train)
        np.testing.assert_array_equal(fold.validation, same.validation)


@pytest.mark.parametrize("groups", [None, np.arange(len(LABELS)) // 7], ids=["single", "grouped"])
def test_independent_folds_can_train_on_all_of_their_images(groups):
    for fold in independent_folds(LABELS, 4, 240, 0, 5, groups=groups):
        assert not len(fold.validation)
        assert len(fold.train) == pytest.approx(240, abs=0 if groups is None else 10)


GROUPS = np.sort(np.random.default_rng(1).integers(0, 150, len(LABELS)))


def test_groups_stay_whole_in_stratified_parts_of_about_the_wanted_size():
    folds = [(holdout(LABELS, 0.3, 0, groups=GROUPS), 0.3 * len(LABELS))]
    folds += [(fold, len(LABELS) / 4) for fold in k_folds(LABELS, 4, 0, groups=GROUPS)]
    folds += [(fold, 90) for fold in independent_folds(LABELS, 3, 300, 90, 0, groups=GROUPS)]
    for fold, size in folds:
        assert not np.intersect1d(GROUPS[fold.train], GROUPS[fold.validation]).size
        assert len(fold.validation) == pytest.approx(size, rel=0.1)
        assert spread(fold.validation) < 0.05 * size


def test_groups_of_different_sizes_are_drawn_by_the_seed():
    groups = np.repeat(np.arange(12), [90, 81, 74, 66, 61, 52, 43, 37, 30, 24, 13, 7])
    labels = np.random.default_rng(0).choice(2, len(groups))
    drawn = [holdout(labels, 0.3, seed, groups=groups).validation for seed in range(10)]
    folds = [k_folds(labels, 3, seed, groups=groups) for seed in range(10)]
    assert len({tuple(part) for part in drawn}) > 5
    assert len({tuple(fold.validation) for each in folds for fold in each}) > 20
    for part in drawn:
        assert len(part) == pytest.approx(0.3 * len(labels), rel=0.1)
    for fold in (fold for each in folds for fold in each):
        assert len(fold.validation) == pytest.approx(len(labels) / 3, rel=0.15)
    np.testing.assert_array_equal(drawn[3], holdout(labels, 0.3, 3, groups=groups).validation)


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_a_part_is_held_out_of_few_groups(groups):
    owners = np.repeat(np.arange(groups), 10)
    fold = holdout(np.zeros(len(owners), int), 0.1, 0, groups=owners)
    assert (len(fold.validation), len(fold.train)) == (10, 10 * groups - 10)


def test_grouped_folds_partition_the_set_and_independent_ones_share_no_group():
    folds = k_folds(LABELS, 4, 0, groups=GROUPS)
    np.testing.assert_array_equal(np.sort(np.concatenate([f.validation for f in folds])), np.arange(len(LABELS)))
    independent = independent_folds(LABELS, 3, 300, 90, 0, groups=GROUPS)
    parts = [np.unique(GROUPS[part]) for fold in independent for part in (fold.train, fold.validation)]
    assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: subset(LABELS, 1004, 0), "cannot draw a subset of 1004 images from 1003"),
        (lambda: subset(LABELS, 0, 0), "subset of 0"),
        (lambda: holdout(LABELS, 0.0, 0), "fraction of 0.0"),
        (lambda: holdout(np.array([0, 1]), 0.1, 0), "one part would be empty"),
        (lambda: holdout(np.array([0] * 9 + [1]), 0.9, 0), "none of class"),
        (lambda: k_folds(LABELS, 1, 0), "at least 2 folds"),
        (lambda: k_folds(np.array([0, 0, 0, 1]), 3, 0), "class 1 has 1"),
        (
            lambda: independent_folds(LABELS, 5, 300, 60, 0),
            "need 1,500 images; there are 1,003: at most 200 per fold",
        ),
        (lambda: independent_folds(LABELS, 1100, 2, 1, 0), "at most 1003 folds"),
        (lambda: independent_folds(LABELS, 2, 50, 50, 0), "a part would be empty"),
        (lambda: independent_folds(LABELS, 2, 50, 3, 0), "validation part of fold 0"),
        (lambda: k_folds(LABELS, 3, 0, groups=LABELS), "validation part of fold"),
        (lambda: k_folds(np.zeros(3, int), 5, 0), "5 folds need at least 5 images; there are 3"),
        (
            lambda: k_folds(LABELS, 9, 0, groups=LABELS, every_class=False),
            "9 folds need at least 9 groups of images; there are 5",
        ),
        (lambda: holdout(LABELS, 0.3, 0, groups=np.zeros(len(LABELS), int)), "of 1 groups"),
    ],
)
def test_impossible_draws_are_reported(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("groups", [None, np.arange(43) // 2])
def test_folds_may_lack_a_rare_class_if_the_caller_says_so(groups):
    labels = np.repeat([0, 1], [41, 2])
    folds = k_folds(labels, 5, 0, groups=groups, every_class=False)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.validation for fold in folds])), np.arange(43))
    assert {len(fold.validation) for fold in folds} <= {8, 9, 10}
    assert any(1 not in labels[fold.validation] for fold in folds)


def test_a_missing_class_is_named():
    labels = np.repeat([0, 1], [40, 3])
    names = ("common", "rare")
    calls = (
        lambda: k_folds(labels, 4, 0, names),
        lambda: independent_folds(labels, 4, 10, 5, 0, names),
    )
    for call in calls:
        with pytest.raises(UserError, match='class "rare"'):
            call()
