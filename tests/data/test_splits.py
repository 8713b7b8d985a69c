from pathlib import Path

import pytest

from tfeff.data import splits
from tfeff.errors import UserError

ROOT = Path("/data/pets")
EVERY = [f"{number:03}" for number in range(97)]
OWN = {"train": lambda: ["002", "001"], "validation": lambda: []}


def members(split, own=None, *, fractions=splits.FRACTIONS, seed=0):
    return splits.members(ROOT, split, EVERY, own or {}, fractions, seed)


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 97, 1000])
@pytest.mark.parametrize("fractions", [splits.FRACTIONS, {"a": 0.5, "b": 0.25, "c": 0.25}, {"one": 1.0}])
def test_the_parts_are_disjoint_and_together_everything(n, fractions):
    names = [f"{number:04}" for number in range(n)]
    parts = [splits.divided(names, split, fractions, seed=5) for split in fractions]
    assert sorted(name for part in parts for name in part) == names
    assert all(part == sorted(part) for part in parts)
    for part, share in zip(parts, fractions.values(), strict=True):
        assert abs(len(part) - share * n) <= 1


def test_fractions_below_one_leave_a_rest():
    part = splits.divided(EVERY[:40], "train", {"train": 0.25}, seed=0)
    assert len(part) == 10


def test_the_division_is_a_function_of_the_seed():
    assert members("test", seed=3) == members("test", seed=3)
    assert members("test", seed=3) != members("test", seed=4)
    # By chance, not by name.
    assert members("train") != EVERY[: len(members("train"))]


def test_own_splits_go_before_fractions():
    assert splits.split_names(OWN, splits.FRACTIONS) == ("train", "validation", "all")
    assert members("train", OWN) == ["002", "001"]
    assert members("validation", OWN) == []
    assert splits.split_names({}, splits.FRACTIONS) == ("train", "validation", "test", "all")


def test_all_is_everything_either_way():
    assert members(splits.ALL) == members(splits.ALL, OWN) == EVERY


def test_own_splits_are_listed_only_when_they_are_asked_for():
    def damaged():
        raise UserError("train.txt: cannot be read")

    assert members("validation", OWN | {"train": damaged}) == []
    with pytest.raises(UserError, match=r"train\.txt"):
        members("train", OWN | {"train": damaged})


@pytest.mark.parametrize("own", [{}, OWN])
def test_an_unknown_split_is_named_with_its_folder_and_the_nearest(own):
    with pytest.raises(UserError, match=r'/data/pets: no split "trian"; did you mean "train"'):
        members("trian", own)
    with pytest.raises(UserError, match=r"known: all,( test,)? train, validation"):
        members("xyz", own)


def test_a_split_that_only_the_fractions_have_is_unknown_where_there_are_own_ones():
    with pytest.raises(UserError, match='no split "test"'):
        members("test", OWN)


@pytest.mark.parametrize("fractions", [{"train": 0.8, "test": 0.3}, {"train": -0.5, "test": 0.5}, {"train": 0.0}])
def test_fractions_that_cannot_be(fractions):
    with pytest.raises(UserError, match="must be positive and add up to at most 1"):
        members("train", fractions=fractions)
