import numpy as np
import pytest

from tfeff.reporting.pareto import pareto_front


@pytest.mark.parametrize("seed", range(10))
def test_no_point_surpasses_the_pareto_front(seed):
    rng = np.random.default_rng(seed)
    cost, value = rng.integers(0, 5, 12), rng.integers(0, 5, 12)
    front = pareto_front(cost, value)
    surpassed = [
        any(
            (cost[j] <= cost[i] and value[j] > value[i]) or (cost[j] < cost[i] and value[j] >= value[i])
            for j in range(12)
        )
        for i in range(12)
    ]
    best = {(cost[i], value[i]) for i in range(12) if not surpassed[i]}
    assert {(cost[i], value[i]) for i in front} == best
    assert len(front) == len(best)
