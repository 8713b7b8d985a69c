"""Samplers of combinations."""

import importlib.util
import itertools

import pytest

from tfeff.config import Axis, Sampler
from tfeff.errors import UserError
from tfeff.sweep.combinations import Combination, bayesian, listed, short_keys

GRID = [Axis.parse("model.dropout=0|0.2|0.4"), Axis.parse("optimizer.weight_decay=0|0.1")]
RANGES = [Axis.parse("model.dropout=0..1.0"), Axis.parse("optimizer.learning_rate=1e-4~1e0")]


def test_the_grid_has_every_combination_once() -> None:
    found = [tuple(each.values.values()) for each in listed(GRID, Sampler(), seed=0)]
    assert sorted(found) == sorted(itertools.product(("0", "0.2", "0.4"), ("0", "0.1")))


def test_random_draws_are_distinct_repeatable_and_spread() -> None:
    sampler = Sampler(name="random", candidates=200)
    first, again, other = (listed(RANGES, sampler, seed) for seed in (1, 1, 2))
    assert [each.name for each in first] == [each.name for each in again]
    assert [each.name for each in first] != [each.name for each in other]
    assert len({each.name for each in first}) == 200
    rates = sorted(float(each.values["optimizer.learning_rate"]) for each in first)
    assert 3e-3 < rates[100] < 3e-2, "the logarithm is uniform"


def test_a_prefix_of_more_draws_is_the_same() -> None:
    few, many = (listed(RANGES, Sampler(name="random", candidates=count), seed=3) for count in (5, 9))
    assert many[:5] == few


def test_too_few_combinations_are_an_error() -> None:
    with pytest.raises(UserError, match="only 6 combinations"):
        listed(GRID, Sampler(name="random", candidates=7), seed=0)


def test_names_are_unique_and_valid() -> None:
    texts = ["a/b*,c", "a-b*,c", "x" * 300, "x" * 299 + "y"]
    names = [Combination({"optimizer.frozen": text}).name for text in texts]
    names += [Combination({key: "0.1"}).name for key in ("task.augmentation.shift", "task.tta.shift")]  # of two sweeps
    assert len(set(names)) == len(names)
    assert all(len(name) < 100 and "/" not in name and "*" not in name for name in names)


def test_keys_are_shortened_as_far_as_they_differ() -> None:
    assert short_keys(["a.b.c", "x.b.c", "d"]) == {"a.b.c": "a.b.c", "x.b.c": "x.b.c", "d": "d"}


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="requires the extra bayesian")
def test_the_bayesian_sampler_concentrates_on_the_best_and_repeats_itself() -> None:
    def scores(batch: list[Combination]) -> dict[str, float | None]:
        return {
            each.name: None
            if float(each.values["model.dropout"]) > 0.9
            else -abs(float(each.values["model.dropout"]) - 0.3)
            for each in batch
        }

    sampler = Sampler(name="bayesian", candidates=40, batch=4)
    runs = [list(bayesian(RANGES[:1], sampler, 0, scores)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert [len(each) for each in runs[0]][-1] == 40
    distances = [abs(float(each.values["model.dropout"]) - 0.3) for each in runs[0][-1]]
    first, last = sum(distances[:8]) / 8, sum(distances[-20:]) / 20
    assert last < 0.7 * first
