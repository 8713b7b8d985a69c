"""Scaling rules, compared with brute force and invariants."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from tfeff.networks import scaling


@pytest.mark.parametrize("width_coefficient", [0.25, 0.5, 1.0, 1.1, 1.4, 2.0])
def test_round_filters_is_the_nearest_multiple_above_90_percent(width_coefficient: float) -> None:
    for filters in range(1, 400):
        scaled = filters * width_coefficient
        rounded = scaling.round_filters(filters, width_coefficient)
        multiples = [m for m in range(8, 1000, 8) if m >= 0.9 * scaled]
        assert rounded in multiples
        assert abs(rounded - scaled) == min(abs(m - scaled) for m in multiples)


def test_round_repeats_is_exact_for_decimal_coefficients() -> None:
    for hundredths, repeats in itertools.product(range(1, 400), range(1, 40)):
        expected = math.ceil(Fraction(hundredths * repeats, 100))
        assert scaling.round_repeats(repeats, hundredths / 100) == expected, (hundredths, repeats)


def by_largest_remainders(shares: list[Fraction]) -> tuple[int, ...]:
    """Whole numbers with the sum of the shares: the seats of parties by Hamilton's method."""
    seats = [math.floor(share) for share in shares]
    while sum(seats) < sum(shares):
        left = [share - seat for share, seat in zip(shares, seats, strict=True)]
        seats[left.index(max(left))] += 1
    return tuple(seats)


def test_total_blocks_are_exact_and_proportional() -> None:
    for stage_blocks in itertools.product(range(1, 5), repeat=4):
        for depth in (0.3, 0.5, 1.0, 1.2, 1.9, 3.1):
            scaled = scaling.scale_total_blocks(stage_blocks, depth)
            total = sum(scaled)
            assert min(scaled) >= 1
            assert abs(total - depth * sum(stage_blocks)) <= 0.5 or total == 4
            if depth >= 1:
                shares = [Fraction(total * blocks, sum(stage_blocks)) for blocks in stage_blocks]
                assert scaled == by_largest_remainders(shares)


def test_depth_coefficient_one_is_the_identity() -> None:
    for stage_blocks in itertools.product((1, 2, 3, 23, 36), repeat=4):
        assert scaling.scale_total_blocks(stage_blocks, 1.0) == stage_blocks


def test_total_blocks_increase_with_depth() -> None:
    totals = [sum(scaling.scale_total_blocks((3, 4, 6, 3), depth / 20)) for depth in range(1, 80)]
    assert totals == sorted(totals)


def test_shares_are_fractions_of_the_logarithm_of_cost() -> None:
    # EfficientNet's coefficients: log 1.2, 2 log 1.1 and 2 log 1.15 over the logarithm of 1.2 * 1.1^2 * 1.15^2.
    cost = math.log(1.2 * 1.1**2 * 1.15**2)
    expected = [math.log(1.2) / cost, math.log(1.1**2) / cost, math.log(1.15**2) / cost]
    np.testing.assert_allclose(scaling.cost_shares([1.2, 1.1, 1.15]), expected)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_positive_and_add_up_to_one(seed: int) -> None:
    found = scaling.cost_shares(np.exp(np.random.default_rng(seed).normal(0, 0.3, (50, 3))))
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
