"""The baseline, and the networks that it becomes when its depth, width and resolution are scaled."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tfeff import config, models, tasks
from tfeff.config.family import Family
from tfeff.config.tasks import Task
from tfeff.models.cost.complexity import Complexity


@dataclass(frozen=True)
class ScaledNetwork:
    """A baseline scaled by three coefficients, rounded to whole blocks, channels and pixels.

    Attributes:
        model: its config.
        task: its task, with the neck of a detector.
        depth: α^φ, factor of the baseline's blocks.
        width: β^φ, factor of the baseline's channels.
        resolution: height and width of the input, pixels.
        scale: γ^φ, `resolution` relative to the baseline's.
        blocks: blocks per stage.
        widths: channels per stage.
        neck: of a detector: channels and cells of the neck, and convolutions of each head; else empty.
        neck_depth: factor of the baseline's cells and of the convolutions of its heads.
        neck_width: factor of the channels of its neck and heads.
        cost: for one image.
        relative: cost relative to the baseline's, by measure (`macs`, `memory`, `params`).
    """

    model: config.Model
    task: Task
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


def peak_memory(cost: Complexity) -> int:
    """Peak bytes of layer outputs and gradients during a training step, per image."""
    return cost.training_peak_bytes


@dataclass(frozen=True)
class Baseline:
    """The network at φ = 0.

    Attributes:
        model: its config; coefficients set there are part of the baseline.
        num_classes: outputs of its classifier.
        channels: channels of the images.
        task: its task.
    """

    model: config.Model
    num_classes: int
    channels: int
    task: Task = field(default_factory=config.Classification)

    @cached_property
    def description(self) -> models.Architecture | models.Detector:
        """The description of the baseline.

        Raises:
            UserError: the network cannot be built.
        """
        task, model = tasks.create(self.task), self.model
        return task.describe(model.name, resolution=model.resolution, **model.options())

    @property
    def is_detector(self) -> bool:
        """Whether it has a neck, which is scaled, too."""
        return isinstance(self.description, models.Detector)

    @property
    def resolution(self) -> int:
        """Height and width of the baseline's input, pixels."""
        return self.description.resolution

    @cached_property
    def cost(self) -> Complexity:
        """Cost of the baseline for one image."""
        return self._cost(self.description)

    def network(self, depth: float, width: float, resolution: int, **neck: float) -> ScaledNetwork:
        """The baseline scaled.

        Args:
            depth: factor of its blocks.
            width: factor of its channels.
            resolution: pixels.
            **neck: of a detector, `neck_depth` and `neck_width`; default 1.
        """
        scaled = self.description.scaled(depth=depth, width=width, resolution=resolution, **neck)
        task, sizes = self.task, tuple[int, ...]()
        if isinstance(scaled, models.Detector):
            assert isinstance(task, config.ObjectDetection)
            backbone, sizes = scaled.backbone, scaled.neck_sizes
            task = dataclasses.replace(task, neck=task.neck.scaled(**neck))
        else:
            backbone = scaled
        cost = self._cost(scaled)
        model = dataclasses.replace(
            self.model,
            depth_coefficient=backbone.depth_coefficient,
            width_coefficient=backbone.width_coefficient,
            resolution=resolution,
        )
        return ScaledNetwork(
            model=model,
            task=task,
            depth=depth,
            width=width,
            resolution=resolution,
            scale=resolution / self.resolution,
            blocks=backbone.blocks,
            widths=backbone.widths,
            cost=cost,
            relative={
                "macs": cost.macs / self.cost.macs,
                "memory": peak_memory(cost) / peak_memory(self.cost),
                "params": cost.params / self.cost.params,
            },
            neck=sizes,
            **neck,
        )

    def family(self, coefficients: Sequence[float], finding: str = "") -> Family:
        """The family of this baseline with some coefficients.

        Args:
            coefficients: growth of depth, width and resolution; of a detector, also of its neck's depth and width.
            finding: how they were found.
        """
        alpha, beta, gamma, *of_neck = coefficients
        neck_depth, neck_width = of_neck or (1.0, 1.0)
        task = self.unscaled.task
        neck, head_repeats = config.Neck(), None
        if isinstance(task, config.ObjectDetection):
            neck, head_repeats = task.neck, task.head_repeats
        return Family(
            baseline=self.unscaled.model,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            neck_depth=neck_depth,
            neck_width=neck_width,
            detector=self.is_detector,
            neck=neck,
            head_repeats=head_repeats,
            finding=finding,
        )

    def member(self, family: Family, phi: float) -> ScaledNetwork:
        """The member φ of a family of this baseline."""
        depth, width, resolution = family.coefficients(phi)
        return self.network(depth, width, resolution, **family.neck_coefficients(phi))

    @cached_property
    def unscaled(self) -> ScaledNetwork:
        """The baseline itself as a network."""
        return self.network(1.0, 1.0, self.resolution)

    def _cost(self, description: models.Architecture | models.Detector) -> Complexity:
        return models.estimate(description, num_classes=self.num_classes, channels=self.channels)
