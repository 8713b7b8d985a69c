"""Chances."""

import numpy as np
from scipy import stats

from tfeff.trials.two_way import fit_two_way


def chance_within(table, margin, *, prior_variance, prior_degrees):
    layout = fit_two_way(table)
    degrees = layout.degrees + prior_degrees
    variance = ((layout.variance or 0.0) * layout.degrees + prior_variance * prior_degrees) / degrees
    counts = layout.filled.sum(axis=1)
    means = np.array([layout.means[name] for name in layout.candidates])
    draws = stats.t(degrees).ppf(stats.qmc.Sobol(len(means), seed=0).random(4096))
    values = means + draws * np.sqrt(variance / counts)
    best = values.max(axis=1, keepdims=True)
    return dict(zip(layout.candidates, (values >= best - margin).mean(axis=0).tolist()))
