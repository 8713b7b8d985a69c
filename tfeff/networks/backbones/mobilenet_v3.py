"""MobileNetV3.

Howard et al., "Searching for MobileNetV3" (arXiv:1905.02244), tables 1 and 2. The width coefficient is the paper's
width multiplier. The depth coefficient multiplies the repeats of each stage and rounds up, as in EfficientNet; further
blocks of a stage have the expansion of its last one.
"""

import dataclasses
from dataclasses import dataclass

from tfeff.networks.backbones.architecture import Architecture, FeatureMaps, Graph, by_name, check_choice
from tfeff.networks.blocks import INITIALIZER, Stage, inverted_residual_stages, squeeze_excite
from tfeff.networks.heads import CLASSIFIER, POOL
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.scaling import round_filters, round_repeats

STEM_FILTERS = 16
SQUEEZE_RATIO = 0.25
HEAD_EXPANSION = 6
HEAD_UNITS = {"small": 1024, "large": 1280}
STAGES: dict[str, tuple[Stage, ...]] = {
    "small": (
        Stage(repeats=1, strides=2, filters=16, expand_ratio=1, activation="relu"),
        Stage(repeats=2, strides=2, filters=24, expand_ratio=(72 / 16, 88 / 24), activation="relu", squeeze=False),
        Stage(repeats=3, strides=2, filters=40, expand_ratio=(4, 6), kernel_size=5),
        Stage(repeats=2, strides=1, filters=48, expand_ratio=3, kernel_size=5),
        Stage(repeats=3, strides=2, filters=96, expand_ratio=6, kernel_size=5),
    ),
    "large": (
        Stage(repeats=1, strides=1, filters=16, expand_ratio=1, activation="relu", squeeze=False),
        Stage(repeats=2, strides=2, filters=24, expand_ratio=(4, 3), activation="relu", squeeze=False),
        Stage(repeats=3, strides=2, filters=40, expand_ratio=3, kernel_size=5, activation="relu"),
        Stage(repeats=4, strides=2, filters=80, expand_ratio=(6, 2.5, 2.3), squeeze=False),
        Stage(repeats=2, strides=1, filters=112, expand_ratio=6),
        Stage(repeats=3, strides=2, filters=160, expand_ratio=6, kernel_size=5),
    ),
}


@dataclass(frozen=True, kw_only=True)
class MobileNetV3(Architecture):
    """Inverted residuals with squeeze-and-excitation and h-swish. Scaled filters are multiples of 8.

    Attributes:
        table: "small" or "large": the stages before scaling.
        minimalistic: ReLU, 3x3 kernels and no squeeze-and-excitation, for hardware on which these are slow.
    """

    table: str
    minimalistic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("table", self.table, tuple(STAGES))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Repeats of each stage, scaled and rounded up."""
        return tuple(round_repeats(stage.repeats, self.depth_coefficient) for stage in STAGES[self.table])

    @property
    def widths(self) -> tuple[int, ...]:
        """Filters of each stage, scaled and rounded to multiples of 8."""
        return tuple(round_filters(stage.filters, self.width_coefficient) for stage in STAGES[self.table])

    @property
    def activation(self) -> str:
        """That of all layers for which the table has none."""
        return "relu" if self.minimalistic else "hard_silu"

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines stem, stages and the 1x1 convolution before pooling. P1 to P5 are the last stages of each stride."""
        unit = self.convolution_unit(layers, activation=self.activation, initializer=INITIALIZER)
        stages = STAGES[self.table]
        if self.minimalistic:
            stages = tuple(dataclasses.replace(stage, kernel_size=3) for stage in stages)

        def squeeze(x: FeatureMap, _: int, name: str) -> FeatureMap:
            return squeeze_excite(
                layers,
                x,
                round_filters(x.shape[-1] * SQUEEZE_RATIO),
                activation="relu",
                gate_activation="hard_sigmoid",
                initializer=INITIALIZER,
                name=name,
            )

        stem = unit(images, STEM_FILTERS, 3, strides=2, name="stem_conv")
        levels = inverted_residual_stages(
            unit, stem, stages, self.blocks, self.widths, squeeze=None if self.minimalistic else squeeze
        )
        filters = round_filters(self.widths[-1] * HEAD_EXPANSION)
        return FeatureMaps(unit(levels["P5"], filters, 1, name="head_conv"), levels)

    def define(self, layers: Layers, *, num_classes: int, channels: int = 3, include_top: bool = True) -> Graph:
        """Defines the complete network, whose classifier has a hidden layer."""
        graph = super().define(layers, num_classes=num_classes, channels=channels, include_top=False)
        if not include_top:
            return graph
        units = round_filters(HEAD_UNITS[self.table], max(1.0, self.width_coefficient))
        x = layers.global_average_pooling(graph.output, name=POOL)
        x = layers.dense(x, units=units, kernel_initializer=INITIALIZER, name="head_hidden")
        x = layers.activation(x, activation=self.activation, name="head_hidden_act")
        if self.dropout > 0:
            x = layers.dropout(x, rate=self.dropout, name="head_dropout")
        x = layers.dense(x, units=num_classes, precise=True, name=CLASSIFIER)
        return dataclasses.replace(graph, output=x)


def _member(name: str, table: str, *, width_coefficient: float = 1.0, minimalistic: bool = False) -> MobileNetV3:
    """Returns pixels in [-1, 1], as the published weights expect."""
    return MobileNetV3(
        name=f"mobilenet-v3-{name}",
        table=table,
        width_coefficient=width_coefficient,
        minimalistic=minimalistic,
        resolution=224,
        dropout=0.2,
        bn_momentum=0.999,
        mean=(127.5,) * 3,
        std=(127.5,) * 3,
    )


# The members with published weights.
TABLE: dict[str, MobileNetV3] = by_name(
    _member("small", "small"),
    _member("small-0.75", "small", width_coefficient=0.75),
    _member("small-minimalistic", "small", minimalistic=True),
    _member("large", "large"),
    _member("large-0.75", "large", width_coefficient=0.75),
    _member("large-minimalistic", "large", minimalistic=True),
)
