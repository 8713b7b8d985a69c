"""Samples of a dataset that need no draw."""

import numpy as np


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """At most `most` positions below `count`, evenly spaced.

    >>> evenly_spaced(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
