import itertools
import math

import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.trials.allocation import Full, Halving, Lengths, Listed
from tfeff.trials.ranking import rank
from tfeff.trials.results import Job, by_fold

FOLDS = ((0, 0), (1, 0), (2, 0))
NAMES = tuple("abcdefgh")
ALLOCATIONS = (
    Full(epochs=4),
    Lengths({name: 2 + index % 3 for index, name in enumerate(NAMES)}),
    Halving(epochs=9),
    Halving(epochs=9, minimum_epochs=2, reduction=2),
    Halving(epochs=9, keep_tied=True),
)


def outcome(means, seed=0, noise=0.01, failing=0.0, infinite=False):
    """A function from job to result, independent of the order: candidate mean + fold + noise; some jobs fail."""

    def value(job):
        def draw(*key):
            return np.random.default_rng([seed, *job.candidate.encode(), job.fold, job.seed, *key])

        if draw(1, job.epochs).random() < failing:
            return math.nan if infinite and job.fold % 2 else None
        fold = np.random.default_rng([seed, job.fold, job.seed]).normal(0.0, 0.03)
        return means[job.candidate] - 0.3 / job.epochs + fold + noise * draw(2).normal()

    return value


def epochs_spent(jobs):
    return sum(job.epochs for job in jobs)


def in_turn(allocation, candidates, blocks, value):
    """Runs jobs one by one in the order of the plan."""
    results = {}
    while (plan := allocation.plan(candidates, blocks, results)).jobs:
        results[plan.jobs[0]] = value(plan.jobs[0])
    return results, plan


def in_stages(allocation, candidates, blocks, value):
    """Runs all jobs of a plan before making the next one."""
    results = {}
    while (plan := allocation.plan(candidates, blocks, results)).jobs:
        results |= {job: value(job) for job in plan.jobs}
    return results, plan


def by_workers(allocation, candidates, blocks, value, rng, workers):
    """Runs jobs on several workers that finish in any order, and checks each plan against the previous one."""
    results, running = {}, []
    plan = allocation.plan(candidates, blocks, results)
    while plan.jobs:
        assert not plan.done
        waiting = [job for job in plan.jobs if job not in running]
        running += waiting[: workers - len(running)]
        job = running.pop(rng.integers(len(running)))
        results[job] = value(job)
        after = allocation.plan(candidates, blocks, results)
        # Eliminations are final; a planned job stays planned until it has a result.
        assert {name: after.eliminated[name] for name in plan.eliminated} == dict(plan.eliminated)
        assert set(plan.jobs) - {job} <= set(after.jobs)
        assert not set(after.eliminated) & {job.candidate for job in after.jobs}
        assert not set(after.jobs) & set(results)
        plan = after
    assert plan.done
    return results, plan


@pytest.mark.slow
@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
@pytest.mark.parametrize("failing", [0.0, 0.25])
def test_trials_and_eliminations_do_not_depend_on_the_order_of_results(allocation, failing):
    blocks = [*FOLDS, (0, 1), (1, 1)]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        means = dict(zip(NAMES[:6], rng.normal(0.7, 0.03, 6), strict=True))
        value = outcome(means, seed, failing=failing, infinite=True)
        expected, plan = in_turn(allocation, NAMES[:6], blocks, value)
        assert plan.done
        for workers in (1, 3, 11):
            results, after = by_workers(allocation, NAMES[:6], blocks, value, rng, workers)
            assert results.keys() == expected.keys()
            assert dict(after.eliminated) == dict(plan.eliminated)


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_the_order_of_candidates_does_not_matter(allocation):
    means = dict(zip(NAMES, np.random.default_rng(1).normal(0.7, 0.03, 8), strict=True))
    value = outcome(means, failing=0.1)
    expected, plan = in_turn(allocation, NAMES, FOLDS, value)
    results, reversed_plan = in_turn(allocation, NAMES[::-1], FOLDS, value)
    assert results.keys() == expected.keys()
    assert dict(reversed_plan.eliminated) == dict(plan.eliminated)


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_an_interrupted_search_resumes_where_it_stopped(allocation):
    value = outcome(dict(zip(NAMES, np.linspace(0.6, 0.7, 8), strict=True)))
    expected, _ = in_turn(allocation, NAMES, FOLDS, value)
    # The stored results at any moment, in another order.
    for kept in range(0, len(expected), 7):
        results = dict(reversed(list(expected.items())[:kept]))
        assert allocation.plan(NAMES, FOLDS, results).jobs[0] == list(expected)[kept]


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_a_candidate_whose_trials_all_fail_is_eliminated(allocation):
    means = {"a": 0.7, "b": 0.69, "c": 0.71}
    value = outcome(means)
    results, plan = in_turn(allocation, "abc", FOLDS, lambda job: None if job.candidate == "b" else value(job))
    assert plan.done
    assert "failed" in plan.eliminated["b"].reason
    # A failed trial is not continued.
    failed = [job for job in results if job.candidate == "b"]
    assert len(failed) == len({job.block for job in failed})
    assert any(job.candidate != "b" and job.epochs == allocation.rungs[-1] for job in results)


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_all_trials_may_fail(allocation):
    results, plan = in_turn(allocation, "ab", FOLDS, lambda job: None)
    assert plan.done
    assert set(plan.eliminated) == {"a", "b"}
    assert len(results) <= 6


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_repeated_or_missing_candidates_and_blocks_are_refused(allocation):
    with pytest.raises(ValueError, match="candidates"):
        allocation.plan("aba", FOLDS, {})
    with pytest.raises(ValueError, match="candidates"):
        allocation.plan([], FOLDS, {})
    with pytest.raises(ValueError, match="blocks"):
        allocation.plan("ab", [(0, 0), (0, 0)], {})


