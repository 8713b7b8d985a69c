import math

from tfeff.trials.results import Job, by_block, by_fold, finite


def test_failed_and_missing_trials_have_no_value():
    results = {
        Job("a", 0, 0, 4): 0.5,
        Job("a", 1, 0, 4): None,
        Job("a", 2, 0, 4): math.nan,
        Job("b", 0, 0, 2): 0.75,  # of another length
    }
    blocks = [(fold, 0) for fold in range(4)]
    assert by_block(results, 4, "ab", blocks) == {"a": {(0, 0): 0.5}, "b": {}}
    assert finite({(0, 0): math.inf, (1, 0): None, (2, 0): 0.0}) == {(2, 0): 0.0}


def test_a_fold_is_the_mean_of_its_seeds_that_succeeded():
    results = {Job("a", 0, 0, 4): 0.5, Job("a", 0, 1, 4): 0.75, Job("a", 1, 0, 4): None, Job("a", 1, 1, 4): 0.25}
    blocks = [(fold, seed) for seed in range(2) for fold in range(2)]
    assert by_fold(results, 4, ["a"], blocks) == {"a": {(0, 0): 0.625, (1, 0): 0.25}}
