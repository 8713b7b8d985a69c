"""Prepares a budget search: its images, the networks that compete, their costs, and what the budget excludes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tfeff import config, training
from tfeff.budget import candidates
from tfeff.budget.candidates import Network
from tfeff.budget.limits import Bounds, Costs
from tfeff.data.contents import Contents
from tfeff.recipes import own
from tfeff.recipes.image_set import LabeledImages
from tfeff.selection import Fingerprint
from tfeff.trials.results import TrialObjective
from tfeff.trials.trial import Candidate, open_images


@dataclass(frozen=True)
class Estimates:
    """The costs of networks in the exported form, as far as they can be known without exporting them.

    Attributes:
        costs: of each network, by measure.
        errors: measure -> half of the 95 % interval of an estimate, relative to it.
    """

    costs: Sequence[Costs]
    errors: Mapping[str, float]


Estimate = Callable[[Sequence[Network], int], Estimates]
"""(networks, number of classes) -> their costs."""


@dataclass(frozen=True)
class Fate:
    """What became of a network.

    Attributes:
        stage: `budget`, `larger` (a larger network of the same start fits), `spread`, `probe`, `time`, `race`,
            `failed`, `measured`, `beaten` or `chosen`.
        reason: a clause without a full stop.
    """

    stage: str
    reason: str


@dataclass(frozen=True)
class Study:
    """A budget search before any training.

    Attributes:
        settings: the config, with `experiment.data.image_size` set.
        examples: number of training and of validation images of one trial.
        fingerprint: of the images.
        found: what the splits hold, by role.
        networks: all distinct networks, by id.
        costs: their costs, by id.
        bounds: of the budget.
        fates: id -> why it does not compete.
        shortlist: ids of those that compete.
        counted: the training images of one trial.
    """

    settings: config.BudgetSearch
    objective: TrialObjective
    examples: tuple[int, int]
    fingerprint: Fingerprint
    found: Mapping[str, Contents]
    num_classes: int
    networks: Mapping[str, Network]
    costs: Mapping[str, Costs]
    bounds: Bounds
    fates: Mapping[str, Fate]
    shortlist: Sequence[str]
    counted: LabeledImages = field(repr=False)

    def candidate(self, name: str, precision: str = "auto") -> Candidate:
        """A network as a candidate for trials.

        Args:
            precision: of a training for which neither the config nor the rules choose one.
        """
        network = self.networks[name]
        experiment = self._experiment(network, self.counted, precision)
        values = {"start": network.start.name, "width": network.width, "depth": network.depth, **self.costs[name]}
        return Candidate(name, network.label, experiment, network.cost.macs, values)

    def on_part(self, name: str, share: float, precision: str) -> Candidate:
        """A network as a candidate that is trained on a share of the training images of each fold."""
        network, count = self.networks[name], max(1, round(share * self.counted.count))
        counts = tuple(max(1, round(share * each)) for each in self.counted.class_counts)
        counted = dataclasses.replace(self.counted, count=count, class_counts=counts)
        experiment = self._experiment(network, counted, precision)
        # A trial sets its own number of folds.
        experiment = config.replaced(experiment, {"data.folds": 2, "data.fold_train_examples": count})
        return Candidate(f"{name}-n{count}", f"{network.label}, {count} images", experiment, network.cost.macs)

    def _experiment(self, network: Network, counted: LabeledImages, precision: str) -> config.Experiment:
        experiment = own.trained_for_images(self.settings.experiment, network.model, counted)
        if experiment.training.precision == "auto":
            experiment = config.replaced(experiment, {"training.precision": precision})
        return experiment


def prepare(settings: config.BudgetSearch, estimate: Estimate) -> Study:
    """Checks the data and the budget, and lists the networks that compete.

    Args:
        settings: the config.
        estimate: of costs that depend on the exported form: those of the budget's measures beyond multiply-adds,
            parameters and memory.

    Raises:
        UserError: the data is missing or too small for the folds, a start is unknown, or no network meets the budget.
    """
    section, base = settings.candidates, settings.experiment
    starts = candidates.starts(section)
    if base.data.image_size is None:
        size = candidates.largest_input(section, starts)
        base = dataclasses.replace(base, data=dataclasses.replace(base.data, image_size=size))
        settings = dataclasses.replace(settings, experiment=base)
    images = open_images(base, settings.folds, settings.folds.blocks)
    classes, channels = len(images.dataset.class_names), base.data.channels
    objective = TrialObjective(settings.objective.metric, settings.objective.cost_target, settings.objective.exponent)
    objective.value(dict.fromkeys(training.metrics(training.Plan.of(base).task), 1.0), 1.0)  # raises if it is unknown
    listed = candidates.scaled(section, starts, channels=channels, num_classes=classes)
    networks = {network.id: network for network in listed}
    baseline = candidates.baseline(base.model, channels=channels, num_classes=classes)
    estimates = estimate([*listed, baseline], classes)
    *estimated, reference = estimates.costs
    costs = {network.id: _costs(network) | dict(own) for network, own in zip(listed, estimated, strict=True)}
    bounds = Bounds(settings.budget, lambda measure: (_costs(baseline) | dict(reference))[measure])
    bounds.require_possible({networks[name].label: each for name, each in costs.items()})
    fates = {name: Fate("budget", excess.text) for name, each in costs.items() if (excess := bounds.exceeded(each))}
    allowed = [network for name, network in networks.items() if name not in fates]
    kept = allowed
    if settings.objective.margin is None:  # else smaller ones may be preferred
        # An estimate may be wrong: the largest of those that are certain to meet the budget compete, too.
        certain = [each for each in allowed if bounds.exceeded(_raised(costs[each.id], estimates.errors)) is None]
        kept = list(dict.fromkeys((*candidates.largest(allowed), *candidates.largest(certain))))
        fates |= {
            each.id: Fate("larger", f"{candidates.container(each, kept).label} also meets the budget")
            for each in allowed
            if each not in kept
        }
    chosen = candidates.spread(kept, section.count)
    why = f"not among the {section.count} of candidates.count"
    fates |= {each.id: Fate("spread", why) for each in kept if each not in chosen}
    train, _ = images.examples
    counts = images.dataset.class_counts()
    share = train / len(images.dataset)
    counted = LabeledImages(
        count=train,
        class_counts=tuple(round(share * count) for count in counts.tolist()),
        side=base.data.image_size if isinstance(base.data.image_size, int) else 0,
    )
    return Study(
        settings=settings,
        objective=objective,
        examples=images.examples,
        fingerprint=images.fingerprint,
        found=images.found,
        num_classes=classes,
        networks=networks,
        costs=costs,
        bounds=bounds,
        fates=fates,
        shortlist=[network.id for network in chosen],
        counted=counted,
    )


def _raised(costs: Costs, errors: Mapping[str, float]) -> Costs:
    """Costs at the upper ends of their intervals."""
    return {name: value * (1.0 + errors.get(name, 0.0)) for name, value in costs.items()}


def _costs(network: Network) -> dict[str, float]:
    """The exact costs of a network."""
    cost = network.cost
    return {"macs": float(cost.macs), "params": float(cost.params), "memory": float(cost.training_peak_bytes)}
