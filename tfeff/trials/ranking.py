"""Ranks candidates: the best, those not separable from it, and the cheapest of both, which is chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfeff.errors import UserError
from tfeff.trials.intervals import Difference, Summary, interval, number, summary
from tfeff.trials.results import Block, Table, finite
from tfeff.trials.two_way import fit_two_way


@dataclass(frozen=True, eq=False)
class Ranking:
    """The best candidate, those tied with it, and the one that is chosen.

    The mean of the best is the maximum of several means and therefore biased upward; a new measurement of it will be
    somewhat lower on average.

    Attributes:
        best: the candidate with the highest adjusted mean.
        tied: the candidates not separable from the best, by descending mean; all others if there are no intervals.
        chosen: by the rule `cheapest`, the cheapest of the best and the tied candidates, if there are intervals; else
            the best.
        order: all candidates with a value, by descending mean.
        differences: other candidate -> the best minus it, adjusted for multiple comparisons
            (`TwoWay.differences_from`).
    """

    best: str
    tied: tuple[str, ...]
    chosen: str
    order: tuple[str, ...]
    summaries: Mapping[str, Summary]
    differences: Mapping[str, Difference]
    sentence: str

    def standing(self, name: str, *, has_values: bool) -> str:
        """`winner`, `tied`, `beaten`, `eliminated` or, without values, `failed`."""
        if name == self.chosen:
            return "winner"
        if not has_values:
            return "failed"
        if name not in self.order:
            return "eliminated"
        return "tied" if name in (self.best, *self.tied) else "beaten"


def rank(
    table: Table,
    costs: Mapping[str, float],
    *,
    rule: str = "cheapest",
    labels: Mapping[str, str] | None = None,
    metric: str = "accuracy",
    eliminated: int = 0,
) -> Ranking:
    """Ranks the candidates that were trained to the end.

    Args:
        table: candidate -> block -> value; candidates without a value are ignored.
        costs: candidate -> cost in any unit (multiply-adds, seconds).
        rule: `cheapest` chooses the cheapest candidate that is not separable from the best, `mean` the best; `none`
            also the best, but does not call it chosen.
        labels: candidate -> name in the sentence; defaults to its key.
        eliminated: number of candidates that were eliminated earlier and are not in the table.

    Raises:
        UserError: no candidate has a value.

    >>> folds = [(0, 0), (1, 0), (2, 0)]
    >>> rows = {"a": [0.70, 0.72, 0.74], "b": [0.69, 0.72, 0.73], "c": [0.50, 0.53, 0.54]}
    >>> table = {name: dict(zip(folds, row)) for name, row in rows.items()}
    >>> ranking = rank(table, {"a": 3.0, "b": 2.0, "c": 1.0})
    >>> ranking.best, ranking.tied, ranking.chosen
    ('a', ('b',), 'b')
    >>> ranking.sentence.partition("; ")[2]
    'not separable from 1 of the other 2 candidates, b (3 folds); that candidate is cheaper and is chosen.'
    """
    values = {name: finite(row) for name, row in table.items()}
    if not any(values.values()):
        raise UserError("nothing to rank: every trial of every candidate failed")
    layout = fit_two_way(values)
    highest = layout.means[layout.ranking[0]]
    equals = [name for name in layout.ranking if highest - layout.means[name] <= layout.resolution]
    best = min(equals, key=lambda name: (costs[name], name))
    order = (best, *(name for name in layout.ranking if name != best))
    differences = layout.differences_from(best)
    tied = tuple(name for name in order[1:] if not differences[name].separable)
    has_intervals = any(difference.low is not None for difference in differences.values())
    # `min` returns the first minimum: among equally cheap candidates the one with the higher mean.
    by_cost = rule == "cheapest" and has_intervals
    chosen = min((best, *tied), key=lambda name: costs[name]) if by_cost else best
    summaries = {name: summary(values[name].values()) for name in order}
    shown = {name: (labels or {}).get(name, name) for name in order}
    sentence = ranking_sentence(
        shown[best],
        summaries[best],
        layout.means[best],
        others=[shown[name] for name in order[1:]],
        tied=[shown[name] for name in tied],
        cheaper=None if chosen == best else shown[chosen],
        rule=rule,
        has_intervals=has_intervals,
        metric=metric,
        folds=fold_count(layout.blocks),
        eliminated=eliminated,
    )
    return Ranking(best, tied, chosen, order, summaries, differences, sentence)


def fold_count(blocks: Iterable[Block]) -> str:
    """The number of distinct folds.

    >>> fold_count([(0, 0), (1, 0)]), fold_count([(0, 7)])
    ('2 folds', '1 fold')
    """
    folds = len({fold for fold, _ in blocks})
    return f"{folds} fold{'s' * (folds != 1)}"


def ranking_sentence(
    best: str,
    estimate: Summary,
    mean: float,
    *,
    others: Sequence[str],
    tied: Sequence[str],
    cheaper: str | None,
    rule: str,
    has_intervals: bool,
    metric: str,
    folds: str,
    eliminated: int = 0,
) -> str:
    """The outcome of a ranking in one or two sentences."""
    suffix = ""
    if eliminated:
        suffix = f" {eliminated} candidate{' was' if eliminated == 1 else 's were'} eliminated earlier."
    value = f"{number(mean)}{interval(estimate)}"
    if not others:
        return f"{best} is the only candidate: mean {metric} {value} over {folds}.{suffix}"
    lead = f"{best} has the highest mean {metric}, {value}"
    if not has_intervals:
        choice = "" if rule == "none" else ", so it is chosen without a test"
        return f"{lead}; {folds} cannot give an interval{choice}.{suffix}"
    rest = f"the other candidate, {others[0]}" if len(others) == 1 else f"the other {len(others)} candidates"
    if not tied:
        choice = "" if rule == "none" else "; it is chosen"
        return f"{lead}, significantly above {rest} ({folds}){choice}.{suffix}"
    if len(tied) < len(others):
        rest = f"{len(tied)} of {rest}" + (f", {tied[0]}" if len(tied) == 1 else "")
    if rule != "cheapest":
        choice = "" if rule == "none" else "; it is chosen"
    elif len(tied) == 1:
        choice = "; that candidate is cheaper and is chosen" if cheaper else f"; it is not cheaper, so {best} is chosen"
    elif cheaper:
        choice = f"; the cheapest of these, {cheaper}, is chosen"
    else:
        choice = f"; none is cheaper, so {best} is chosen"
    return f"{lead}; not separable from {rest} ({folds}){choice}.{suffix}"
