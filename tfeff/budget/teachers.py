"""Which network teaches the choice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tfeff.budget.competition import Competition
from tfeff.budget.probing import Probe, paired_difference

MEAN, PROBE, SIZE = "the highest mean over the folds", "the best probe", "the most multiply-adds of the unscaled ones"


@dataclass(frozen=True)
class Teacher:
    """The network that the choice imitates.

    Attributes:
        name: its id.
        why: what it has, compared with all others that there was time for.
    """

    name: str
    why: str


def teacher(competition: Competition, chosen: str) -> Teacher | None:
    """Returns the best network that the search has seen and has time to train on all images; None if there is none.

    Whether it meets the budget does not matter. First come those with a higher mean over the folds than the choice,
    then those that were not trained and whose probe is certainly better, then larger unscaled ones, which start from
    all of their trained weights; most of these exceed the budget, so the search has not seen them.
    """
    failed = {name for name, fate in competition.fates.items() if fate.stage == "failed"}
    ordered = dict[str, str]()
    for name, why in _ordered(competition, chosen):
        if name not in failed:
            ordered.setdefault(name, why)
    found = competition.time.teacher(chosen, ordered)
    return None if found is None else Teacher(*found)


def _ordered(competition: Competition, chosen: str) -> Iterator[tuple[str, str]]:
    """Yields networks that may teach, the best ones first, and why; some twice."""
    fitted = competition.fitted()
    means = {} if fitted is None else fitted.means
    if fitted is not None and chosen in means:
        yield from ((name, MEAN) for name in fitted.ranking if means[name] > means[chosen])
    probes = competition.time.probes
    for name in sorted(_better(probes, chosen), key=lambda name: (-probes[name].accuracy, name)):
        if name not in means:
            yield name, PROBE
    networks = competition.study.networks
    larger = [
        name
        for name, each in networks.items()
        if each.start.kind != "scratch" and not each.inherits and each.cost.macs > networks[chosen].cost.macs
    ]
    yield from (
        (name, SIZE) for name in sorted(larger, key=lambda name: (networks[name].cost.macs, name), reverse=True)
    )


def _better(probes: Mapping[str, Probe], chosen: str) -> list[str]:
    """Returns the networks whose probe is certainly better than the choice's, with Bonferroni's correction."""
    if chosen not in probes:
        return []
    own, level = probes[chosen], 1.0 - 0.025 / max(1, len(probes) - 1)
    groups = None if own.groups is None else np.asarray(own.groups)

    def certain(name: str) -> bool:
        difference, half = paired_difference(np.asarray(probes[name].correct), np.asarray(own.correct), level, groups)
        return difference > half

    return [name for name in probes if certain(name)]
