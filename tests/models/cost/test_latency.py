"""Fits of latencies, and the networks that are timed for them."""

import dataclasses
import math

import numpy as np
import pytest

from tfeff import models
from tfeff.models.cost.complexity import Complexity
from tfeff.models.cost.latency import TERMS, LatencyFit, networks_to_time


def lite(width: float, depth: float, resolution: int) -> Complexity:
    options = {"width_coefficient": width, "depth_coefficient": depth, "resolution": resolution}
    return models.estimate(models.architecture("efficientnet-lite0", **options))


NETWORKS = [lite(width, depth, side) for width in (0.5, 1.0, 1.4) for depth in (0.5, 1.0, 2.0) for side in (64, 128)]
LAW = (1e-3, 2e-11, 5e-6, 4e-10, 1e-9)


def law(cost: Complexity) -> float:
    constant, mac, call, byte, parameter = LAW
    return constant + mac * cost.macs + call * cost.kernel_calls + byte * cost.kernel_bytes + parameter * cost.params


def test_a_fit_recovers_the_terms_of_a_law() -> None:
    fit = LatencyFit.fit([(cost, law(cost)) for cost in NETWORKS])
    assert len(fit.coefficients) == len(TERMS)
    assert fit.coefficients == pytest.approx(LAW, rel=1e-6)
    assert fit.relative_error < 1e-6
    other = lite(2.0, 3.0, 200)
    assert fit.seconds(other) == pytest.approx(law(other))


def test_the_error_is_that_of_networks_left_out() -> None:
    """With a constant term alone, leaving one out predicts the harmonic-like mean of the others."""
    same = dataclasses.replace(NETWORKS[0])
    fit = LatencyFit.fit([(same, 1.0), (same, 1.0), (same, 1.0), (same, 2.0)])
    # Least squares of c / 1 - 1 (twice) and c / 2 - 1: c = (2 + 1 / 2) / (2 + 1 / 4).
    constant = 2.5 / 2.25
    assert fit.errors == pytest.approx((constant - 1, constant - 1, constant - 1, 1 / 2 - 1))
    rms = math.sqrt((3 * (constant - 1) ** 2 + 1 / 4) / 4)
    assert fit.relative_error == pytest.approx(3.182446 * rms)  # quantile 0.975 of Student's t with 3 degrees


def test_an_error_is_infinite_for_a_single_network() -> None:
    fit = LatencyFit.fit([(NETWORKS[0], 0.25)])
    assert fit.seconds(NETWORKS[0]) == pytest.approx(0.25)
    assert fit.relative_error == math.inf


def test_estimates_never_fall_as_a_network_grows() -> None:
    fit = LatencyFit.fit([(cost, 1e-3 / (1 + index)) for index, cost in enumerate(NETWORKS)])
    small = fit.seconds(lite(1, 1, 64))
    for larger in (lite(2, 1, 64), lite(1, 2, 64), lite(1, 1, 96)):
        assert fit.seconds(larger) >= small


def test_networks_to_time_are_the_corners_first() -> None:
    """If networks differ in one measure: the smallest, the largest, the middle of their logarithms."""
    line = [dataclasses.replace(NETWORKS[0], macs=10**n) for n in range(6, 11)]
    assert networks_to_time(line, 3) == [0, 4, 2]
    assert networks_to_time([line[0], line[0], line[1]], 3) == [0, 2]


def test_the_fit_chosen_by_networks_to_time_determines_all_terms() -> None:
    chosen = [NETWORKS[i] for i in networks_to_time(NETWORKS, 8)]
    fit = LatencyFit.fit([(cost, law(cost)) for cost in chosen])
    for cost in NETWORKS:
        assert fit.seconds(cost) == pytest.approx(law(cost), rel=1e-3)
    assert np.isfinite(fit.relative_error)