class TestFull:
    def test_runs_the_grid_fold_after_fold(self):
        results, plan = in_turn(Full(epochs=5), "ab", FOLDS, lambda job: 0.5)
        assert list(results) == [Job(name, fold, 0, 5) for fold in range(3) for name in "ab"]
        assert not plan.eliminated
        assert epochs_spent(results) == 30

    def test_one_failed_trial_does_not_eliminate_a_candidate(self):
        _, plan = in_turn(Full(epochs=5), "ab", FOLDS, lambda job: 0.5 if job.fold else None)
        assert not plan.eliminated


class TestHalving:
    @pytest.mark.parametrize(
        ("halving", "candidates", "schedule"),
        [
            # Hyperband (arXiv:1603.06560), table 1, R = 81, eta = 3: brackets s = 4, 3, 2, 1, 0.
            (Halving(81, 1), 81, ((81, 1), (27, 3), (9, 9), (3, 27), (1, 81))),
            (Halving(81, 3), 27, ((27, 3), (9, 9), (3, 27), (1, 81))),
            (Halving(81, 9), 9, ((9, 9), (3, 27), (1, 81))),
            (Halving(81, 27), 6, ((6, 27), (2, 81))),
            (Halving(81, 81), 5, ((5, 81),)),
            (Halving(40, 5, reduction=2), 20, ((20, 5), (10, 10), (5, 20), (3, 40))),
            (Halving(12, 4), 20, ((20, 4), (7, 12))),
            (Halving(10, 4), 1, ((1, 4), (1, 10))),
        ],
    )
    def test_published_schedules(self, halving, candidates, schedule):
        names = [f"c{i:02}" for i in range(candidates)]
        means = {name: 0.5 + 0.002 * i for i, name in enumerate(names)}
        results, plan = in_stages(halving, names, FOLDS[:2], outcome(means, noise=0.0))
        for count, rung in schedule:
            # The best ones, on both folds.
            reached = {(job.candidate, job.fold) for job in results if job.epochs == rung}
            assert reached == set(itertools.product(names[candidates - count :], (0, 1)))
        assert len(plan.eliminated) == candidates - schedule[-1][0]
        assert {job.epochs for job in results} == {rung for _, rung in schedule}

    def test_the_reason_has_the_mean_and_the_rung(self):
        names = [f"c{i:02}" for i in range(20)]
        means = {name: 0.5 + 0.002 * i for i, name in enumerate(names)}
        _, plan = in_turn(Halving(12, 4), names, FOLDS, lambda job: means[job.candidate])
        elimination = plan.eliminated["c03"]
        assert elimination.reason == "mean 0.506 after 4 of 12 epochs, not among the best 7 of 20"
        assert elimination.epochs == 4

    def test_candidates_equal_to_the_last_survivor_continue(self):
        values = {"a": 0.7, "b": 0.6, "c": 0.6, "d": 0.6, "e": 0.5, "f": 0.4}
        results, plan = in_turn(Halving(3), "abcdef", FOLDS, lambda job: values[job.candidate])
        assert set(plan.eliminated) == {"e", "f"}
        assert plan.eliminated["e"].reason == "mean 0.500 after 1 of 3 epochs, not among the best 4 of 6"
        assert {job.candidate for job in results if job.epochs == 3} == set("abcd")

    def test_keep_tied_keeps_candidates_not_separable_from_the_last_survivor(self):
        rows = {"a": [0.70, 0.74, 0.72], "b": [0.69, 0.74, 0.71], "c": [0.60, 0.63, 0.62]}
        results = {Job(name, fold, 0, 1): value for name, row in rows.items() for fold, value in enumerate(row)}
        assert set(Halving(3).plan("abc", FOLDS, results).eliminated) == {"b", "c"}
        plan = Halving(3, keep_tied=True).plan("abc", FOLDS, results)
        assert set(plan.eliminated) == {"c"}
        assert {job.candidate for job in plan.jobs} == {"a", "b"}

    def test_a_sure_survivor_continues_before_all_results_are_known(self):
        values = {"a": 0.7, "b": 0.6, "c": 0.5, "d": 0.4}
        results = {Job(name, *block, 1): values[name] for name in "abcd" for block in FOLDS}
        missing = Job("d", 2, 0, 1)
        del results[missing]
        plan = Halving(2, reduction=2).plan("abcd", FOLDS, results)
        # Two survive. "a" is already above two others; "d" may still overtake "b".
        assert plan.jobs == (missing, *(Job("a", *block, 2) for block in FOLDS))
        assert not plan.eliminated
        after = {
            last: Halving(2, reduction=2).plan("abcd", FOLDS, {**results, missing: last}) for last in (9.0, 0.4, None)
        }
        assert set(after[9.0].eliminated) == {"b", "c"}
        assert set(after[0.4].eliminated) == set(after[None].eliminated) == {"c", "d"}

    def test_adjusted_means_compare_candidates_with_failed_folds(self):
        # "a" failed on the easiest fold; on the other folds it is the best.
        easy = {"a": 0.71, "b": 0.70, "c": 0.66, "d": 0.65}
        fold = (0.2, 0.0, -0.1)
        results, plan = in_turn(
            Halving(3),
            "abcd",
            FOLDS,
            lambda job: None if (job.candidate, job.fold) == ("a", 0) else easy[job.candidate] + fold[job.fold],
        )
        assert "a" not in plan.eliminated
        assert Job("a", 1, 0, 3) in results
        assert Job("a", 0, 0, 3) not in results

    def test_candidates_with_more_values_survive_others_without_common_folds(self):
        rows = {"a": (0.5, 0.5, None), "b": (0.4, 0.4, None), "c": (None, None, 0.9), "d": (None, None, 0.1)}
        rows["e"] = (None, None, None)
        results = {Job(name, fold, 0, 1): value for name, row in rows.items() for fold, value in enumerate(row)}
        plan = Halving(2, reduction=2).plan("abcde", FOLDS, results)  # three of five survive
        assert set(plan.eliminated) == {"d", "e"}

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"epochs": 0}, "expected at least 1"),
            ({"epochs": 4, "minimum_epochs": 5}, "expected 1 to epochs = 4"),
            ({"epochs": 4, "minimum_epochs": 0}, "minimum_epochs is 0"),
            ({"epochs": 4, "reduction": 1}, "expected at least 2"),
        ],
    )
    def test_invalid_settings_are_refused(self, settings, message):
        with pytest.raises(UserError, match=message):
            Halving(**settings)
        with pytest.raises(UserError, match="needs at least 2"):
            Halving(4, keep_tied=True).plan("ab", FOLDS[:1], {})

    def test_the_best_candidate_survives_if_the_early_order_is_the_final_one(self):
        kept = []
        for seed in range(60):
            names = [f"c{i:02}" for i in range(20)]
            means = dict(zip(names, [0.75, *np.linspace(0.73, 0.6, 19)], strict=True))
            _, plan = in_stages(Halving(9), names, FOLDS, outcome(means, seed))
            kept.append("c00" not in plan.eliminated)
        assert np.mean(kept) >= 0.95


