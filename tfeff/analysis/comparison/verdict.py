"""Which models are separable, and what that says about the best one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfeff import evaluation
from tfeff.analysis.comparison.cost import Cost
from tfeff.reporting.tables import percent

LEVEL = 0.05
"""Models with an adjusted p-value below this are separable."""


def adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Adds `adjusted_p_value` (Holm's method) and `separable` to the comparison of each pair of models."""
    adjusted = evaluation.holm([row["p_value"] for row in rows])
    for row, value in zip(rows, adjusted, strict=True):
        row |= {"adjusted_p_value": value, "separable": value < LEVEL}


def verdict(
    names: Sequence[str], ranking: Sequence[int], differences: Iterable[Mapping[str, Any]], costs: Sequence[Cost]
) -> str:
    """Finds the models that are not separable from the best one, and the cheapest of these if all costs are known.

    Args:
        ranking: indices of several models, the best first.
        differences: rows of `adjust`, whose `first` and `second` are names of models.
    """
    best, *others = ranking
    separable = {frozenset((row["first"], row["second"])): row["separable"] for row in differences}
    tied = [i for i in others if not separable[frozenset((names[best], names[i]))]]
    if not tied:
        return "Its lead over all others is significant."
    text = f"Not separable from it: {', '.join(names[i] for i in tied)}."
    macs = {i: cost for i in (best, *tied) if (cost := costs[i].macs) is not None}
    if len(macs) <= len(tied):  # those of some are not known
        return text
    cheapest = min(tied, key=lambda i: macs[i])
    if macs[cheapest] < macs[best]:
        share = percent(macs[cheapest] / macs[best])
        text += f" Of these, {names[cheapest]} is the cheapest, with {share} of the multiply-adds."
    return text


def difference_row(row: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of `adjust` as texts for people.

    Args:
        row: also with `difference`, `low` and `high`, the limits of its interval; NaN if too few images allow none.
        further: columns after the interval.
    """
    return {
        "first": row["first"],
        "second": row["second"],
        "difference (points)": f"{100 * row['difference']:+.2f}",
        "95 % interval": points_interval(row),
        **further,
        "p-value": f"{row['p_value']:.2g}",
        "adjusted": f"{row['adjusted_p_value']:.2g}",
        "separable": "yes" if row["separable"] else "no",
    }


def points_interval(row: Mapping[str, Any]) -> str:
    """Returns `low` and `high` in percentage points, in words."""
    if math.isnan(row["low"]):
        return "too few images"
    return f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
