"""The baseline, and the networks that it becomes when its depth, width and resolution are scaled."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from tfeff import config, models
from tfeff.models.backbones.architecture import Architecture
from tfeff.models.cost.complexity import Complexity


@dataclass(frozen=True)
class ScaledNetwork:
    """A baseline scaled by three coefficients, rounded to whole blocks, channels and pixels.

    Attributes:
        model: its config.
        depth: α^φ, factor of the baseline's blocks.
        width: β^φ, factor of the baseline's channels.
        resolution: height and width of the input, pixels.
        scale: γ^φ, `resolution` relative to the baseline's.
        blocks: blocks per stage.
        widths: channels per stage.
        cost: for one image.
        relative: cost relative to the baseline's, by measure (`macs`, `memory`, `params`).
    """

    model: config.Model
    depth: float
    width: float
    resolution: int
    scale: float
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    cost: Complexity
    relative: dict[str, float]

    @property
    def id(self) -> str:
        """A name, valid as a file name, that identifies a network among those of one baseline.

        It does not depend on the coefficients: the number of parameters determines the channels.
        """
        return f"b{sum(self.blocks)}-p{self.cost.params}-r{self.resolution}"

    @property
    def nominal(self) -> float:
        """α·β²·γ², the growth in multiply-adds without rounding."""
        return self.depth * self.width**2 * self.scale**2

    @property
    def label(self) -> str:
        """The three coefficients, for tables and figures."""
        return f"d {self.depth:.2f} w {self.width:.2f} r {self.scale:.2f}"


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
    """

    model: config.Model
    num_classes: int
    channels: int

    @cached_property
    def architecture(self) -> Architecture:
        """The description of the baseline.

        Raises:
            UserError: the network cannot be built.
        """
        return models.architecture(self.model.name, resolution=self.model.resolution, **self.model.options())

    @property
    def resolution(self) -> int:
        """Height and width of the baseline's input, pixels."""
        return self.architecture.resolution

    @cached_property
    def cost(self) -> Complexity:
        """Cost of the baseline for one image."""
        return self._cost(self.architecture)

    def network(self, depth: float, width: float, resolution: int) -> ScaledNetwork:
        """The baseline with `depth` times its blocks and `width` times its channels, at `resolution` pixels."""
        scaled = dataclasses.replace(
            self.architecture,
            depth_coefficient=self.architecture.depth_coefficient * depth,
            width_coefficient=self.architecture.width_coefficient * width,
            resolution=resolution,
        )
        cost = self._cost(scaled)
        model = dataclasses.replace(
            self.model,
            depth_coefficient=scaled.depth_coefficient,
            width_coefficient=scaled.width_coefficient,
            resolution=resolution,
        )
        return ScaledNetwork(
            model=model,
            depth=depth,
            width=width,
            resolution=resolution,
            scale=resolution / self.resolution,
            blocks=scaled.blocks,
            widths=scaled.widths,
            cost=cost,
            relative={
                "macs": cost.macs / self.cost.macs,
                "memory": peak_memory(cost) / peak_memory(self.cost),
                "params": cost.params / self.cost.params,
            },
        )

    @cached_property
    def unscaled(self) -> ScaledNetwork:
        """The baseline itself as a network."""
        return self.network(1.0, 1.0, self.resolution)

    def _cost(self, architecture: Architecture) -> Complexity:
        return models.estimate(architecture, num_classes=self.num_classes, channels=self.channels)
