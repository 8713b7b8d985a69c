"""RetinaNet: Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002), section 4."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tfeff.boxes.anchors import Anchors
from tfeff.errors import UserError
from tfeff.networks.backbones.architecture import by_name, check_integer
from tfeff.networks.backbones.resnet import TABLE as RESNETS
from tfeff.networks.blocks import ConvolutionUnit
from tfeff.networks.detectors.efficientdet import EfficientDet
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.necks.neck import INITIALIZER, Neck


@dataclass(frozen=True, kw_only=True)
class RetinaNet(EfficientDet):
    """A RetinaNet: a feature pyramid, a class head and a box head, with the outputs of an EfficientDet.

    The defaults are those of torchvision's `retinanet_resnet50_fpn`, whose coarsest levels are convolutions of the
    pyramid; in the paper, they are convolutions of the backbone. `activation` is that of the heads; the neck has none.

    Attributes:
        convolved_levels: number of levels, the coarsest ones, that 3x3 convolutions with a stride of 2 add behind the
            neck; the backbone must not have them. Others that it lacks are added in front of the neck, as in other
            detectors.
        batch_norm: batch normalization in neck and heads. Without it, `bn_momentum` and `bn_epsilon` have no effect.
    """

    neck: str = "classic_fpn"
    neck_channels: int = 256
    neck_repeats: int = 1
    fusion: str = "sum"
    head_repeats: int = 4
    separable: bool = False
    activation: str = "relu"
    anchor_aspects: tuple[float, ...] = (2.0, 1.0, 0.5)
    convolved_levels: int = 2
    batch_norm: bool = False

    def __post_init__(self) -> None:
        check_integer("convolved_levels", self.convolved_levels, minimum=0)
        if self.convolved_levels and len(self.levels) - self.convolved_levels < 2:
            raise UserError(
                f"convolved_levels {self.convolved_levels}: must be 0, or leave two of the {len(self.levels)} levels "
                "to the neck"
            )
        super().__post_init__()

    @property
    def anchors(self) -> Anchors:
        """The anchors of all levels."""
        return replace(super().anchors, corner=True, whole=True)

    @property
    def described_neck(self) -> Neck | None:
        """Description of the neck; None with a single level."""
        described = super().described_neck
        if described is None or not self.convolved_levels:
            return described
        return replace(described, levels=self.levels[: -self.convolved_levels])

    def convolution_unit(self, layers: Layers) -> ConvolutionUnit:
        """Returns the batch normalization of neck and heads, and the activation of the heads."""
        return replace(super().convolution_unit(layers), batch_norm=self.batch_norm)

    def neck_unit(self, layers: Layers) -> ConvolutionUnit:
        """Returns the batch normalization of the neck, which has no activation."""
        return replace(self.convolution_unit(layers), activation="linear")

    def fused(self, layers: Layers, features: Mapping[str, FeatureMap]) -> dict[str, FeatureMap]:
        """Defines the neck, and adds the convolved levels; see `Detector`.

        Raises:
            UserError: as in `Detector`, or the backbone has a convolved level.
        """
        fused = super().fused(layers, features)
        added = self.levels[len(fused) :]
        own = [level for level in added if level in features]
        if own:
            raise UserError(
                f"convolved_levels {self.convolved_levels}: the backbone has {', '.join(own)}; set it to "
                f"{self.convolved_levels - len(own)}"
            )
        unit = replace(self.convolution_unit(layers), initializer=INITIALIZER, bias=True)
        *_, x = fused.values()
        for number, level in enumerate(added):
            name = f"neck_{level.lower()}"
            if number:
                x = layers.activation(x, activation="relu", name=f"{name}_act")
            x = layers.zero_padding(x, padding=1, name=f"{name}_pad")
            x = fused[level] = unit(
                x, self.neck_sizes[0], 3, strides=2, padding="valid", activate=False, name=f"{name}_conv"
            )
        return fused


TABLE: dict[str, RetinaNet] = by_name(
    RetinaNet(name="retinanet", backbone=replace(RESNETS["resnet50-v1.5"], resolution=640), aspect=4 / 3)
)
