"""The network that is scaled, and what it becomes under a depth, a width and a resolution."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from tfeff import config, models
from tfeff.models.backbones.architecture import Architecture
from tfeff.models.cost.complexity import Complexity


@dataclass(frozen=True)
class ScaledNetwork:
    """A baseline under three coefficients, rounded to whole blocks, channels and pixels.

    Attributes:
        model: its config.
        depth: α^φ, times the baseline's blocks.
        width: β^φ, times the baseline's channels.
        resolution: side of the input, pixels.
        scale: γ^φ, `resolution` over the baseline's.
        blocks: blocks of each stage.
        widths: channels of each stage.
        cost: of one image.
        relative: cost over the baseline's, by measure (`macs`, `memory`, `params`).
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
        """A name that two networks of one baseline share only if they are the same, fit for files.

        Whatever the coefficients that it came from: blocks and parameters tell the channels.
        """
        return f"b{sum(self.blocks)}-p{self.cost.params}-r{self.resolution}"

    @property
    def nominal(self) -> float:
        """α·β²·γ², what the multiply-adds would grow by without rounding."""
        return self.depth * self.width**2 * self.scale**2

    @property
    def label(self) -> str:
        """The three coefficients, for tables and figures."""
        return f"d {self.depth:.2f} w {self.width:.2f} r {self.scale:.2f}"


def memory(cost: Complexity) -> int:
    """Bytes of layer outputs and gradients that a training step holds at its worst moment, an image."""
    return cost.training_peak_bytes


@dataclass(frozen=True)
class Baseline:
    """The network at φ = 0.

    Attributes:
        model: as a config says it; its own coefficients, if any, are part of the baseline.
        num_classes: outputs of its classifier.
        channels: of its images.
    """

    model: config.Model
    num_classes: int
    channels: int

    @cached_property
    def architecture(self) -> Architecture:
        """The baseline's description.

        Raises:
            UserError: for a network that cannot be.
        """
        return models.architecture(self.model.name, resolution=self.model.resolution, **self.model.options())

    @property
    def resolution(self) -> int:
        """Side of the baseline's input, pixels."""
        return self.architecture.resolution

    @cached_property
    def cost(self) -> Complexity:
        """Of the baseline."""
        return self._cost(self.architecture)

    def network(self, depth: float, width: float, resolution: int) -> ScaledNetwork:
        """The baseline with its blocks times `depth`, its channels times `width`, at `resolution` pixels."""
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
                "memory": memory(cost) / memory(self.cost),
                "params": cost.params / self.cost.params,
            },
        )

    @cached_property
    def start(self) -> ScaledNetwork:
        """The baseline itself."""
        return self.network(1.0, 1.0, self.resolution)

    def _cost(self, architecture: Architecture) -> Complexity:
        return models.estimate(architecture, num_classes=self.num_classes, channels=self.channels)
