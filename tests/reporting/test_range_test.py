import math

import numpy as np
import pytest

from tfeff.reporting.range_test import range_test_figure


@pytest.mark.parametrize("count", [21, 120])
def test_texts_do_not_overlap(count, assert_legible):
    rates = np.geomspace(1e-5, 1.0, count)
    losses = 2 + (np.log10(rates) + 2) ** 2
    means = [math.nan, *losses[1:-1], math.nan]
    figure = range_test_figure(rates, losses, means, 0.01)
    assert_legible(figure)
    _, _, line = figure.axes[0].lines
    assert list(line.get_xdata()) == [0.01, 0.01]
