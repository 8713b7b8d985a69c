import time

import numpy as np
import pytest

from tfeff.data.splits import (
    FRACTIONS,
    canonical_name,
    checked_fractions,
    find_split,
    require_split,
    stratified_split,
)
from tfeff.errors import UserError

NAMES = [f"{number:03}" for number in range(97)]


def drawn_split(names, split, fractions, seed):
    """Returns the names that a draw of images of one class assigns to a split."""
    return [names[place] for place in stratified_split(np.zeros(len(names), np.int64), split, fractions, seed)]


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 97, 1000])
@pytest.mark.parametrize("fractions", [FRACTIONS, {"a": 0.5, "b": 0.25, "c": 0.25}, {"one": 1.0}])
def test_drawn_splits_partition_the_names(n, fractions):
    names = [f"{number:04}" for number in range(n)]
    parts = [drawn_split(names, split, fractions, seed=5) for split in fractions]
    assert sorted(name for part in parts for name in part) == names
    assert all(part == sorted(part) for part in parts)
    for part, share in zip(parts, fractions.values(), strict=True):
        assert abs(len(part) - share * n) <= 1


def test_fractions_below_one_leave_names_out():
    assert len(drawn_split(NAMES[:40], "train", {"train": 0.25}, seed=0)) == 10


def test_the_draw_is_a_function_of_the_seed():
    assert drawn_split(NAMES, "test", FRACTIONS, 3) == drawn_split(NAMES, "test", FRACTIONS, 3)
    assert drawn_split(NAMES, "test", FRACTIONS, 3) != drawn_split(NAMES, "test", FRACTIONS, 4)
    train = drawn_split(NAMES, "train", FRACTIONS, 0)
    assert train != NAMES[: len(train)]


@pytest.mark.parametrize("fractions", [FRACTIONS, {"a": 0.5, "b": 0.25, "c": 0.25}, {"one": 1.0}])
def test_stratified_splits_partition_each_class(fractions):
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1, 3], [4, 31, 62]))
    parts = [stratified_split(labels, split, fractions, seed=5) for split in fractions]
    assert sorted(np.concatenate(parts)) == list(range(97))
    for part, share in zip(parts, fractions.values(), strict=True):
        assert list(part) == sorted(part)
        for label, count in ((0, 4), (1, 31), (3, 62)):
            assert abs((labels[part] == label).sum() - share * count) <= 1


@pytest.mark.parametrize("fractions", [{"train": 0.8, "test": 0.3}, {"train": -0.5, "test": 0.5}, {"train": 0.0}])
def test_invalid_fractions_are_refused(fractions):
    with pytest.raises(UserError, match="must be positive and add up to at most 1"):
        checked_fractions(fractions)


@pytest.mark.parametrize(
    ("split", "known", "found"),
    [
        ("val", ("train", "validation"), "validation"),
        ("dev", ("train", "validation"), "validation"),
        ("valid", ("train", "val2017"), "val2017"),
        ("train", ("train2014", "train2017"), None),
        ("train2017", ("train2014", "train2017"), "train2017"),
        ("train", ("trainval", "test"), None),
        ("Test", ("train", "test"), "test"),
        ("val2017", ("train", "val2014"), None),
        ("VAL2017", ("train", "val2017"), "val2017"),
    ],
)
def test_a_name_finds_its_split(split, known, found):
    assert find_split(split, known) == found


def test_a_missing_split_names_the_candidates():
    with pytest.raises(UserError, match='/data/pets: no split "trian"; did you mean "train"'):
        require_split("/data/pets", "trian", ("train", "test"))
    with pytest.raises(UserError, match="it could be train2014 or train2017"):
        require_split("coco", "train", ("train2014", "train2017"))


def test_canonical_names_are_stable():
    for name in ("train", "validation", "test", "trainval", "all"):
        assert canonical_name(name) == name


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_small_classes_fill_all_splits(size):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(100 // size), size))
    parts = {split: stratified_split(labels, split, FRACTIONS, seed=5) for split in FRACTIONS}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    for split, share in FRACTIONS.items():
        assert abs(len(parts[split]) - share * len(labels)) <= 1
    counts = np.bincount(labels[parts["train"]])
    assert set(counts) <= {int(0.8 * size), int(0.8 * size) + 1}


@pytest.mark.parametrize(
    ("n", "sizes"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1]), (6, [4, 1, 1]), (2, [1, 1, 0])]
)
def test_few_images_leave_no_split_empty(n, sizes):
    assert [len(drawn_split(NAMES[:n], split, FRACTIONS, 0)) for split in FRACTIONS] == sizes


def test_each_class_is_trained_on():
    labels = np.repeat(np.arange(300), [1, 2, 3] * 100)
    assert set(labels[stratified_split(labels, "train", FRACTIONS, 0)]) == set(range(300))


def test_draws_take_time_in_proportion_to_the_images():
    labels = np.repeat(np.arange(50_000), 4)
    began = time.perf_counter()
    assert len(stratified_split(labels, "test", FRACTIONS, 0)) == 20_000
    assert time.perf_counter() - began < 20  # comparing all labels with each class would take minutes


def test_groups_are_never_separated_and_classes_keep_their_shares():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 120, 1000)
    labels = groups % 3
    parts = {split: stratified_split(labels, split, FRACTIONS, 0, groups) for split in FRACTIONS}
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(1000))
    owners = [set(groups[part].tolist()) for part in parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners))
    for split, part in parts.items():
        shares = np.bincount(labels[part], minlength=3) / np.bincount(labels)
        np.testing.assert_allclose(shares, FRACTIONS[split], atol=0.03)


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_no_split_is_empty_with_as_many_groups_as_splits(count):
    groups = np.repeat(np.arange(count), 10)
    parts = {name: stratified_split(np.zeros(len(groups)), name, FRACTIONS, 0, groups) for name in FRACTIONS}
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 10 * (count - 2),
        "validation": 10,
        "test": 10,
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(groups)))


def test_groups_with_shares_below_one_leave_images_out():
    groups = np.repeat(np.arange(100), 5)
    train = stratified_split(np.zeros(500, np.int64), "train", {"train": 0.5}, 0, groups)
    assert len(train) == 250
    assert len(set(groups[train])) == 50
