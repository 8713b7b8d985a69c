import itertools
import math

import numpy as np
import pytest

from tfeff.errors import UserError
from tfeff.scaling.allocation import Full, Halving, Job, Racing, tabulate
from tfeff.scaling.statistics import dunnett_quantile, rank

FOLDS = ((0, 0), (1, 0), (2, 0))
NAMES = tuple("abcdefgh")
ALLOCATIONS = (
    Full(epochs=4),
    Halving(epochs=9),
    Halving(epochs=9, minimum_epochs=2, reduction=2),
    Halving(epochs=9, keep_tied=True),
    Racing(epochs=4),
    Racing(epochs=4, minimum_blocks=3, confidence=0.5),
)


def outcome(means, seed=0, noise=0.01, failing=0.0, infinite=False):
    """What each job gives, whenever it is run: mean of the candidate, fold, noise of the trial, and some that fail."""

    def value(job):
        def draw(*key):
            return np.random.default_rng([seed, *job.candidate.encode(), job.fold, job.seed, *key])

        if draw(1, job.epochs).random() < failing:
            return math.nan if infinite and job.fold % 2 else None
        fold = np.random.default_rng([seed, job.fold, job.seed]).normal(0.0, 0.03)
        return means[job.candidate] - 0.3 / job.epochs + fold + noise * draw(2).normal()

    return value


def epochs_spent(jobs):
    """Epochs trained: a trial that went on from rung to rung counts each of them once."""
    reached = {}
    for job in jobs:
        trial = job.candidate, job.block
        reached[trial] = max(job.epochs, reached.get(trial, 0))
    return sum(reached.values())


def in_turn(allocation, candidates, blocks, value):
    """Runs jobs one by one in the order of the plan."""
    results = {}
    while (plan := allocation.plan(candidates, blocks, results)).jobs:
        results[plan.jobs[0]] = value(plan.jobs[0])
    return results, plan


def in_stages(allocation, candidates, blocks, value):
    """Runs all jobs of a plan before the next one is made."""
    results = {}
    while (plan := allocation.plan(candidates, blocks, results)).jobs:
        results |= {job: value(job) for job in plan.jobs}
    return results, plan


