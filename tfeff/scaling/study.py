"""Preparation of a search: checks of its config and data, the networks within the budget, and the candidates."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfeff import config, training
from tfeff.config.family import Family
from tfeff.data.contents import Contents
from tfeff.errors import UserError
from tfeff.models.cost.latency import LatencyFit
from tfeff.networks.backbones.resnet import ResNet
from tfeff.reporting.tables import percent
from tfeff.scaling import candidates, members
from tfeff.scaling.baseline import Baseline, ScaledNetwork, batch_size
from tfeff.scaling.choice import coefficients_of, given
from tfeff.scaling.direction import coefficients_in, shares_of
from tfeff.scaling.latency import Latency, samples
from tfeff.selection import Fingerprint
from tfeff.trials.allocation import Allocation, allocation
from tfeff.trials.results import TrialObjective
from tfeff.trials.trial import Trial, check_batch_size, open_images

TIMING_ROUNDS = 6
"""Maximum number of times that candidates are reselected because measured latencies differ from the fit."""


@dataclass(frozen=True)
class Study:
    """A search before any training.

    Attributes:
        examples: number of training and of validation images of one trial.
        fingerprint: fingerprint of the images from which folds are drawn and of those that all folds are validated on.
        found: what these splits hold, by role.
        networks: all distinct networks within the budget, with `choice=surface` the baseline and those of all φ; none
            if the coefficients are given.
        chosen: the candidates of `choice=mean`.
    """

    search: config.Search
    baseline: Baseline
    objective: TrialObjective
    examples: tuple[int, int]
    fingerprint: Fingerprint
    found: Mapping[str, Contents]
    networks: Sequence[ScaledNetwork]
    chosen: Sequence[ScaledNetwork]

    @property
    def allocation(self) -> Allocation:
        """The allocation that the config selects."""
        return allocation(self.search.allocation, self.search.experiment.training.epochs)

    @property
    def given_family(self) -> Family:
        """The family with the coefficients that the config gives."""
        assert self.search.coefficients is not None
        return self.baseline.family(self.search.coefficients, "The coefficients were given.")


def prepare(
    search: config.Search,
    clock: Callable[[Baseline, ScaledNetwork], Latency] | None = None,
    directory: Path | None = None,
) -> Study:
    """Checks the data and the budget, and selects the candidates.

    Args:
        search: the config, its family resolved.
        clock: measures latency; required only for a latency budget.
        directory: see `open_images`.

    Raises:
        UserError: the data is missing or too small for the folds, the baseline cannot be built, no network fits the
            budget, or a batch size, the objective or a member is impossible.
    """
    base = search.experiment
    blocks = [] if search.coefficients else search.folds.blocks
    if search.members.phis or search.members.ratios or search.members.batch_norm:
        blocks = [*blocks, *search.member_blocks]
    images = open_images(base, search.folds, blocks, directory)
    check_batch_size(base.task, base.training.batch_size, images.examples[0])
    if search.trials.learning_rate == "held_out":
        images.check_rates(Trial(base).for_rates(search.folds))
    images.require_unknown(base.sources)
    baseline = Baseline(base.model, len(images.dataset.class_names), base.data.channels, base.task)
    section = search.objective
    target = section.cost_target
    if target is None and section.exponent and search.budget.macs is not None:
        target = baseline.cost.macs * search.budget.macs
    objective = TrialObjective(section.metric, target, section.exponent)
    objective.value(
        dict.fromkeys(training.objectives(training.Plan.of(base).task), 1.0), baseline.cost.macs
    )  # raises if trainings cannot be compared by it
    networks, chosen = list[ScaledNetwork](), list[ScaledNetwork]()
    if search.coefficients is not None:
        possible: list[Sequence[float]] = [given(search, baseline.is_detector)]
    elif search.choice == "mean":
        networks, chosen = _select(baseline, search.budget, clock)
        possible = [coefficients_of(network) for network in chosen]
    else:
        networks = _of_all_costs(search, baseline)
        assert search.budget.macs is not None
        directions = (*np.eye(3), np.array(shares_of(*search.reference)))
        phi = max(search.design.phis)
        possible = [coefficients_in(shares, baseline, search.budget.macs, phi) for shares in directions]
    _check_members(search, baseline, possible)
    return Study(
        search=search,
        baseline=baseline,
        objective=objective,
        examples=images.examples,
        fingerprint=images.fingerprint,
        found=images.found,
        networks=networks,
        chosen=chosen,
    )


def _of_all_costs(search: config.Search, baseline: Baseline) -> list[ScaledNetwork]:
    """Returns the networks from which a surface is learned.

    Raises:
        UserError: a detector, no network of some cost, or an impossible batch size.
    """
    if baseline.is_detector:
        search.wrong("choice", "mean: a detector's neck is scaled, too, and a surface has no dimensions for it")
    networks = candidates.of_all_costs(baseline, search.budget, search.design.phis)
    for network in networks:
        batch_size(search, baseline, network)
    return networks


def without_batch_norm(baseline: Baseline) -> Baseline:
    """Returns the same baseline without batch normalization.

    Raises:
        UserError: its family has no such option.
    """
    if not isinstance(baseline.model, ResNet):
        raise UserError(f'{baseline.model.name} has no option "batch_norm"')
    return dataclasses.replace(baseline, model=dataclasses.replace(baseline.model, batch_norm=False))


def _select(
    baseline: Baseline, budget: config.Budget, clock: Callable[[Baseline, ScaledNetwork], Latency] | None
) -> tuple[list[ScaledNetwork], list[ScaledNetwork]]:
    """Returns all networks within a budget, and the candidates."""
    if budget.latency is None:
        networks = candidates.within_budget(baseline, budget)
        return networks, candidates.spread(networks, budget.candidates)
    assert clock is not None

    def with_latency(network: ScaledNetwork, relative: float) -> ScaledNetwork:
        return dataclasses.replace(network, relative=network.relative | {"latency": relative})

    def time(network: ScaledNetwork) -> ScaledNetwork:
        return with_latency(network, clock(baseline, network).relative)

    # A fit to the networks timed so far suggests candidates; each candidate must fit the budget when timed itself.
    timed = {network.id: time(network) for network in samples(baseline)}
    for _ in range(TIMING_ROUNDS):
        fit = LatencyFit.fit([(network.cost, network.relative["latency"]) for network in timed.values()])
        suggested = candidates.within_budget(baseline, budget, functools.partial(_fitted_costs, fit))
        networks = [timed.get(network.id) or with_latency(network, fit.seconds(network.cost)) for network in suggested]
        networks = [network for network in networks if candidates.meets(network, budget)]
        chosen = candidates.spread(networks, budget.candidates)
        new = [network for network in chosen if network.id not in timed]
        if not new and chosen:
            return networks, chosen
        timed |= {network.id: time(network) for network in new}
    chosen = [network for network in timed.values() if candidates.meets(network, budget)]
    if len(chosen) < 2:
        raise UserError(
            f"config: budget.latency: only {len(chosen)} of {len(timed)} timed networks are within "
            f"{percent(budget.tolerance, 1)} of it; raise budget.tolerance, use a larger baseline or a quieter machine"
        )
    return chosen, candidates.spread(chosen, budget.candidates)


def _fitted_costs(fit: LatencyFit, network: ScaledNetwork) -> dict[str, float]:
    """Returns relative costs, with the latency estimated by a fit to latencies relative to the baseline's."""
    return network.relative | {"latency": fit.seconds(network.cost)}


def _check_members(search: config.Search, baseline: Baseline, possible: Sequence[Sequence[float]]) -> None:
    """Builds the members for the coefficients of each candidate, to fail before the search and not after it.

    Raises:
        UserError: a network or a batch size of the members is impossible.
    """
    if search.members.batch_norm:
        try:
            _ = without_batch_norm(baseline).unscaled
        except UserError as error:
            raise UserError(f"config: members.batch_norm: {error}; set it to false") from None
    for coefficients in possible:
        for point in members.points(baseline, baseline.family(coefficients), search.members):
            batch_size(search, baseline, point.network)
