"""Numbers, intervals and rankings as reports print them."""

from collections.abc import Iterable, Sequence

from tfeff.trials.intervals import Difference, Summary
from tfeff.trials.results import Block


def number(value: float) -> str:
    """A value or difference with three decimals, or with two significant digits if it is small.

    >>> number(0.71249), number(0.02), number(0.00041), number(-0.0)
    ('0.712', '0.020', '0.00041', '0.000')
    """
    if abs(value) < 1e-12:  # a rounding error, or -0.0
        value = 0.0
    return f"{value:.2g}" if 0.0 < abs(value) < 0.01 else f"{value:.3f}"


def interval(estimate: Summary | Difference, confidence: float = 0.95) -> str:
    """A confidence interval in parentheses, to follow a mean; empty if there is none.

    Args:
        estimate: a summary or a difference.
        confidence: coverage of its interval, in (0, 1).

    >>> from tfeff.trials.intervals import summary
    >>> interval(summary([0.70, 0.72, 0.74])), interval(summary([0.7]))
    (' (95 % CI 0.670 to 0.770)', '')
    """
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({100.0 * confidence:g} % CI {number(estimate.low)} to {number(estimate.high)})"


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
    """The outcome of a ranking in one or two sentences.

    Args:
        best: the candidate with the highest mean.
        estimate: its summary, for the interval.
        mean: its adjusted mean.
        others: all other candidates.
        tied: those of them that are not separable from the best.
        cheaper: the tied candidate that is chosen instead of the best; None if the best is chosen.
        rule: as for `tfeff.trials.ranking.rank`.
        has_intervals: whether any difference from the best has an interval.
        metric: name of the metric.
        folds: number of folds, as `fold_count` writes it.
        eliminated: number of candidates that were eliminated before the ranking.
    """
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
