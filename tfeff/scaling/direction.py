"""The direction in which to scale a baseline, by a surface over trained networks of all costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfeff import config
from tfeff.config.search import SINGLE
from tfeff.errors import UserError
from tfeff.networks.scaling import cost_shares
from tfeff.reporting.tables import percent
from tfeff.scaling.baseline import Baseline, ScaledNetwork
from tfeff.scaling.members import nearest_phi
from tfeff.trials.design import Explored, Limits, Place, Planner, State
from tfeff.trials.progress import VALIDATION_SHARE, Rate
from tfeff.trials.results import Block
from tfeff.trials.surface import Floats, from_surface_scale, lattice

REASONS = {
    "precision": "because the region is small enough (design.precision = {precision:g})",
    "trainings": "after design.trainings = {trainings} trainings",
    "seconds": "because the next training would exceed design.minutes = {minutes:g}",
    "networks": "because there is no further network to train",
}


def shares_of(depth: float, width: float, resolution: float) -> tuple[float, float, float]:
    """Returns shares of three coefficients in the logarithm of the cost."""
    found = cost_shares([depth, width, resolution]).tolist()
    return found[0], found[1], found[2]


def limits(section: config.Design) -> Limits:
    """Returns when a search with these settings is finished."""
    return Limits(section.precision, section.trainings, None if section.minutes is None else 60.0 * section.minutes)


def planner(search: config.Search, networks: Sequence[ScaledNetwork], rate: Rate, images: tuple[int, int]) -> Planner:
    """Plans the trainings of a search.

    Args:
        networks: the networks to choose from.
        rate: training time on this machine.
        images: number of training and of validation images of a trial.
    """
    assert search.budget.macs is not None
    training = search.experiment.training
    validations = -(-training.epochs // training.validation_epochs)
    count = training.epochs * images[0] + validations * images[1] * VALIDATION_SHARE
    places = [
        Place(
            shares_of(network.depth, network.width, network.scale),
            math.log(network.relative["macs"]) / math.log(search.budget.macs),
            rate.seconds(network.cost.macs, count),
        )
        for network in networks
    ]
    center = np.array(shares_of(*search.reference))
    return Planner(places, center, max(search.design.phis), len(search.folds.blocks))


@dataclass(frozen=True)
class Trained:
    """A training and its result.

    Attributes:
        value: value of the objective; None if the training failed.
    """

    network: ScaledNetwork
    phi: float
    block: Block
    value: float | None


@dataclass(frozen=True, eq=False)
class BestDirection:
    """The outcome of `choice=surface`.

    Attributes:
        coefficients: α, β and γ; the member at the largest φ of `design.phis` has about `budget.macs`^φ times the
            multiply-adds of the baseline.
        metric: name of the objective.
        bounded: whether it is in [0, 1].
        validated: number of images on which a training is validated.
    """

    search: config.Search
    explored: Explored
    trained: Sequence[Trained]
    coefficients: tuple[float, float, float]
    metric: str
    bounded: bool
    validated: int

    @property
    def state(self) -> State:
        """What all trainings say."""
        return self.explored.state

    @property
    def shares(self) -> Floats:
        """Shares [3] of the answer."""
        return self.state.direction.answer

    @property
    def single(self) -> str | None:
        """The dimension to scale alone, if one is best alone."""
        index = self.state.direction.single
        return None if index is None else SINGLE[index]

    @property
    def reference(self) -> tuple[float, float, float]:
        """Shares of the published proportions."""
        return shares_of(*self.search.reference)

    @property
    def phi(self) -> float:
        """The φ at whose cost the direction is best."""
        return max(self.search.design.phis)

    @property
    def region(self) -> Floats | None:
        """Shares [n, 3] of the directions of the confidence region; None if the trainings do not determine one."""
        surface = self.state.surface
        return None if surface is None else lattice()[0][surface.region]

    @property
    def sampling(self) -> float | None:
        """The share of the residual variance that is due to the choice of validation images; None if it is unknown.

        The log odds of an accuracy p on n images have the variance 1 / (n p (1 - p)).
        """
        surface = self.state.surface
        inner = [each.value for each in self.trained if each.value is not None and 0 < each.value < 1]
        if surface is None or not (surface.deviation and inner and self.bounded and self.metric.endswith("accuracy")):
            return None
        variance = float(np.mean([1 / (self.validated * value * (1 - value)) for value in inner]))
        return min(1.0, variance / surface.deviation**2)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The answer compared with the published proportions and with single dimensions, at equal cost."""
        surface, chances = self.state.surface, self.state.direction.chance_of_single
        named: Mapping[str, Any] = {
            "answer": self.shares,
            "published proportions": np.array(self.reference),
            **{f"{name} alone": np.eye(3)[index] for index, name in enumerate(SINGLE)},
        }
        rows = []
        for name, shares in named.items():
            row: dict[str, Any] = {
                "direction": name,
                **{each: float(share) for each, share in zip(SINGLE, shares, strict=True)},
            }
            if name.endswith(" alone"):
                single = SINGLE.index(name.removesuffix(" alone"))
                row["probability that it is best, with the prior"] = float(chances[single])
            if surface is not None:
                row["in the region"] = "yes" if surface.contains(shares) else "no"
                level = surface.value(self.shares)
                row[self.metric] = from_surface_scale(surface.value(shares), bounded=self.bounded)
                if name != "answer":
                    lead, half = surface.difference(self.shares, shares)
                    ends = [
                        from_surface_scale(level, bounded=self.bounded)
                        - from_surface_scale(level - each, bounded=self.bounded)
                        for each in (lead, lead - half, lead + half)
                    ]
                    row |= dict(zip(("answer minus it", "95 % from", "to"), ends, strict=True))
            rows.append(row)
        return rows

    @cached_property
    def sentences(self) -> list[str]:
        """The outcome in words."""
        direction, surface = self.state.direction, self.state.surface
        alpha, beta, gamma = self.coefficients
        names = f"α {alpha:.3f}, β {beta:.3f}, γ {gamma:.3f}"
        done = [each for each in self.trained if each.value is not None]
        networks = len({each.network.id for each in done})
        count = f"{len(done)} trainings of {networks} networks"
        if failed := len(self.trained) - len(done):
            count += f", without {failed} that failed"
        if self.single is not None:
            chance = direction.chance_of_single.max()
            found = [
                f"A single dimension is best at the cost of φ = {self.phi:g}: scale {self.single} alone ({names}). Its "
                f"probability is {percent(chance)} after {count}."
            ]
        else:
            shares = ", ".join(f"{name} {percent(share)}" for name, share in zip(SINGLE, self.shares, strict=True))
            found = [
                f"The best direction at the cost of φ = {self.phi:g} has the shares {shares} of the logarithm of the "
                f"cost: {names} (posterior mean after {count}). The probability that a single dimension is best is "
                f"{percent(direction.chance_of_single.sum())}."
            ]
        reference = "the published proportions ({:g}, {:g}, {:g})".format(*self.search.reference)
        if surface is None:
            found.append("So few trainings determine no confidence region.")
        else:
            inside = [row["direction"] for row in self.rows[2:] if row["in the region"] == "yes"]
            verb = "contains" if surface.contains(self.reference) else "excludes"
            singles = f"contains {' and '.join(inside)}" if inside else "excludes every single dimension"
            found.append(
                f"The 95 % confidence region covers {percent(self.state.extent)} of the plane of directions; it {verb} "
                f"{reference} and {singles}."
            )
        section = self.search.design
        reason = REASONS[self.explored.reason].format(
            precision=section.precision, trainings=section.trainings, minutes=section.minutes or 0.0
        )
        found.append(
            f"The search ended {reason}. The weight of the prior, which is centered on {reference}, is "
            f"{percent(direction.weight)}."
        )
        if self.sampling is not None and self.sampling > 0.5:
            found.append(
                f"{percent(self.sampling)} of the variance of a training is due to its {self.validated:,} validation "
                "images; with more of them (folds.examples and folds.validation_fraction), the region becomes smaller."
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns all numbers, except the trainings."""
        direction, surface = self.state.direction, self.state.surface
        return {
            "phi": self.phi,
            "shares": dict(zip(SINGLE, self.shares.tolist(), strict=True)),
            "single": self.single,
            "chance_of_single": dict(zip(SINGLE, direction.chance_of_single.tolist(), strict=True)),
            "region_share": self.state.extent,
            "region_shares": [state.extent for state in self.explored.states],
            "ended_by": self.explored.reason,
            "prior_distance": direction.distance,
            "prior_weight": direction.weight,
            "deviation": None if surface is None else surface.deviation,
            "degrees": None if surface is None else surface.degrees,
            "variance_of_sampling": self.sampling,
            "directions": self.rows,
        }


def find(
    search: config.Search,
    baseline: Baseline,
    explored: Explored,
    trained: Sequence[Trained],
    metric: str,
    *,
    bounded: bool,
    validated: int,
) -> BestDirection:
    """Returns the best direction by the trainings of a search; arguments as the attributes of `BestDirection`.

    Raises:
        UserError: every training failed, or there was no time for any.
    """
    if not trained:
        search.design.wrong("minutes", "more: the first training would exceed them")
    if all(each.value is None for each in trained):
        raise UserError("every training of the search failed; see trials.log in the workdir")
    ratio = search.budget.macs
    assert ratio is not None
    coefficients = coefficients_in(explored.state.direction.answer, baseline, ratio, max(search.design.phis))
    return BestDirection(search, explored, trained, coefficients, metric, bounded, validated)


def coefficients_in(shares: Floats, baseline: Baseline, ratio: float, phi: float) -> tuple[float, float, float]:
    """Returns α, β and γ with these shares [3], whose member at `phi` has `ratio`^`phi` times the baseline's cost.

    Only about, and α·β²·γ² is not exactly `ratio`: blocks, channels and pixels are whole numbers. That matters most for
    small members, so those at other φ are farther from `ratio`^φ.

    Args:
        ratio: multiply-adds of a step of φ, relative to the baseline's.
    """
    depth, width, resolution = np.asarray(shares).tolist()
    start = tuple(ratio**exponent for exponent in (depth, width / 2, resolution / 2))
    factor = nearest_phi(baseline, baseline.family(start), ratio**phi) / phi
    alpha, beta, gamma = (coefficient**factor for coefficient in start)
    return alpha, beta, gamma