def by_workers(allocation, candidates, blocks, value, rng, workers):
    """Runs jobs on several workers that finish in any order, and checks each plan against the one before."""
    results, flying = {}, []
    plan = allocation.plan(candidates, blocks, results)
    while plan.jobs:
        assert not plan.done
        waiting = [job for job in plan.jobs if job not in flying]
        flying += waiting[: workers - len(flying)]
        job = flying.pop(rng.integers(len(flying)))
        results[job] = value(job)
        after = allocation.plan(candidates, blocks, results)
        # Who left stays out, for the same reason; what was planned stays planned until it has a result.
        assert {name: after.left[name] for name in plan.left} == dict(plan.left)
        assert set(plan.jobs) - {job} <= set(after.jobs)
        assert not set(after.left) & {job.candidate for job in after.jobs}
        assert not set(after.jobs) & set(results)
        plan = after
    assert plan.done
    return results, plan


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
@pytest.mark.parametrize("failing", [0.0, 0.25])
def test_any_order_of_arrival_leads_to_the_same_trials_and_decisions(allocation, failing):
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
            assert dict(after.left) == dict(plan.left)


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_the_order_of_candidates_and_names_of_folds_decide_nothing(allocation):
    means = dict(zip(NAMES, np.random.default_rng(1).normal(0.7, 0.03, 8), strict=True))
    value = outcome(means, failing=0.1)
    expected, plan = in_turn(allocation, NAMES, FOLDS, value)
    results, reversed_plan = in_turn(allocation, NAMES[::-1], FOLDS, value)
    assert results.keys() == expected.keys()
    assert dict(reversed_plan.left) == dict(plan.left)


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(allocation):
    value = outcome(dict(zip(NAMES, np.linspace(0.6, 0.7, 8), strict=True)))
    expected, _ = in_turn(allocation, NAMES, FOLDS, value)
    # What a store hands back, in another order, at any moment.
    for kept in range(0, len(expected), 7):
        results = dict(reversed(list(expected.items())[:kept]))
        assert allocation.plan(NAMES, FOLDS, results).jobs[0] == list(expected)[kept]


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_a_candidate_whose_trials_all_fail_leaves_and_the_others_go_on(allocation):
    means = {"a": 0.7, "b": 0.69, "c": 0.71}
    value = outcome(means)
    results, plan = in_turn(allocation, "abc", FOLDS, lambda job: None if job.candidate == "b" else value(job))
    assert plan.done
    assert "failed" in plan.left["b"].reason
    trials = {(job.fold, job.seed) for job in results if job.candidate == "b"}
    assert plan.left["b"].trials == len(trials)
    # No trial that failed is gone on with.
    assert len({job for job in results if job.candidate == "b"}) == len(trials)
    assert any(job.candidate != "b" and job.epochs == allocation.epochs for job in results)


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_everything_may_fail(allocation):
    results, plan = in_turn(allocation, "ab", FOLDS, lambda job: None)
    assert plan.done
    assert set(plan.left) == {"a", "b"}
    assert len(results) <= 6


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=repr)
def test_candidates_and_blocks_have_to_be_different(allocation):
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
        assert not plan.left
        assert epochs_spent(results) == 30

    def test_one_failure_is_not_the_end_of_a_candidate(self):
        _, plan = in_turn(Full(epochs=5), "ab", FOLDS, lambda job: 0.5 if job.fold else None)
        assert not plan.left


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
        assert len(plan.left) == candidates - schedule[-1][0]
        assert {job.epochs for job in results} == {rung for _, rung in schedule}

    def test_the_reason_is_a_sentence(self):
        names = [f"c{i:02}" for i in range(20)]
        means = {name: 0.5 + 0.002 * i for i, name in enumerate(names)}
        _, plan = in_turn(Halving(12, 4), names, FOLDS, lambda job: means[job.candidate])
        left = plan.left["c03"]
        assert left.reason == "mean 0.506 after 4 of 12 epochs, below the best 7 of 20"
        assert (left.epochs, left.trials) == (4, 3)

    def test_equals_of_the_last_survivor_go_on(self):
        values = {"a": 0.7, "b": 0.6, "c": 0.6, "d": 0.6, "e": 0.5, "f": 0.4}
        results, plan = in_turn(Halving(3), "abcdef", FOLDS, lambda job: values[job.candidate])
        assert set(plan.left) == {"e", "f"}
        assert plan.left["e"].reason == "mean 0.500 after 1 of 3 epochs, below the best 4 of 6"
        assert {job.candidate for job in results if job.epochs == 3} == set("abcd")

    def test_those_that_cannot_be_told_from_the_last_survivor_may_be_kept(self):
        rows = {"a": [0.70, 0.74, 0.72], "b": [0.69, 0.74, 0.71], "c": [0.60, 0.63, 0.62]}
        results = {Job(name, fold, 0, 1): value for name, row in rows.items() for fold, value in enumerate(row)}
        assert set(Halving(3).plan("abc", FOLDS, results).left) == {"b", "c"}
        plan = Halving(3, keep_tied=True).plan("abc", FOLDS, results)
        assert set(plan.left) == {"c"}
        assert {job.candidate for job in plan.jobs} == {"a", "b"}

    def test_a_sure_survivor_goes_on_before_the_others_are_there(self):
        values = {"a": 0.7, "b": 0.6, "c": 0.5, "d": 0.4}
        results = {Job(name, *block, 1): values[name] for name in "abcd" for block in FOLDS}
        missing = Job("d", 2, 0, 1)
        del results[missing]
        plan = Halving(2, reduction=2).plan("abcd", FOLDS, results)
        # Two survive. "a" has two below it already; "b" may still be overtaken by "d", or not.
        assert plan.jobs == (missing, *(Job("a", *block, 2) for block in FOLDS))
        assert not plan.left
        after = {
            last: Halving(2, reduction=2).plan("abcd", FOLDS, {**results, missing: last}) for last in (9.0, 0.4, None)
        }
        assert set(after[9.0].left) == {"b", "c"}
        assert set(after[0.4].left) == set(after[None].left) == {"c", "d"}

    def test_a_candidate_is_compared_on_the_folds_it_has(self):
        # "a" failed on the easiest fold; where it ran it was better than "b", and "b" better than the others.
        easy = {"a": 0.71, "b": 0.70, "c": 0.66, "d": 0.65}
        fold = (0.2, 0.0, -0.1)
        results, plan = in_turn(
            Halving(3),
            "abcd",
            FOLDS,
            lambda job: None if (job.candidate, job.fold) == ("a", 0) else easy[job.candidate] + fold[job.fold],
        )
        assert "a" not in plan.left
        assert Job("a", 1, 0, 3) in results
        assert Job("a", 0, 0, 3) not in results

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"epochs": 0}, "1 at least"),
            ({"epochs": 4, "minimum_epochs": 5}, "between 1 and epochs, 4"),
            ({"epochs": 4, "minimum_epochs": 0}, "minimum_epochs is 0"),
            ({"epochs": 4, "reduction": 1}, "2 or more"),
        ],
    )
    def test_settings_that_make_no_sense(self, settings, message):
        with pytest.raises(UserError, match=message):
            Halving(**settings)
        with pytest.raises(UserError, match="2 of them or more"):
            Halving(4, keep_tied=True).plan("ab", FOLDS[:1], {})

    def test_the_best_candidate_survives_where_early_order_is_like_late_order(self):
        kept = []
        for seed in range(60):
            names = [f"c{i:02}" for i in range(20)]
            means = dict(zip(names, [0.75, *np.linspace(0.73, 0.6, 19)], strict=True))
            _, plan = in_stages(Halving(9), names, FOLDS, outcome(means, seed))
            kept.append("c00" not in plan.left)
        assert np.mean(kept) >= 0.95


