"""The outcome of a search: the coefficients, and what they follow from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfeff import config
from tfeff.scaling.baseline import ScaledNetwork
from tfeff.scaling.direction import BestDirection
from tfeff.trials.allocation import Elimination
from tfeff.trials.ranking import Ranking

UNSCALED = 1.005
"""Coefficients below this do not scale their dimension at any practical φ."""
DIMENSIONS = {"depth": "α", "width": "β", "resolution": "γ"}


@dataclass(frozen=True, eq=False)
class Ranked:
    """The outcome of `choice=mean`.

    Attributes:
        ranking: ranking of the candidates that were trained to the end.
    """

    ranking: Ranking
    eliminated: Mapping[str, Elimination]


@dataclass(frozen=True, eq=False)
class ScalingChoice:
    """The outcome of the trials that search for coefficients.

    Attributes:
        coefficients: depth, width and resolution at φ = 1 relative to the baseline; of a detector, also depth and width
            of its neck.
        basis: what they follow from.
    """

    coefficients: tuple[float, ...]
    sentence: str
    basis: Ranked | BestDirection


def by_mean(
    networks: Sequence[ScaledNetwork], eliminated: Mapping[str, Elimination], ranking: Ranking
) -> ScalingChoice:
    """Returns the coefficients of the candidate that the ranking chooses."""
    winner = next(network for network in networks if network.id == ranking.chosen)
    coefficients = coefficients_of(winner)
    sentence = " ".join([ranking.sentence, *unscaled(coefficients)])
    return ScalingChoice(coefficients, sentence, Ranked(ranking, eliminated))


def by_surface(best: BestDirection) -> ScalingChoice:
    """Returns the coefficients of the best direction."""
    sentence = " ".join([*best.sentences, *([] if best.single else unscaled(best.coefficients))])
    return ScalingChoice(best.coefficients, sentence, best)


def unscaled(coefficients: Sequence[float]) -> list[str]:
    """Returns a sentence that names the coefficients that scale nothing, if there are any."""
    flat = [
        f"{letter} = {value:.3f} does not scale {name}"
        for (name, letter), value in zip(DIMENSIONS.items(), coefficients, strict=False)
        if value < UNSCALED
    ]
    return [f"Note that {' and '.join(flat)}: larger members of this family grow in the rest only."] if flat else []


def coefficients_of(network: ScaledNetwork) -> tuple[float, ...]:
    """Returns depth, width and resolution relative to the baseline; for detectors, also the neck's depth and width."""
    neck = (network.neck_depth, network.neck_width) if network.neck else ()
    return network.depth, network.width, network.scale, *neck


def given(search: config.Search, is_detector: bool) -> tuple[float, ...]:
    """Returns the coefficients that the config gives, in the same form."""
    assert search.coefficients is not None
    if len(search.coefficients) != (5 if is_detector else 3):
        search.wrong("coefficients", "five numbers for a detector (with depth and width of its neck), else three")
    return search.coefficients
