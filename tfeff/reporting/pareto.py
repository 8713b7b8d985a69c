"""Pareto fronts: the points that no cheaper point surpasses, and their steps in a figure."""

import numpy as np
import numpy.typing as npt

LOG_RATIO = 4.0
"""Minimum ratio of the largest to the smallest cost for a logarithmic axis."""


def pareto_front(cost: npt.ArrayLike, value: npt.ArrayLike) -> list[int]:
    """Indices of the points that no point of the same or lower cost surpasses in value, cheapest first.

    >>> pareto_front([1, 2, 3, 3], [0.5, 0.4, 0.6, 0.7])
    [0, 3]
    """
    costs, values = np.asarray(cost, np.float64), np.asarray(value, np.float64)
    front: list[int] = []
    for i in np.lexsort((-values, costs)).tolist():
        if not front or values[i] > values[front[-1]]:
            front.append(i)
    return front


def stairs(cost: npt.ArrayLike, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Corners of the steps through n points of increasing cost, float [2n - 1, 2].

    >>> stairs([1, 3], [0.5, 0.7]).tolist()
    [[1.0, 0.5], [3.0, 0.5], [3.0, 0.7]]
    """
    corners = np.repeat(np.stack([np.asarray(cost, np.float64), np.asarray(value, np.float64)], axis=1), 2, axis=0)
    return np.stack([corners[1:, 0], corners[:-1, 1]], axis=1)
