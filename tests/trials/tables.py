"""Tables of values by candidate and fold."""

import numpy as np


def table_of(values, missing=()):
    """Returns a table from an array: rows are candidates c00, c01, ..., columns are folds."""
    return {
        f"c{i:02}": {(fold, 0): None if (i, fold) in missing else float(value) for fold, value in enumerate(row)}
        for i, row in enumerate(values)
    }


def random_values(seed, candidates, blocks, noise=0.01):
    """Returns values of the additive model: candidate + block + noise."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(0.7, 0.02, (candidates, 1)) + rng.normal(0.0, 0.03, blocks)
    return effects + rng.normal(0.0, noise, (candidates, blocks))