class TestRacing:
    def test_everyone_meets_the_first_blocks_and_leaves_after_a_decision(self):
        values = {"a": [0.70, 0.74, 0.72], "b": [0.69, 0.735, 0.71], "c": [0.60, 0.638, 0.61], "d": [0.698, 0.741, 0.7]}
        results = {Job(name, fold, 0, 4): row[fold] for name, row in values.items() for fold in (0, 1)}
        missing = Job("b", 1, 0, 4)
        without = {job: value for job, value in results.items() if job != missing}
        # "c" is hopeless already, but a decision waits for all.
        assert Racing(4).plan("abcd", FOLDS, without) == Racing(4).plan("abcd", FOLDS, dict(reversed(without.items())))
        assert Racing(4).plan("abcd", FOLDS, without).jobs == (missing,)
        plan = Racing(4).plan("abcd", FOLDS, results)
        assert set(plan.left) == {"c"}
        assert plan.jobs == tuple(Job(name, 2, 0, 4) for name in "abd")

    # With 5 folds there are comparisons after 2, 3 and 4 of them.
    @pytest.mark.parametrize(("folds", "confidence"), [(3, 0.95), (4, 1.0 - 0.05 / 2), (5, 1.0 - 0.05 / 3)])
    def test_reason_and_interval_by_hand(self, folds, confidence):
        a, b, c = [0.70, 0.75], [0.69, 0.74], [0.50, 0.552]
        results = {
            Job(name, fold, 0, 4): row[fold] for name, row in zip("abc", (a, b, c), strict=True) for fold in (0, 1)
        }
        plan = Racing(4).plan("abc", [(fold, 0) for fold in range(folds)], results)
        # Residuals of the two-way layout: ±0.001/3, ±0.001/3 and ∓0.002/3, with 2 degrees of freedom.
        variance = 2 * (1 + 1 + 4) * (0.001 / 3) ** 2 / 2
        half_width = dunnett_quantile(2, 2, 0.5, confidence) * math.sqrt(2 * variance / 2)
        low, high = 0.199 - half_width, 0.199 + half_width
        assert plan.left["c"].reason == f"its mean is 0.199 (95 % {low:.3f} to {high:.3f}) below that of a over 2 folds"
        assert (plan.left["c"].epochs, plan.left["c"].trials) == (4, 2)

    def test_one_that_remains_alone_meets_all_folds(self):
        blocks = [(fold, 0) for fold in range(5)]
        values = {"a": 0.9, "b": 0.5, "c": 0.4}
        results, plan = in_turn(Racing(3), "abc", blocks, lambda job: values[job.candidate] + 0.01 * job.fold)
        assert set(plan.left) == {"b", "c"}
        assert {job.fold for job in results if job.candidate == "a"} == set(range(5))
        assert epochs_spent(results) == 27

    def test_nobody_leaves_where_no_comparison_would_save_a_trial(self):
        means = dict(zip("abc", (0.9, 0.5, 0.1), strict=True))
        for blocks in (FOLDS[:1], FOLDS[:2]):
            results, plan = in_turn(Racing(3), "abc", blocks, outcome(means))
            assert plan.done
            assert not plan.left
            assert len(results) == 3 * len(blocks)

    def test_one_failure_is_not_the_end_of_a_candidate(self):
        means = dict(zip("abcd", (0.9, 0.89, 0.895, 0.5), strict=True))
        value = outcome(means)
        failed = [("a", 0), ("d", 1)]
        _, plan = in_turn(
            Racing(3), "abcd", FOLDS, lambda job: None if (job.candidate, job.fold) in failed else value(job)
        )
        assert "a" not in plan.left

    @pytest.mark.parametrize(
        ("settings", "message"),
        [({"minimum_blocks": 1}, "2 or more"), ({"confidence": 1.0}, "between 0 and 1"), ({"epochs": 0}, "1 at least")],
    )
    def test_settings_that_make_no_sense(self, settings, message):
        with pytest.raises(UserError, match=message):
            Racing(**{"epochs": 3, **settings})

    @pytest.mark.parametrize(("folds", "spread"), [(5, 0.0), (5, 0.06), (3, 0.06)])
    def test_the_best_candidate_survives_and_work_is_saved(self, folds, spread):
        rng = np.random.default_rng(11)
        blocks = [(fold, 0) for fold in range(folds)]
        names = [f"c{i:02}" for i in range(12)]
        true = np.linspace(0.7, 0.7 - spread, 12)
        kept, saved = [], []
        for _ in range(100):
            values = true[:, None] + rng.normal(0.0, 0.03, folds) + rng.normal(0.0, 0.01, (12, folds))
            results, plan = in_stages(
                Racing(2), names, blocks, lambda job, rows=values: float(rows[int(job.candidate[1:]), job.fold])
            )
            kept.append("c00" not in plan.left)
            saved.append(1.0 - epochs_spent(results) / (12 * folds * 2))
            # Epochs spent: each candidate's blocks until it left.
            met = sum(plan.left[name].trials if name in plan.left else folds for name in names)
            assert epochs_spent(results) == 2 * met
            # Who is left can be ranked, all on all folds.
            remaining = [name for name in names if name not in plan.left]
            table = tabulate(results, 2, remaining, blocks)
            assert rank(table, dict.fromkeys(names, 1.0)).best in remaining
            assert all(len(row) == folds for row in table.values())
        assert np.mean(kept) >= 0.95
        assert np.mean(saved) > 0.1 if spread else np.mean(saved) < 0.03


def test_seeds_are_averaged_within_their_folds_before_anything_is_compared():
    blocks = [(fold, seed) for seed in range(2) for fold in range(3)]
    rng = np.random.default_rng(3)
    # Seeds agree, folds do not: with seeds as values of their own, a and b would be told apart.
    of_folds = {name: rng.normal(mean, 0.02, 3) for name, mean in (("a", 0.60), ("b", 0.58))}
    results = {Job(name, *block, 4): of_folds[name][block[0]] for name in "ab" for block in blocks}
    table = tabulate(results, 4, "ab", blocks)
    assert table == {name: {(fold, 0): values[fold] for fold in range(3)} for name, values in of_folds.items()}
    one_seed = {job: value for job, value in results.items() if job.seed == 0}
    twice, once = (rank(values, {"a": 1.0, "b": 1.0}) for values in (table, tabulate(one_seed, 4, "ab", blocks[:3])))
    assert (twice.sentence, twice.differences) == (once.sentence, once.differences)
