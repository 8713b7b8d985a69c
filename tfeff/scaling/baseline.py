"""The baseline, the networks that it becomes when its depth, width and resolution are scaled, and their experiments.

Batch size and learning rate follow the network.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tfeff import config, models
from tfeff.config.family import Family
from tfeff.config.tasks import TaskSettings
from tfeff.errors import UserError
from tfeff.models.cost.complexity import Complexity
from tfeff.networks.detectors.rcnn import RCNN
from tfeff.trials.store import TrialStore
from tfeff.trials.trial import Candidate


@dataclass(frozen=True)
class ScaledNetwork:
    """A baseline scaled by three coefficients, rounded to whole blocks, channels and pixels.

    Attributes:
        model: description of the network, or of a detector's backbone.
        task: its task, with the neck of a detector.
        depth: α^φ, factor of the baseline's blocks.
        width: β^φ, factor of the baseline's channels.
        resolution: height and width of the input, pixels.
        scale: γ^φ, `resolution` relative to the baseline's.
        blocks: blocks per stage.
        widths: channels per stage.
        neck: a detector's neck channels, neck cells and convolutions per head; empty for classifiers.
        neck_depth: factor of the baseline's cells and of the convolutions of its heads.
        neck_width: factor of the channels of its neck and heads.
        relative: cost relative to the baseline's, by measure (`macs`, `memory`, `params`).
    """

    model: models.Architecture
    task: TaskSettings
    depth: float
    width: float
    resolution: int
    scale: float
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    cost: Complexity
    relative: dict[str, float]
    neck: tuple[int, ...] = ()
    neck_depth: float = 1.0
    neck_width: float = 1.0

    @property
    def id(self) -> str:
        """A name, valid as a file name, that identifies a network among those of one baseline.

        It does not depend on the coefficients: the number of parameters determines the channels.
        """
        return f"b{sum(self.blocks)}-p{self.cost.params}-r{self.resolution}"

    @property
    def nominal(self) -> float:
        """The growth in multiply-adds: α·β²·γ², which ignores rounding; of a detector, the real one."""
        if self.neck:
            return self.relative["macs"]
        return self.depth * self.width**2 * self.scale**2

    @property
    def label(self) -> str:
        """The coefficients, for tables and figures."""
        neck = f" neck d {self.neck_depth:.2f} w {self.neck_width:.2f}" if self.neck else ""
        return f"d {self.depth:.2f} w {self.width:.2f} r {self.scale:.2f}{neck}"


@dataclass(frozen=True)
class Baseline:
    """The network at φ = 0; of a detector, `model` is its backbone. The coefficients of `model` are part of it."""

    model: models.Architecture
    num_classes: int
    channels: int
    task: TaskSettings = field(default_factory=config.ClassificationSettings)

    @cached_property
    def description(self) -> models.Architecture | models.Detector:
        """The description of the baseline.

        Raises:
            UserError: the network cannot be built, or only its backbone can be scaled.
        """
        described = self.task.describe(self.model)
        if isinstance(described, RCNN):
            raise UserError("task.name=rcnn: R-CNN has no family; search one of classifiers on crops:SOURCE")
        return described

    @property
    def is_detector(self) -> bool:
        """Whether it has a neck, which is scaled, too."""
        return bool(self.description.neck_sizes)

    @property
    def resolution(self) -> int:
        """Height and width of the baseline's input, pixels."""
        return self.description.resolution

    @cached_property
    def cost(self) -> Complexity:
        """Cost of the baseline for one image."""
        return self._cost(self.description)

    def network(self, depth: float, width: float, resolution: int, **neck: float) -> ScaledNetwork:
        """Returns the baseline scaled; a detector also by `neck_depth` and `neck_width`, by default 1."""
        scaled = self.description.scaled(depth=depth, width=width, resolution=resolution, **neck)
        cost = self._cost(scaled)
        return ScaledNetwork(
            model=scaled.backbone,
            task=self.task.with_network(scaled),
            depth=depth,
            width=width,
            resolution=resolution,
            scale=resolution / self.resolution,
            blocks=scaled.backbone.blocks,
            widths=scaled.backbone.widths,
            cost=cost,
            relative={
                "macs": cost.macs / self.cost.macs,
                "memory": cost.training_peak_bytes / self.cost.training_peak_bytes,
                "params": cost.params / self.cost.params,
            },
            neck=scaled.neck_sizes,
            **neck,
        )

    def family(self, coefficients: Sequence[float], finding: str = "") -> Family:
        """Returns this baseline's family for a growth of depth, width and resolution, and of a detector's neck."""
        alpha, beta, gamma, *of_neck = coefficients
        neck_depth, neck_width = of_neck or (1.0, 1.0)
        return Family(
            baseline=self.model,
            detector=getattr(self.task, "network", None),
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            neck_depth=neck_depth,
            neck_width=neck_width,
            finding=finding,
        )

    def member(self, family: Family, phi: float) -> ScaledNetwork:
        """Returns the member φ of a family of this baseline."""
        depth, width, resolution = family.coefficients(phi)
        return self.network(depth, width, resolution, **family.neck_coefficients(phi))

    @cached_property
    def unscaled(self) -> ScaledNetwork:
        """The baseline itself as a network."""
        return self.network(1.0, 1.0, self.resolution)

    def _cost(self, description: models.Architecture | models.Detector) -> Complexity:
        return models.estimate(description, num_classes=self.num_classes, channels=self.channels)


