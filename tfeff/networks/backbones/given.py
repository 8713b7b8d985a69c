"""A backbone that is given in Python, such as one of keras.applications; `tfeff.models.given` holds its layers."""

from dataclasses import dataclass, field
from typing import Self

from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import Architecture, FeatureMaps
from tfeff.networks.layers import FeatureMap, Layers

NAME = "given"
ITS_OWN = {"hidden": True}
"""Metadata of fields that are no keys of configs: an own backbone decides them itself."""


@dataclass(frozen=True, kw_only=True)
class Given(Architecture):
    """A backbone that is given in Python. `tfeff.train(..., backbone=...)` sets `graph`, `initial` and `levels`.

    It starts from the weights with which it is given; with `weights`, the path of a weights file, from those. Its
    layers get (x - mean) / std: by default raw pixels in [0, 255], because its preprocessing is inside.

    Attributes:
        resolution: side of the square input image, in pixels; 0: not set.
        graph: name of the graph, with a digest of its layers.
        initial: digest of the weights with which it is given.
        levels: pyramid levels, as `level=layer`, such as `P3=block_5_add`.
        pretrained: whether its weights are those of a training, so that recipes fine-tune them.
    """

    name: str = NAME
    resolution: int = 0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    graph: str = ""
    initial: str = ""
    levels: tuple[str, ...] = ()
    pretrained: bool = True
    bn_momentum: float = field(default=0.99, metadata=ITS_OWN)
    bn_epsilon: float = field(default=1e-3, metadata=ITS_OWN)
    width_coefficient: float = field(default=1.0, metadata=ITS_OWN)
    depth_coefficient: float = field(default=1.0, metadata=ITS_OWN)

    def __post_init__(self) -> None:
        """Validates field values; raises UserError."""
        if self.weights == "imagenet":
            raise UserError(
                'weights "imagenet": only networks of the package have published weights; give the backbone with its '
                "weights, and omit model.weights"
            )
        for key in ("width_coefficient", "depth_coefficient"):
            if getattr(self, key) != 1:
                raise UserError(f"{key} {getattr(self, key)}: only networks of the package can be scaled; omit it")
        if self.resolution:
            super().__post_init__()
        for each in self.levels:
            if not all(each.partition("=")):
                raise UserError(f"levels {each!r}: must be like P3=LAYER")

    @property
    def source(self) -> str:
        """The name by which `Layers.given` finds the layers."""
        return self.graph

    @property
    def starts_trained(self) -> bool:
        """See `Architecture`."""
        return self.pretrained or self.weights is not None

    @property
    def blocks(self) -> tuple[int, ...]:
        """Empty: they are not known."""
        return ()

    @property
    def widths(self) -> tuple[int, ...]:
        """Empty: they are not known."""
        return ()

    def scaled(self, *, depth: float, width: float, resolution: int) -> Self:
        """Rejects scaling.

        Raises:
            UserError: always.
        """
        raise UserError(
            "a backbone that is given in Python, or a preset, has one depth and one width, so tfeff.search cannot "
            "scale it; choose a network of the package (model.name)"
        )

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines the layers of the backbone, with an identity after each level (`backbone_p3`).

        Raises:
            UserError: the backbone is not known to this process or does not take such images, or a level does not have
                its stride.
        """
        levels = dict(each.split("=", 1) for each in self.levels)
        return FeatureMaps(*layers.given(images, source=self.source, levels=levels))
