"""Preparation of a budget search: its images, the networks that compete, their costs, and what the budget excludes."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from tfeff import config, selection, training
from tfeff.budget import candidates, durations
from tfeff.budget.candidates import Network
from tfeff.budget.limits import Bounds, Costs, Errors, shifted
from tfeff.data.contents import Contents
from tfeff.data.sources import unlabeled
from tfeff.recipes import dense, own, rules
from tfeff.recipes.image_set import AnnotatedImages, LabeledImages, counted_images
from tfeff.selection import Fingerprint, Request
from tfeff.training import checks, distribution
from tfeff.training.unlabeled import require_batch
from tfeff.trials.results import TrialObjective
from tfeff.trials.trial import Candidate, check_batch_size, check_final, open_images

LENGTH = ("training.epochs", "training.validation_epochs", "schedule.warmup_epochs", "task.plain_epochs")
"""Keys of how long a training is, and of what follows from that."""

A_FEW_MORE = 1.5
"""Largest ratio of all training images to those of a trial: that of three folds."""


@dataclass(frozen=True)
class Estimates:
    """The costs of networks in the exported form, as far as they can be known without exporting them.

    Attributes:
        costs: costs of each network.
        errors: how wrong the costs of each network can be.
    """

    costs: Sequence[Costs]
    errors: Sequence[Errors]


class Estimator(Protocol):
    """Estimator of the costs of networks in the exported form."""

    def estimated(self, networks: Sequence[Network], num_classes: int) -> Estimates:
        """Returns the costs of networks, as far as the budget bounds them, without exporting all of them."""

    def baseline(self, network: Network, num_classes: int) -> Costs:
        """Returns the measured costs of the network that relative bounds refer to."""


@dataclass(frozen=True)
class Fate:
    """What became of a network.

    Attributes:
        stage: `budget`, `larger` (a larger network of the same start fits), `spread`, `probe`, `short` (its short
            training), `time`, `race`, `failed`, `measured`, `beaten` or `chosen`.
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
        validation_groups: number of groups of validation images; each image is one, unless it belongs to others.
        fingerprint: fingerprint of the images, to notice changes.
        found: what the splits hold, by role, also those that the choice is validated and tested on.
        networks: all distinct networks, by id.
        costs: their costs, by id.
        errors: how wrong costs can be that are estimates, by id.
        bounds: the budget's limits.
        fates: id -> why it does not compete.
        shortlist: ids of those that compete.
        counted: the training images of one trial.
        whole: all training images.
        image_size: `data.image_size` as it was set; None: all trials load images at the size of the largest input.
        notes: what the user should know, one line each.
    """

    settings: config.BudgetSearch
    objective: TrialObjective
    examples: tuple[int, int]
    validation_groups: int
    fingerprint: Fingerprint
    found: Mapping[str, Contents]
    num_classes: int
    networks: Mapping[str, Network]
    costs: Mapping[str, Costs]
    errors: Mapping[str, Errors]
    bounds: Bounds
    fates: Mapping[str, Fate]
    shortlist: Sequence[str]
    counted: LabeledImages | AnnotatedImages = field(repr=False)
    whole: LabeledImages | AnnotatedImages = field(repr=False)
    image_size: int | Literal["original"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def detects(self) -> bool:
        """Whether the networks are detectors."""
        return not self.settings.experiment.task.IS_CLASSIFIER

    @property
    def typical(self) -> str:
        """Network of medium multiply-adds among those that start from trained weights, if there are any."""
        trained = [name for name in self.shortlist if self.networks[name].start.kind != "scratch"]
        ordered = sorted(trained or self.shortlist, key=lambda name: (self.networks[name].cost.macs, name))
        return ordered[len(ordered) // 2]

    def unscaled(self, names: Iterable[str]) -> str | None:
        """Returns the id of the largest of these networks with the width and depth of `experiment.model`, or None."""
        base = self.settings.experiment
        found = candidates.unscaled(map(self.networks.__getitem__, names), base.model.name, base.task.name)
        return None if found is None else found.id

    @property
    def may_shorten(self) -> bool:
        """Whether trainings may have fewer epochs than the rules choose, because these are too long for the budget."""
        candidates, epochs = self.settings.candidates, self.settings.experiment.training.epochs
        given = "training.epochs" in candidates.kept or epochs != config.Training.epochs
        return candidates.training == "rules" and not given

    @property
    def validation_trials(self) -> float:
        """The n for which the metric p of a trial has about the variance p (1 - p) / n.

        Only the choice of the validation images is counted as a source of variance. Images of one group, such as crops
        of one photograph, count as one.
        """
        grouped = self.validation_groups / max(1, self.examples[1])
        return max(1.0, grouped * self.counted.trials(self.examples[1]))

    def candidate(self, name: str, precision: str = "auto", pace: float = 1.0) -> Candidate:
        """Returns a network as a candidate for trials.

        Args:
            precision: dtype policy of the training, used if neither the config nor the rules choose one.
            pace: share of the epochs that it is trained for.
        """
        network = self.networks[name]
        values = {"start": network.start.name, "width": network.width, "depth": network.depth, **self.costs[name]}
        whole, experiment = (self._experiment(network, self.counted, precision, each) for each in (1.0, pace))
        epochs = experiment.training.epochs
        job = name if epochs == whole.training.epochs else f"{name}-e{epochs}"
        return Candidate(job, network.label, experiment, network.cost.macs, values)

    def on_part(self, name: str, share: float, precision: str, pace: float = 1.0) -> Candidate:
        """Returns a network as a candidate that is trained on a share of the training images of each fold.

        Layers and learning rates are those of the whole; only the batch size and the epochs follow the images.
        """
        network, count = self.networks[name], max(1, round(share * self.counted.count))
        part = config.flatten(self._experiment(network, self.counted.part(count), precision, pace))
        experiment = self._experiment(network, self.counted, precision, pace)
        whole = config.flatten(experiment)
        if part["optimizer.frozen"] != whole["optimizer.frozen"]:  # for so few images, the rules train fewer layers
            most = (dense.EPOCHS if self.detects else rules.EPOCHS)["imagenet"][1]
            epochs = min(most, round(whole["training.epochs"] / share))
            part = whole | {"training.epochs": epochs}
        longer = part["training.epochs"] / whole["training.epochs"]
        values = {key: part[key] for key in LENGTH} | {
            **own.decays(experiment.schedule, longer),
            "training.batch_size": min(part["training.batch_size"], count),
            "data.folds": 2,  # a trial sets its own number
            "data.fold_train_examples": count,
        }
        experiment = config.replaced(experiment, values)
        # The schedule follows from the epochs of the whole and of the part, which may have an upper limit.
        job = f"{name}-e{whole['training.epochs']}-n{count}-e{experiment.training.epochs}"
        return Candidate(job, f"{network.label}, {count} images", experiment, network.cost.macs)

    def longer(self, name: str, factor: float, precision: str, pace: float = 1.0) -> Candidate:
        """Returns a network as a candidate that is trained for `factor` times the epochs."""
        network = self.networks[name]
        experiment = self._experiment(network, self.counted, precision, pace)
        epochs, before = round(factor * experiment.training.epochs), experiment.training
        validation = epochs if before.validation_epochs == before.epochs else before.validation_epochs
        values = {
            **own.decays(experiment.schedule, epochs / before.epochs),
            "training.epochs": epochs,
            "training.validation_epochs": validation,
        }
        experiment = config.replaced(experiment, values)
        job = f"{name}-e{before.epochs}x{factor:g}"  # not the name of a candidate whose schedule is for these epochs
        return Candidate(job, f"{network.label}, {epochs} epochs", experiment, network.cost.macs)

    def final(
        self, name: str, precision: str = "auto", pace: float = 1.0, teacher: Path | None = None
    ) -> config.Experiment:
        """Returns the training of a network on all training images.

        They are loaded at its own resolution, with a margin for `task.center_crop`, unless `data.image_size` was set.

        Args:
            teacher: workdir of a run that is imitated, also on the unlabeled images of the config.
        """
        experiment = self._experiment(self.networks[name], self._images_for_rules(), precision, pace)
        size = self.image_size
        if size is None and _center_crop(experiment.task) is None:
            size = experiment.model.resolution
        experiment = config.replaced(experiment, {"data.image_size": size})
        if teacher is None:
            return experiment
        values: dict[str, object] = {"task.teacher.features": 0.5}
        if self.settings.candidates.training == "rules":
            values |= {key: choice.value for key, choice in rules.taught(experiment.training.epochs).items()}
        values = {key: value for key, value in values.items() if key not in self._set}
        values |= {
            "task.teacher.runs": (str(teacher.resolve()),),
            "data.unlabeled": self.settings.experiment.data.unlabeled,
        }
        return config.replaced(experiment, values)

    def _images_for_rules(self) -> LabeledImages | AnnotatedImages:
        """Returns the images by which the rules train the choice: all, or the most with which they train the same
        layers as in trials.

        If all images are only a few more than in a trial, what is delivered should be what was compared.
        """
        limit = dense.FEW if self.detects else rules.ALL_LAYERS
        few = self.counted.count < limit <= self.whole.count <= A_FEW_MORE * self.counted.count
        return self.whole.part(limit - 1) if few else self.whole

    @property
    def _set(self) -> Collection[str]:
        """Keys of the experiment that the rules leave as they are."""
        values = config.flatten(self.settings.experiment)
        return own.set_values(values, self.settings.candidates.kept, detects=self.detects)

    def final_passes(self, name: str, pace: float = 1.0, *, taught: bool = False) -> float:
        """Returns the `passes` of the training on all images, each over as many images as one trial has.

        Args:
            taught: whether it has a teacher, whose predictions are not counted.
        """
        teacher = Path(rules.NETWORK) if taught else None  # any one
        final = self.final(name, pace=pace, teacher=teacher)
        return durations.passes_of(final.optimizer, final.training) * self.whole.count / max(1, self.counted.count)

    def _experiment(
        self, network: Network, counted: LabeledImages | AnnotatedImages, precision: str, pace: float
    ) -> config.Experiment:
        experiment = own.trained_for_images(
            self.settings.experiment,
            network.task,
            network.model,
            counted,
            kept=self.settings.candidates.kept,
            by_rules=self.settings.candidates.training == "rules",
            pace=pace,
        )
        values: dict[str, object] = {"data.unlabeled": None}  # only for a choice that has a teacher
        if experiment.training.precision == "auto":
            values["training.precision"] = precision
        return config.replaced(experiment, values)


def prepare(
    settings: config.BudgetSearch, estimator: Estimator, directory: Path | None = None, stored_size: int | None = None
) -> Study:
    """Checks the data and the budget, and lists the networks that compete.

    Args:
        settings: the config.
        estimator: estimates the costs that depend on the exported form.
        directory: see `open_images`.
        stored_size: size at which earlier trials loaded the images; None: there were none.

    Raises:
        UserError: the data is missing or too small for the folds, a start is unknown, or no network meets the budget.
    """
    kept, experiment = settings.candidates.kept, settings.experiment
    default = "data.validation_fraction" not in kept and (
        experiment.data.validation_fraction == config.Data.validation_fraction
    )
    if default and not experiment.needs_validation:  # folds validate the candidates
        settings = config.replaced(settings, {"experiment.data.validation_fraction": 0.0})
    section, base = settings.candidates, settings.experiment
    whole = counted_images(base.data, base.seed, boxes=not base.task.IS_CLASSIFIER)
    starts = candidates.starts(section, base.task, whole.count)
    given, notes = base.data.image_size, list[str]()
    if section.scratch is None and all(start.kind != "scratch" for start in starts):
        notes.append(
            f"networks from random weights do not compete with {whole.count} training images; set "
            "candidates.scratch=true to let them"
        )
    largest = round(candidates.largest_input(section, starts, whole.side) / (_center_crop(base.task) or 1.0))
    if given is None and stored_size not in (None, largest):
        notes.append(
            f"images are loaded with {stored_size} pixels, as in the trainings in this workdir; a new search of these "
            f"candidates would load them with {largest}"
        )
    settings = _loaded(settings, largest if stored_size is None else stored_size, whole)
    base = settings.experiment
    images = open_images(base, settings.folds, settings.folds.blocks, directory)
    images.require_unknown([start.model.weights for start in starts if start.model.weights is not None])
    classes, channels = len(images.dataset.class_names), base.data.channels
    baseline = candidates.baseline(base.task, base.model, channels=channels, num_classes=classes)
    known = _costs(baseline)  # its other costs are measured, but only if a bound refers to them
    objective = _objective(settings, known["macs"])
    # Raises if trainings cannot be compared by it.
    objective.value(dict.fromkeys(training.objectives(training.Plan.of(base).task), 1.0), 1.0)
    objects = whole if isinstance(whole, AnnotatedImages) and section.training == "rules" else None
    listed = candidates.scaled(
        section, starts, side=whole.side, channels=channels, num_classes=classes, objects=objects
    )
    networks = {network.id: network for network in listed}
    bounds = Bounds(
        settings.budget,
        lambda measure: known[measure] if measure in known else estimator.baseline(baseline, classes)[measure],
    )
    estimates = estimator.estimated(listed, classes)
    costs = {network.id: _costs(network) | dict(own) for network, own in zip(listed, estimates.costs, strict=True)}
    errors = dict(zip(costs, estimates.errors, strict=True))
    fates, shortlist = _shortlist(settings, networks, costs, bounds, errors)
    study = Study(
        settings=settings,
        objective=objective,
        examples=images.examples,
        validation_groups=images.validation_groups,
        fingerprint=images.fingerprint,
        found=images.found,
        num_classes=classes,
        networks=networks,
        costs=costs,
        errors=errors,
        bounds=bounds,
        fates=fates,
        shortlist=shortlist,
        counted=whole.part(images.examples[0]),
        whole=whole,
        image_size=given,
        notes=tuple(notes),
    )
    finals, sizes = dict[tuple[int, int], Request](), dict[str, tuple[int, int]]()
    for name in shortlist:  # what is impossible is reported before the search
        final = selection.request(study.final(name), directory)
        sizes[name] = final.network_size()
        finals.setdefault(sizes[name], final)
        trial = study.candidate(name).experiment
        check_batch_size(trial.task, trial.training.batch_size, images.examples[0])
    _check_choices(study, shortlist, images.dataset.class_names)
    found, failures = check_final(finals)
    failed = {name: Fate("failed", failures[size]) for name, size in sizes.items() if size in failures}
    return dataclasses.replace(
        study,
        found={**found, **images.found},
        fates={**fates, **failed},
        shortlist=[name for name in shortlist if name not in failed],
    )


def _check_choices(study: Study, names: Sequence[str], class_names: Sequence[str]) -> None:
    """Checks what stops only the training of the choice: trials have one device and no teacher.

    Raises:
        UserError: the devices cannot share a batch, the unlabeled images are missing or do not fill one, or settings
            exclude each other.
    """
    settings = study.settings
    data, others = settings.experiment.data, None
    if data.unlabeled is not None:
        folder = data.unlabeled.removeprefix("folder:")
        others = unlabeled.load(folder, class_names, data.channels, objects=False, on_defect=data.on_defect)
    for name in names:
        final = study.final(name)
        if settings.distill:  # a published network stands for the teacher, which is not trained yet
            final = study.final(name, teacher=Path(rules.NETWORK))
            final = config.replaced(final, {"task.teacher.runs": (rules.NETWORK,)})
        plan = training.Plan.of(final)
        checks.check(plan, distribution.replicas(final.training.strategy), new_run=False)
        if others is not None and settings.distill:
            require_batch(plan, len(others))


def _objective(settings: config.BudgetSearch, macs: float) -> TrialObjective:
    """Returns the objective; `macs` are the baseline's multiply-adds, to which the budget may refer."""
    section, bound, target = settings.objective, settings.budget.bounds.get("macs"), settings.objective.cost_target
    if section.exponent and target is None and bound is not None:
        target = bound.value * (macs if bound.relative else 1.0)
    return TrialObjective(section.metric, target, section.exponent)