def test_seeds_are_averaged_within_folds_before_candidates_are_compared():
    blocks = [(fold, seed) for seed in range(2) for fold in range(3)]
    rng = np.random.default_rng(3)
    # Seeds agree, folds do not: counting seeds as samples would separate a and b.
    fold_values = {name: rng.normal(mean, 0.02, 3) for name, mean in (("a", 0.60), ("b", 0.58))}
    results = {Job(name, *block, 4): fold_values[name][block[0]] for name in "ab" for block in blocks}
    table = by_fold(results, 4, "ab", blocks)
    assert table == {name: {(fold, 0): values[fold] for fold in range(3)} for name, values in fold_values.items()}
    one_seed = {job: value for job, value in results.items() if job.seed == 0}
    twice, once = (rank(values, {"a": 1.0, "b": 1.0}) for values in (table, by_fold(one_seed, 4, "ab", blocks[:3])))
    assert (twice.sentence, twice.differences) == (once.sentence, once.differences)


def test_candidates_are_trained_to_their_own_last_epochs_block_after_block():
    allocation = Lengths({"a": 5, "b": 2})
    plan = allocation.plan("ab", FOLDS[:2], {Job("a", 0, 0, 2): 0.5, Job("b", 0, 0, 2): 0.5, Job("b", 1, 0, 5): 0.5})
    assert plan.jobs == (Job("a", 0, 0, 5), Job("a", 1, 0, 5), Job("b", 1, 0, 2))
    assert allocation.rungs == (2, 5)
    with pytest.raises(UserError, match="epochs is 0"):
        Lengths({"a": 0})


def test_listed_trainings_run_in_their_order_and_failures_are_not_repeated():
    listed = Listed(4, [("b", (1, 0)), ("a", (0, 0))])
    first, second = Job("b", 1, 0, 4), Job("a", 0, 0, 4)
    assert listed.plan(["a", "b"], FOLDS, {}).jobs == (first, second)
    assert listed.plan(["a", "b"], FOLDS, {second: 0.5, Job("a", 1, 0, 4): 0.3}).jobs == (first,)
    plan = listed.plan(["a", "b"], FOLDS, {second: 0.5, first: None})
    assert (plan.jobs, dict(plan.eliminated), plan.done) == ((), {}, True)