COEFFICIENTS = ("depth", "width", "resolution", "neck_depth", "neck_width")
"""Keys of a stored candidate's settings from which its network is built again."""


def experiment(search: config.Search, baseline: Baseline, network: ScaledNetwork) -> config.Experiment:
    """Returns the baseline's experiment with another network, and the batch size and learning rate that suit it."""
    base = search.experiment
    size = batch_size(search, baseline, network)
    return dataclasses.replace(
        base,
        task=network.task,
        model=dataclasses.replace(network.model, mean=base.model.mean, std=base.model.std),
        optimizer=dataclasses.replace(base.optimizer, learning_rate=learning_rate(search, size)),
        training=dataclasses.replace(base.training, batch_size=size),
    )


def candidate(search: config.Search, baseline: Baseline, network: ScaledNetwork) -> Candidate:
    """Returns a network as a candidate for trials; its settings describe it to readers of the store."""
    settings: dict[str, Any] = {
        "depth": network.depth,
        "width": network.width,
        "resolution": network.resolution,
        "scale": network.scale,
        **({"neck_depth": network.neck_depth, "neck_width": network.neck_width} if network.neck else {}),
        "blocks": network.blocks,
        "widths": network.widths,
        "params": network.cost.params,
        "macs": network.cost.macs,
        "memory": network.cost.training_peak_bytes,
        "relative_macs": network.relative["macs"],
    }
    return Candidate(network.id, network.label, experiment(search, baseline, network), network.cost.macs, settings)


def stored_networks(store: TrialStore, baseline: Baseline) -> dict[str, ScaledNetwork]:
    """Returns the networks of a store by id, with the coefficients that they were first trained with.

    Different coefficients may round to the same network. Networks of another baseline are omitted.
    """
    networks = {
        id_: baseline.network(**{key: settings[key] for key in COEFFICIENTS if key in settings})
        for id_, settings in store.candidates().items()
    }
    return {id_: network for id_, network in networks.items() if network.id == id_}


def batch_size(search: config.Search, baseline: Baseline, network: ScaledNetwork) -> int:
    """Chooses the number of images per update so that every network needs about the baseline's memory.

    Raises:
        UserError: it would be less than one image.
    """
    base = search.experiment.training.batch_size
    match search.trials.batch_size:
        case "fixed":
            return base
        case "product":
            factor = network.nominal
        case _:
            factor = network.cost.training_peak_bytes / baseline.cost.training_peak_bytes
    steps = search.experiment.training.accumulation_steps
    size = math.floor(base / factor / steps + 0.5) * steps
    if size < 1:
        raise UserError(
            f"{network.label}: its batch size would be {base / factor:.2f}; raise training.batch_size (now {base}) or "
            "set trials.batch_size=fixed"
        )
    return size


def learning_rate(search: config.Search, size: int) -> float:
    """Returns the learning rate for a batch size."""
    base = search.experiment
    ratio = size / base.training.batch_size
    factor = {"linear": ratio, "sqrt": math.sqrt(ratio)}.get(search.trials.learning_rate, 1.0)
    return base.optimizer.learning_rate * factor
