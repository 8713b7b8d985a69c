"""Stretches against all stretches, one by one."""

import numpy as np

from tfeff.analysis.diagnosis.annotations import largest_sum, longest


def test_longest_and_largest_against_all_stretches() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        values = rng.normal(size=rng.integers(1, 12))
        values[rng.random(len(values)) < 0.2] = np.nan
        spans = [(start, end) for start in range(len(values)) for end in range(start, len(values) + 1)]
        sums = {span: float(np.nansum(values[slice(*span)])) for span in spans}
        start, end, total = largest_sum(values)
        np.testing.assert_allclose(total, max(sums.values()), atol=1e-12)
        np.testing.assert_allclose(total, sums.get((start, end), 0.0), atol=1e-12)
        flags = values > 0
        start, end = longest(flags)
        assert flags[start:end].all()
        assert end - start == max(end - start for start, end in spans if flags[start:end].all())
