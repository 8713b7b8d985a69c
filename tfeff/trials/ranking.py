"""Ranking of candidates, and choice of one: the highest mean, or a cheaper one that loses little against the best."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tfeff.data.names import counted
from tfeff.errors import UserError
from tfeff.trials.intervals import Difference, Summary, interval, number, summaries
from tfeff.trials.results import Block, Table, finite
from tfeff.trials.two_way import TwoWay, fit_two_way

FEWEST_FOLDS = 3
"""With fewer folds, no cheaper candidate is preferred to the best one."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """The best candidate, those tied with it, and the one that is chosen.

    The mean of the best is the maximum of several means and therefore biased upward; a new measurement of it will be
    somewhat lower on average.

    Attributes:
        best: the candidate with the highest adjusted mean, of those in the largest connected part; see
            `TwoWay.ranking`.
        tied: the candidates not separable from the best, by descending mean; all others if there are no intervals.
        chosen: the best or, with a margin, the cheapest candidate whose loss is below it.
        preferred: all candidates, the chosen one first, then those that are chosen if it is not possible: with a margin
            those whose loss is below it, by cost; then the others by descending mean.
        order: all candidates with a value, by descending mean; those that cannot be compared with the best come last.
        differences: other candidate -> the best minus it, with intervals that hold at once
            (`TwoWay.differences_from`).
        losses: candidate -> upper bound of what it loses against the truly best one, all with 95 % confidence together
            (`TwoWay.losses`); None if it is unknown.
    """

    best: str
    tied: tuple[str, ...]
    chosen: str
    preferred: tuple[str, ...]
    order: tuple[str, ...]
    summaries: Mapping[str, Summary]
    differences: Mapping[str, Difference]
    losses: Mapping[str, float | None]
    sentence: str

    def standing(self, name: str, *, has_values: bool) -> str:
        """Returns `winner` (the chosen one), `best`, `tied`, `beaten`, `eliminated` or, without values, `failed`.

        `best` is the one with the highest mean, if a cheaper one is chosen.
        """
        if name == self.chosen:
            return "winner"
        if not has_values:
            return "failed"
        if name not in self.order:
            return "eliminated"
        if name == self.best:
            return "best"
        return "tied" if name in self.tied else "beaten"


def rank(
    table: Table,
    costs: Mapping[str, float],
    *,
    margin: float | None = None,
    bounded: bool = False,
    chooses: bool = True,
    labels: Mapping[str, str] | None = None,
    metric: str = "accuracy",
    eliminated: int = 0,
    failed: int = 0,
    blocks: Iterable[Block] = (),
) -> Ranking:
    """Ranks the candidates that were trained to the end.

    Of candidates with equal means, the cheapest is the best.

    Args:
        table: candidate -> block -> value; candidates without a value are ignored.
        costs: candidate -> cost in any unit (multiply-adds, seconds).
        margin: choose the cheapest candidate that loses less than this against the truly best one, with 95 %
            confidence. None: choose the best.
        bounded: whether the metric is in [0, 1].
        chooses: whether the sentence calls the chosen candidate so.
        labels: candidate -> name in the sentence; defaults to its key.
        eliminated: number of candidates that were eliminated earlier and are not in the table.
        failed: number of candidates that are not in the table because all their trials failed.
        blocks: those on which all candidates were trained, also if none has a value; by default those with values.

    Raises:
        UserError: no candidate has a value.

    >>> folds = [(0, 0), (1, 0), (2, 0)]
    >>> rows = {"a": [0.70, 0.72, 0.74], "b": [0.69, 0.72, 0.73], "c": [0.50, 0.53, 0.54]}
    >>> table = {name: dict(zip(folds, row)) for name, row in rows.items()}
    >>> ranking = rank(table, {"a": 3.0, "b": 2.0, "c": 1.0}, margin=0.03)
    >>> ranking.best, ranking.tied, ranking.chosen
    ('a', ('b',), 'b')
    >>> ranking.sentence.partition("; ")[2].partition("; ")[2]
    'b is chosen, the cheapest that loses less than 0.03 against the best with 95 % confidence (at most 0.0164).'
    """
    values = {name: finite(row) for name, row in table.items()}
    if not any(values.values()):
        raise UserError("nothing to rank: every trial of every candidate failed")
    layout = fit_two_way(values, bounded=bounded)
    highest = layout.means[layout.ranking[0]]
    comparable = [name for name in layout.ranking if layout.connected(name, layout.ranking[0])]
    equals = [name for name in comparable if highest - layout.means[name] <= layout.resolution]
    best = min(equals, key=lambda name: (costs[name], name))
    order = (best, *(name for name in layout.ranking if name != best))
    differences = layout.differences_from(best)
    losses = layout.losses()
    within = []
    if margin is not None and _folds(layout.blocks) >= FEWEST_FOLDS:
        within = [name for name in order if (loss := losses[name]) is not None and float(_printed(loss)) < margin]
    # Among equally cheap candidates, the one with the higher mean comes first.
    acceptable = sorted(dict.fromkeys((best, *within)), key=lambda name: costs[name])
    preferred = tuple(dict.fromkeys((*acceptable, *order)))
    chosen = preferred[0]
    tied = tuple(name for name in order[1:] if not differences[name].separable)
    found = summaries(values, bounded=bounded)
    shown = {name: (labels or {}).get(name, name) for name in order}
    sentence = f"{_lead(layout, best, found[best], shown, differences, metric)}"
    if len(order) > 1:
        sentence += _choice(layout, best, chosen, shown, losses, margin) if chooses else ""
    sentence += "."
    trained = {*layout.blocks, *blocks}
    if failures := {fold for fold, _ in trained} - {fold for fold, _ in values[chosen]}:
        sentence += f" Beware: its training failed on {len(failures)} of {fold_count(trained)}."
    for count, what in ((eliminated, "eliminated earlier"), (failed, "left out: every trial failed")):
        if count:
            sentence += f" {count} candidate{' was' if count == 1 else 's were'} {what}."
    return Ranking(best, tied, chosen, preferred, order, found, differences, losses, sentence)


HIGHEST = (
    "The mean of the best is the highest of several and therefore somewhat too high; only held-out images give an "
    "unbiased estimate."
)
"""What pages say beside the highest of several means."""


def sole(name: str, sentence: str) -> Ranking:
    """Returns the ranking of a candidate that is chosen without any training to compare it by, with this sentence."""
    return Ranking(name, (), name, (name,), (name,), {}, {}, {}, sentence)


def fold_count(blocks: Iterable[Block]) -> str:
    """Returns the number of distinct folds.

    >>> fold_count([(0, 0), (1, 0)]), fold_count([(0, 7)])
    ('2 folds', '1 fold')
    """
    return counted(_folds(blocks), "folds")


def _folds(blocks: Iterable[Block]) -> int:
    return len({fold for fold, _ in blocks})


def _lead(
    layout: TwoWay,
    best: str,
    estimate: Summary,
    shown: Mapping[str, str],
    differences: Mapping[str, Difference],
    metric: str,
) -> str:
    """Says which candidate has the highest mean, and from which others it is separable."""
    folds, value = fold_count(layout.blocks), f"{number(estimate.mean)}{interval(estimate)}"
    if abs(layout.means[best] - estimate.mean) > layout.resolution:
        adjusted = layout.means[best]
        adjusted = min(max(adjusted, 0.0), 1.0) if layout.bounded else adjusted
        value = f"{number(adjusted)} when adjusted for missing trials, {value} without"
    if len(shown) == 1:
        return f"{shown[best]} is the only candidate: mean {metric} {value} over {folds}"
    lead = f"{shown[best]} has the highest mean {metric}, {value}"
    others = [name for name in shown if name != best and layout.connected(name, best)]
    if apart := [name for name in shown if not layout.connected(name, best)]:
        which = f"{shown[apart[0]]}, which has" if len(apart) == 1 else f"{len(apart)} candidates, which have"
        lead += f", not counting {which} no fold in common with it and cannot be compared"
    if not others:
        return f"{lead} ({folds})"
    if all(differences[name].low is None for name in others):
        return f"{lead}; {folds} cannot give an interval of a difference"
    tied = [name for name in others if not differences[name].separable]
    rest = f"the other candidate, {shown[others[0]]}" if len(others) == 1 else f"the other {len(others)} candidates"
    if not tied:
        return f"{lead}, significantly above {rest} ({folds})"
    if len(tied) < len(others):
        rest = f"{len(tied)} of {rest}" + (f", {shown[tied[0]]}" if len(tied) == 1 else "")
    return f"{lead}; not separable from {rest} ({folds})"


def _choice(
    layout: TwoWay,
    best: str,
    chosen: str,
    shown: Mapping[str, str],
    losses: Mapping[str, float | None],
    margin: float | None,
) -> str:
    """Says why a candidate is chosen, as a clause."""
    if margin is None:
        return f"; {shown[best]} is chosen"
    if _folds(layout.blocks) < FEWEST_FOLDS:
        return f"; {shown[best]} is chosen, because a cheaper one is preferred only with {FEWEST_FOLDS} folds or more"
    rule = f"loses less than {margin:g} against the best with 95 % confidence"
    loss = losses[chosen]
    if chosen == best or loss is None:
        return f"; {shown[best]} is chosen, because no cheaper one {rule}"
    return f"; {shown[chosen]} is chosen, the cheapest that {rule} (at most {_printed(loss)})"


def _printed(loss: float) -> str:
    return f"{loss:.3g}"
