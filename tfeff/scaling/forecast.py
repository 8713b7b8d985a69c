"""What to expect of a search before it starts: its duration, and how much it will tell about the best direction."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfeff.config.search import HELD_OUT_RATES
from tfeff.execution.executor import Executor
from tfeff.reporting.tables import percent
from tfeff.scaling import members
from tfeff.scaling.baseline import candidate
from tfeff.scaling.direction import limits, planner
from tfeff.scaling.exploration import stored_rate
from tfeff.scaling.study import Study
from tfeff.trials.allocation import Allocation, Full
from tfeff.trials.design import Planner, simulate
from tfeff.trials.progress import Rate, core_seconds, measured_rate
from tfeff.trials.results import Block
from tfeff.trials.store import TrialStore
from tfeff.trials.surface import OTHER, plane

LOSSES = 0.01, 0.02, 0.04
"""Mean loss of single dimensions against the best direction, for which a search is simulated."""
ACCURACY = 0.5
"""Accuracy at which it is simulated; at others, chance is smaller."""
TRAINING_DEVIATION = 0.03
"""Standard deviation of the log odds of an accuracy between trainings, beyond that of counting images: the one that
`docs/results/cifar10_scaling_claim.json` shows."""
SIMULATIONS = 9


@dataclass(frozen=True)
class Forecast:
    """Expected duration of a search, in seconds summed over all processes, and outcome.

    Attributes:
        trainings: number of trials of candidates.
        search: the candidates' trials; of simulated searches, the longest median in `outcomes`.
        members: the trials of the members and of the networks that they are compared with.
        outcomes: rows of a table: what simulated searches found, by the loss of single dimensions.
    """

    rate: Rate
    trainings: int
    search: float
    members: float
    outcomes: Sequence[dict[str, Any]] = ()


def forecast(study: Study, store: TrialStore, executor: Executor) -> Forecast:
    """Trains the baseline and some of the networks for some steps, and simulates searches for a direction."""
    search, baseline = study.search, study.baseline
    if study.search.coefficients is None and search.choice == "surface":
        rate = stored_rate(study, store, executor)
    else:
        if study.chosen:
            ordered = sorted(study.chosen, key=lambda network: network.width)
            different = [baseline.unscaled, ordered[0], ordered[-1]]
        else:  # of each method the largest: at the same multiply-adds, their speeds differ by a factor of two
            points = members.points(baseline, study.given_family, search.members)
            different = list({point.method: point.network for point in points}.values())
        timed = [candidate(search, baseline, network) for network in different]
        rate = measured_rate(timed, search.folds, executor)
    full = Full(search.experiment.training.epochs)

    def seconds(allocation: Allocation, macs: dict[str, int], blocks: Sequence[Block]) -> float:
        validation_epochs = search.experiment.training.validation_epochs
        trials = core_seconds(rate, allocation, macs, blocks, study.examples, validation_epochs)
        if search.trials.learning_rate != "held_out":
            return trials
        held_out = search.folds.validation_fraction
        images = round(study.examples[0] * (1 - held_out)), round(study.examples[0] * held_out)
        return trials + HELD_OUT_RATES * core_seconds(rate, full, macs, blocks[:1], images, validation_epochs)

    if search.coefficients is not None:
        points = members.points(baseline, study.given_family, search.members)
        given = {point.network.id: point.network.cost.macs for point in points}
        return Forecast(rate, 0, 0.0, seconds(full, given, search.member_blocks))
    growth = search.budget.macs or 1.0
    if study.chosen:
        growth = statistics.median(network.relative["macs"] for network in study.chosen)
    ratios = [*(growth**phi for phi in search.members.phis), *search.members.ratios]
    compared = {
        f"{method} {ratio}": round(baseline.cost.macs * ratio) for ratio in ratios for method in search.members.methods
    }
    later = seconds(full, {"baseline": baseline.cost.macs, **compared}, search.member_blocks)
    if study.chosen:
        macs = {network.id: network.cost.macs for network in study.chosen}
        trials = len(macs) * len(search.folds.blocks)
        return Forecast(rate, trials, seconds(study.allocation, macs, search.folds.blocks), later)
    planned = planner(search, study.networks, rate, study.examples)
    outcomes = [_simulated(study, planned, loss) for loss in LOSSES]
    most = max(row["trainings"] for row in outcomes)
    longest = 60.0 * max(row["minutes of training"] for row in outcomes)
    return Forecast(rate, most, longest, later, outcomes)


def _simulated(study: Study, planned: Planner, loss: float) -> dict[str, Any]:
    """Returns medians over searches of a simulated surface.

    The surface is highest at the published proportions and falls evenly around them.

    Args:
        loss: the mean of what single dimensions lose, in the metric if it is in [0, 1], else relative to a training's
            standard deviation, which is then 0.02.
    """
    deviation, slope = 0.02, 1.0
    if study.objective.bounded:
        slope = 1.0 / (ACCURACY * (1.0 - ACCURACY))  # of the log odds
        deviation = math.hypot(math.sqrt(slope / study.examples[1]), TRAINING_DEVIATION)
    corners = plane(np.eye(3), planned.center)
    curvature = 2.0 * loss * slope / float(np.square(corners).sum(axis=1).mean())
    coefficients = np.array([0.0, 0.0, -curvature, 0.0, -curvature, *[0.0] * OTHER])
    extents, counts, seconds, detectable = [], [], [], []
    for seed in range(SIMULATIONS):
        found = simulate(planned, limits(study.search.design), coefficients, deviation, np.random.default_rng(seed))
        extents.append(found.state.extent)
        counts.append(len(found.chosen))
        seconds.append(sum(planned.places[place].seconds for place, _ in found.chosen))
        surface = found.state.surface
        if surface is not None:
            differences = [surface.detectable(planned.center, corner) for corner in np.eye(3)]
            detectable.append(statistics.mean(differences) / slope)
    bounded = study.objective.bounded
    lost = f"{100 * loss:g} points" if bounded else f"{loss / deviation:g} standard deviations of a training"
    unit = "points" if bounded else "standard deviations"
    scale = 100.0 if bounded else 1.0 / deviation
    return {
        "single dimensions lose": lost,
        "trainings": round(statistics.median(counts)),
        "minutes of training": statistics.median(seconds) / 60.0,
        "region": percent(statistics.median(extents)),
        f"detectable difference, {unit}": scale * statistics.median(detectable) if detectable else None,
    }
