"""Which trainings are chosen, when a search ends, and that it can resume."""

from collections.abc import Sequence

import numpy as np
import pytest

from tfeff.trials.design import Limits, Place, Planner, explore, information, simulate
from tfeff.trials.surface import directed, lattice, plane, terms

CENTER = np.array([0.3, 0.3, 0.4])
SURFACE = np.array([0.1, -0.1, -0.6, 0.1, -0.8, 0.3, -0.1, 0.05, 0.0])


def planner(phis: tuple[float, ...] = (1.0, 2.0, 3.0), steps: int = 6, start: float = 0.0) -> Planner:
    directions = [tuple(row) for row in lattice(steps)[0].tolist()]
    places = [Place((a, b, c), phi, start + 2.0**phi) for phi in phis for a, b, c in directions]
    return Planner(places, CENTER, max(phis), folds=3)


def test_a_second_at_phi_3_tells_twenty_times_as_much_of_the_curvature_as_at_phi_1() -> None:
    """φ⁴ / 2^φ: 81 / 8 against 1 / 2."""
    shares = [1.0, 0.0, 0.0]
    contrast = np.concatenate([directed(plane(shares, CENTER)), np.zeros((1, 4))], axis=1)
    known = np.diag([1e-6] * 5 + [0.0] * 4)  # nothing else is unknown
    gains = [
        information(terms([shares], [phi], CENTER, 3.0), known, contrast, np.ones(1))[0] / 2.0**phi
        for phi in (1.0, 3.0)
    ]
    assert gains[1] / gains[0] == pytest.approx(81 / 4, rel=1e-4)


def test_most_trainings_have_the_largest_cost() -> None:
    counts = []
    for start in (0.0, 20.0):  # the more a start costs, the less cheap trainings pay off
        planned = planner(steps=10, start=start)
        found = simulate(planned, Limits(0.0, 48), SURFACE, 0.05, np.random.default_rng(0))
        counts.append([planned.places[place].phi for place, _ in found.chosen].count(3.0))
    assert 24 < counts[0] < counts[1]


def test_every_fold_and_each_network_are_used_equally() -> None:
    found = simulate(planner(), Limits(0.0, 36), SURFACE, 0.05, np.random.default_rng(0))
    assert [sum(fold == each for _, fold in found.chosen) for each in range(3)] == [12, 12, 12]
    assert len({place for place, _ in found.chosen}) == 36
    few = simulate(planner(steps=1, phis=(3.0,)), Limits(0.0, 36), SURFACE, 0.05, np.random.default_rng(0))
    assert few.reason == "networks"
    assert sorted(few.chosen) == [(place, fold) for place in range(3) for fold in range(3)]


def test_the_choices_follow_from_the_results_alone() -> None:
    whole = simulate(planner(), Limits(0.0, 36), SURFACE, 0.05, np.random.default_rng(0))
    values = dict(zip(whole.chosen, whole.values, strict=True))
    trained: list[tuple[int, int]] = []

    def stored(chosen: Sequence[tuple[int, int]], _: int) -> list[float | None]:
        trained.append(chosen[-1])
        return [values[each] for each in chosen]

    again = explore(planner(), Limits(0.0, 36), stored)
    assert again.chosen == whole.chosen
    assert len(trained) == 36 // 6
    np.testing.assert_array_equal(again.state.direction.draws, whole.state.direction.draws)
    # Other results of the first round lead to other networks in the second one.
    other = explore(planner(), Limits(0.0, 12), lambda chosen, _: [float(place) for place, _ in chosen])
    assert other.chosen[:6] == whole.chosen[:6]
    assert other.chosen[6:] != whole.chosen[6:12]


def test_a_search_ends_when_the_region_is_small_enough() -> None:
    found = simulate(planner(), Limits(0.2, 100), SURFACE, 0.02, np.random.default_rng(0))
    assert found.reason == "precision"
    assert found.state.extent <= 0.2 < found.states[-2].extent
    assert found.counts == [6 * index for index in range(len(found.states))]


def test_a_search_ends_after_its_trainings_or_seconds() -> None:
    found = simulate(planner(), Limits(0.0, 20), SURFACE, 0.02, np.random.default_rng(0))
    assert (found.reason, len(found.chosen)) == ("trainings", 20)
    timed = simulate(planner(), Limits(0.0, 100, 50.0), SURFACE, 0.02, np.random.default_rng(0))
    seconds = sum(planner().places[place].seconds for place, _ in timed.chosen)
    assert timed.reason == "seconds"
    assert 50.0 - 8.0 < seconds <= 50.0


def test_failed_trainings_are_left_out() -> None:
    def train(chosen: Sequence[tuple[int, int]], _: int) -> list[float | None]:
        values = [float(planner().rows[place] @ SURFACE) for place, _ in chosen]
        return [None if index % 5 == 4 else value + 0.01 * np.sin(index) for index, value in enumerate(values)]

    found = explore(planner(), Limits(0.0, 30), train)
    assert found.state.surface is not None
    assert found.state.surface.degrees < 24 - 5 - 3


@pytest.mark.slow
def test_the_design_knows_more_after_the_same_seconds_than_equal_costs_at_phi_1() -> None:
    rows = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        new = simulate(planner(), Limits(0.0, 300, 200.0), SURFACE, 0.05, rng)
        old = simulate(planner(phis=(1.0,), steps=12), Limits(0.0, 300, 200.0), SURFACE / 9.0, 0.05, rng)
        rows.append((new.state.extent, old.state.extent))
    assert np.mean(rows, axis=0)[0] < 0.5 * np.mean(rows, axis=0)[1]
