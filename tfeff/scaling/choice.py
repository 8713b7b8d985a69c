"""Chooses the scaling coefficients by the results of the candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfeff import config
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.optimum import Optimum, find
from tfeff.trials.allocation import Elimination
from tfeff.trials.ranking import Ranking
from tfeff.trials.results import Table

UNSCALED = 1.005
"""Coefficients below this do not scale their dimension at any practical φ."""
DIMENSIONS = {"depth": "α", "width": "β", "resolution": "γ"}


@dataclass(frozen=True, eq=False)
class Choice:
    """The outcome of the candidates' trials.

    Attributes:
        eliminated: candidate -> why it was eliminated early.
        ranking: of the other candidates.
        winner: the candidate that the ranking chose; with the rule `surface`, the one with the highest mean.
        optimum: highest point of a surface through all candidates; None if none can be fitted.
        coefficients: depth, width and resolution at φ = 1 relative to the baseline; of a detector, also depth and width
            of its neck.
        sentence: how they were chosen.
    """

    eliminated: Mapping[str, Elimination]
    ranking: Ranking
    winner: ScaledNetwork
    optimum: Optimum | None
    coefficients: tuple[float, ...]
    sentence: str


def choose(
    search: config.Search,
    baseline: Baseline,
    networks: Sequence[ScaledNetwork],
    eliminated: Mapping[str, Elimination],
    ranking: Ranking,
    table: Table,
    metric: str,
) -> Choice:
    """Applies the rule `Search.choice`.

    Args:
        search: the settings.
        baseline: the network that is scaled.
        networks: all candidates.
        eliminated: candidate -> why it was eliminated early.
        ranking: of the others, by the same rule (`ranking_rule`).
        table: candidate -> fold -> value, of those that were trained to the end.
        metric: what the values are, for sentences.
    """
    rule = search.choice
    winner = next(network for network in networks if network.id == ranking.chosen)
    optimum = None if eliminated else find(table, networks, baseline, search.reference)
    sentences = [ranking.sentence]
    coefficients = coefficients_of(winner)
    if optimum is not None:
        if rule == "surface":
            coefficients = optimum.coefficients
        sentences.append(optimum.sentence(winner, ranking, metric, chosen=rule == "surface"))
    elif rule == "surface":
        why = "some candidates were eliminated or failed" if eliminated else "the candidates do not determine one"
        sentences.append(f"No surface could be fitted, because {why}, so {winner.label} is chosen.")
    flat = [
        f"{letter} = {value:.3f} does not scale {name}"
        for (name, letter), value in zip(DIMENSIONS.items(), coefficients, strict=False)
        if value < UNSCALED
    ]
    if flat:
        sentences.append(f"Note that {' and '.join(flat)}: larger members of this family grow in the rest only.")
    return Choice(eliminated, ranking, winner, optimum, coefficients, " ".join(sentences))


def ranking_rule(rule: str) -> str:
    """The rule of `tfeff.trials.ranking.rank` that belongs to a value of `Search.choice`."""
    return {"surface": "none"}.get(rule, rule)


def coefficients_of(network: ScaledNetwork) -> tuple[float, ...]:
    """Depth, width and resolution relative to the baseline; of a detector, also depth and width of its neck."""
    neck = (network.neck_depth, network.neck_width) if network.neck else ()
    return network.depth, network.width, network.scale, *neck


def given(search: config.Search, is_detector: bool) -> tuple[float, ...]:
    """The coefficients that the config gives, in the same form."""
    assert search.coefficients is not None
    if len(search.coefficients) != (5 if is_detector else 3):
        search.wrong("coefficients", "five numbers for a detector (with depth and width of its neck), else three")
    return search.coefficients
