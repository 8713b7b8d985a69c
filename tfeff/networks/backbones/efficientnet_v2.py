"""EfficientNetV2-B0 to B3, S, M and L.

Tan and Le, "EfficientNetV2: Smaller Models and Faster Training" (arXiv:2104.00298): table 4 defines S; M, L and B0 are
those of the reference implementation (google/automl, `efficientnetv2/effnetv2_configs.py`). B1 to B3 scale B0. The
first stages have fused blocks, without squeeze-and-excitation.
"""

from dataclasses import dataclass
from functools import partial

from tfeff.networks.backbones.architecture import (
    Architecture,
    FeatureMaps,
    by_name,
    check_choice,
    check_squeeze,
    check_survival,
)
from tfeff.networks.blocks import INITIALIZER, Stage, inverted_residual_stages, squeeze_inputs
from tfeff.networks.layers import FeatureMap, Layers
from tfeff.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from tfeff.networks.scaling import round_filters, round_repeats

HEAD_FILTERS = 1280

_fused = partial(Stage, fused=True, squeeze=False)
STAGES: dict[str, tuple[Stage, ...]] = {
    "b": (
        _fused(repeats=1, strides=1, expand_ratio=1, filters=16),
        _fused(repeats=2, strides=2, expand_ratio=4, filters=32),
        _fused(repeats=2, strides=2, expand_ratio=4, filters=48),
        Stage(repeats=3, strides=2, expand_ratio=4, filters=96),
        Stage(repeats=5, strides=1, expand_ratio=6, filters=112),
        Stage(repeats=8, strides=2, expand_ratio=6, filters=192),
    ),
    "s": (
        _fused(repeats=2, strides=1, expand_ratio=1, filters=24),
        _fused(repeats=4, strides=2, expand_ratio=4, filters=48),
        _fused(repeats=4, strides=2, expand_ratio=4, filters=64),
        Stage(repeats=6, strides=2, expand_ratio=4, filters=128),
        Stage(repeats=9, strides=1, expand_ratio=6, filters=160),
        Stage(repeats=15, strides=2, expand_ratio=6, filters=256),
    ),
    "m": (
        _fused(repeats=3, strides=1, expand_ratio=1, filters=24),
        _fused(repeats=5, strides=2, expand_ratio=4, filters=48),
        _fused(repeats=5, strides=2, expand_ratio=4, filters=80),
        Stage(repeats=7, strides=2, expand_ratio=4, filters=160),
        Stage(repeats=14, strides=1, expand_ratio=6, filters=176),
        Stage(repeats=18, strides=2, expand_ratio=6, filters=304),
        Stage(repeats=5, strides=1, expand_ratio=6, filters=512),
    ),
    "l": (
        _fused(repeats=4, strides=1, expand_ratio=1, filters=32),
        _fused(repeats=7, strides=2, expand_ratio=4, filters=64),
        _fused(repeats=7, strides=2, expand_ratio=4, filters=96),
        Stage(repeats=10, strides=2, expand_ratio=4, filters=192),
        Stage(repeats=19, strides=1, expand_ratio=6, filters=224),
        Stage(repeats=25, strides=2, expand_ratio=6, filters=384),
        Stage(repeats=7, strides=1, expand_ratio=6, filters=640),
    ),
}
STEM_FILTERS = {"b": 32, "s": 24, "m": 24, "l": 32}


@dataclass(frozen=True, kw_only=True)
class EfficientNetV2(Architecture):
    """An EfficientNetV2.

    `width_coefficient` multiplies the filters, which are rounded to the nearest multiple of 8. `depth_coefficient`
    multiplies the repeats of each stage, which are rounded up.

    Attributes:
        table: "b", "s", "m" or "l": the stages before scaling.
        squeeze_ratio: ratio of squeeze-and-excitation in the blocks that are not fused; 0 omits it.
        survival_probability: stochastic depth of the last block, in (0, 1]. The probability decreases linearly over the
            blocks of the scaled network.
    """

    MAY_DIFFER = Architecture.MAY_DIFFER | {"table", "survival_probability"}

    table: str = "b"
    squeeze_ratio: float = 0.25
    survival_probability: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("table", self.table, tuple(STAGES))
        check_survival(self.survival_probability)
        check_squeeze(self.squeeze_ratio)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Repeats of each stage, scaled and rounded up."""
        return tuple(round_repeats(stage.repeats, self.depth_coefficient) for stage in STAGES[self.table])

    @property
    def widths(self) -> tuple[int, ...]:
        """Filters of each stage, scaled and rounded to multiples of 8."""
        return tuple(self._filters(stage.filters) for stage in STAGES[self.table])

    def features(self, images: FeatureMap, layers: Layers) -> FeatureMaps:
        """Defines stem, stages and the 1x1 convolution before pooling. P1 to P5 are the last stages of each stride."""
        unit = self.convolution_unit(layers, activation="silu", initializer=INITIALIZER)
        stem = unit(images, self._filters(STEM_FILTERS[self.table]), 3, strides=2, name="stem_conv")
        levels = inverted_residual_stages(
            unit,
            stem,
            STAGES[self.table],
            self.blocks,
            self.widths,
            squeeze=squeeze_inputs(unit, self.squeeze_ratio),
            last_survival=self.survival_probability,
        )
        return FeatureMaps(unit(levels["P5"], self._filters(HEAD_FILTERS), 1, name="head_conv"), levels)

    def _filters(self, filters: int) -> int:
        return round_filters(filters, self.width_coefficient, largest_loss=1.0)


def _b(
    member: int, width_coefficient: float, depth_coefficient: float, resolution: int, dropout: float
) -> EfficientNetV2:
    return EfficientNetV2(
        name=f"efficientnet-v2-b{member}",
        width_coefficient=width_coefficient,
        depth_coefficient=depth_coefficient,
        resolution=resolution,
        dropout=dropout,
        bn_momentum=0.9,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _larger(table: str, resolution: int, dropout: float) -> EfficientNetV2:
    """Returns pixels in [-1, 1), as the published weights expect."""
    return EfficientNetV2(
        name=f"efficientnet-v2-{table}",
        table=table,
        resolution=resolution,
        dropout=dropout,
        bn_momentum=0.9,
        mean=(128.0,) * 3,
        std=(128.0,) * 3,
    )


# Columns: member, width_coefficient, depth_coefficient, resolution, dropout; of S, M and L, the last two. Resolutions
# are those of the published evaluation.
TABLE: dict[str, EfficientNetV2] = by_name(
    _b(0, 1.0, 1.0, 224, 0.2),
    _b(1, 1.0, 1.1, 240, 0.2),
    _b(2, 1.1, 1.2, 260, 0.3),
    _b(3, 1.2, 1.4, 300, 0.3),
    _larger("s", 384, 0.2),
    _larger("m", 480, 0.3),
    _larger("l", 480, 0.4),
)