def _center_crop(task: config.TaskSettings) -> float | None:
    return getattr(task, "center_crop", None)


def _loaded(settings: config.BudgetSearch, largest: int, whole: LabeledImages | AnnotatedImages) -> config.BudgetSearch:
    """Returns the config with images that all trials load at one size, in memory if they fit."""
    data = settings.experiment.data
    settings = config.replaced(
        settings, {"experiment.data.image_size": largest if data.image_size is None else data.image_size}
    )
    chooses = settings.candidates.training == "rules" and "data.cache" not in settings.candidates.kept
    if not chooses or data.cache != "memory":
        return settings
    base = settings.experiment
    cache = own.cache(base.task, base.data, base.description.size, whole)
    return config.replaced(settings, {"experiment.data.cache": cache.value})


def _shortlist(
    settings: config.BudgetSearch,
    networks: Mapping[str, Network],
    costs: Mapping[str, Costs],
    bounds: Bounds,
    errors: Mapping[str, Errors],
) -> tuple[dict[str, Fate], list[str]]:
    """Returns why networks do not compete, and the ids of those that do.

    If all estimates exceed the budget, all compete that may meet it, unless it bounds the latency on another device,
    where nothing is measured.

    Args:
        errors: how wrong costs can be, by id.

    Raises:
        UserError: no network meets the budget.
    """
    possible = [name for name, each in costs.items() if bounds.exceeded(each) is None]
    uncertain = not possible and settings.budget.latencies is None
    if uncertain:
        possible = [name for name, each in costs.items() if bounds.exceeded(shifted(each, errors[name], -1)) is None]
    if not possible:
        labels = {name: network.label for name, network in networks.items()}
        raise bounds.impossible(*({labels[name]: each[name] for name in costs} for each in (costs, errors)))
    excesses = {name: bounds.exceeded(each, errors[name]) for name, each in costs.items() if name not in possible}
    fates = {name: Fate("budget", excess.text) for name, excess in excesses.items() if excess is not None}
    kept = allowed = [network for name, network in networks.items() if name not in fates]
    objective = settings.objective
    # With a margin or an exponent, a smaller network may be the better choice.
    if objective.margin is None and not objective.exponent and not uncertain:
        # An estimate may be wrong: the largest of those that are certain to meet the budget compete, too.
        certain = [each for each in allowed if bounds.exceeded(shifted(costs[each.id], errors[each.id], 1)) is None]
        kept = list(dict.fromkeys((*candidates.largest(allowed), *candidates.largest(certain))))
        fates |= {
            each.id: Fate("larger", f"{candidates.container(each, kept).label} is also expected to meet the budget")
            for each in allowed
            if each not in kept
        }
    count = settings.candidates.count
    base = settings.experiment
    own = candidates.unscaled(kept, base.model.name, base.task.name)
    chosen = candidates.spread(kept, count)
    if own is not None and own not in chosen:
        chosen.append(own)
    why = f"not among the {count} of candidates.count"
    fates |= {each.id: Fate("spread", why) for each in kept if each not in chosen}
    return fates, [network.id for network in chosen]


def _costs(network: Network) -> dict[str, float]:
    """Returns the exact costs of a network."""
    cost = network.cost
    return {"macs": float(cost.macs), "params": float(cost.params), "memory": float(cost.training_peak_bytes)}
