"""Splits of a detection data set that comes without any."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfeff.errors import UserError, nearest


def divided(names: Sequence[str], split: str, fractions: Mapping[str, float], seed: int) -> list[str]:
    """Those of `names` that belong to a split, in their order.

    Raises:
        UserError: no such split.
    """
    if split not in fractions:
        raise UserError(f'no split "{split}"; {nearest(split, fractions)}')
    order = np.random.default_rng(seed).permutation(len(names))
    edges = np.rint(np.cumsum([0.0, *fractions.values()]) * len(names)).astype(int)
    place = list(fractions).index(split)
    return [names[index] for index in sorted(order[edges[place] : edges[place + 1]])]
