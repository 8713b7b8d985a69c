import numpy as np
import pytest
from scipy import stats

from tfeff.trials.dunnett import dunnett_quantile


def test_quantiles_match_dunnetts_table():
    # Dunnett 1964, two-sided, 95 %, 1 to 9 treatments.
    assert [round(dunnett_quantile(p, 10, 0.5), 2) for p in range(1, 10)] == [
        2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24,
    ]  # fmt: skip
    assert [round(dunnett_quantile(p, 20, 0.5), 2) for p in range(1, 10)] == [
        2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95,
    ]  # fmt: skip


def test_one_sided_quantiles_match_dunnetts_table():
    # Dunnett 1955, table 1a, 95 %, 1 to 9 treatments.
    assert [round(dunnett_quantile(p, 20, 0.5, sides=1), 2) for p in range(1, 10)] == [
        1.72, 2.03, 2.19, 2.30, 2.39, 2.46, 2.51, 2.56, 2.60,
    ]  # fmt: skip


def test_quantiles_match_scipys_probability():
    groups = np.random.default_rng(5).normal(size=(5, 4))
    test = stats.dunnett(*groups[1:], control=groups[0], rng=np.random.default_rng(0))
    greatest = np.abs(test.statistic).max()
    assert dunnett_quantile(4, 15, 0.5, 1.0 - test.pvalue.min()) == pytest.approx(greatest, abs=2e-3)


@pytest.mark.parametrize("degrees", [1, 2, 5, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_quantiles_fall_with_correlation_and_stay_below_bonferroni(degrees, confidence):
    single = dunnett_quantile(1, degrees, 0.5, confidence)
    assert single == pytest.approx(stats.t.ppf(0.5 + confidence / 2, degrees))
    quantiles = [dunnett_quantile(6, degrees, correlation, confidence) for correlation in (1.0, 0.5, 0.2, 0.0)]
    bonferroni = stats.t.ppf(1.0 - (1.0 - confidence) / 12, degrees)
    assert single < quantiles[0] < quantiles[1] < quantiles[2] < quantiles[3] < bonferroni
